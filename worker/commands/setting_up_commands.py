"""The commands that set the worker up and try it out, beside those that need much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker.commands.options import ConfigOption, JsonOption
from worker.settings.config import load_settings


def migrate(config: ConfigOption = None) -> None:
    """Bring the database to the schema of this version; safe to run again and from several machines at once."""
    from worker.commands.at_hand import say
    from worker.rows.database import safe_location
    from worker.rows.migrate import is_new, upgrade

    url = load_settings(config).effective_database_url
    was_new = is_new(url)
    revision = upgrade(url)
    state = "was empty; it is" if was_new else "is"
    say(f"the database {safe_location(url)} {state} at revision {revision}")


def check(json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Prove the configuration: database revision, broker, model bundles, disk room, an answer from every destination.

    Everything is tried and all of it reported; exit code 1 when anything failed.
    """
    from worker.care.check import check_everything, report
    from worker.commands.at_hand import print_json
    from worker.views.studies import as_json

    results = check_everything(load_settings(config))
    passed = all(result.passed for result in results)
    if json_output:
        print_json({"passed": passed, "checks": as_json(results)})
    else:
        Console().print(report(results))
    raise typer.Exit(0 if passed else 1)


def send(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATHS...", help="DICOM files, or folders that are searched with their subfolders."),
    ],
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where to send, such as 127.0.0.1:11112.")],
    called: Annotated[str, typer.Option("--called", metavar="AET", help="AE title of the receiver.")] = "CXRAI",
    calling: Annotated[str, typer.Option("--calling", metavar="AET", help="Our AE title.")] = "CXRSEND",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Send copies with new UIDs and today's date; one new study per old study.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Send DICOM files over the network (C-STORE), like dcmtk's storescu. Exit code 1 when any was not accepted."""
    from worker.care.send import parse_address, require_ae_title, send_files

    peer = parse_address(address, called)
    require_ae_title(calling, "--calling")
    accepted = send_files(paths, peer, calling, fresh=fresh, json_output=json_output)
    raise typer.Exit(0 if accepted else 1)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, with the page, until Ctrl-C.")] = False,
    folder: Annotated[
        Path,
        typer.Option("--folder", metavar="DIR", help="Fresh folder for the demonstration; an old one is replaced."),
    ] = Path("demo-data"),
    deadline_seconds: Annotated[
        float, typer.Option("--deadline", metavar="SECONDS", min=10, help="Give up after this many seconds.")
    ] = 240.0,
) -> None:
    """See it work on this machine: a stand-in PACS, a real chest radiograph and drawings sent, results back in it.

    Exit code 0 only if every study ended as expected.
    """
    from worker.demo.demonstration import run_demo

    raise typer.Exit(run_demo(folder.resolve(), keep=keep, deadline_seconds=deadline_seconds))
