"""The command line: processes to run, checks before going live, and the administrator's tools.

Exit codes: 0 done, 1 it could not be done (one message on standard error says why), 2 the command was not understood.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import OperationalError

from dicom_io.instance_store import StoreError
from worker.commands.options import ConfigOption, JsonOption
from worker.commands.tools import ToolGroup
from worker.foundation.errors import WorkerError
from worker.foundation.logs import configure_logging
from worker.settings.config import ConfigurationError, load_settings

PROCESSES = "Processes"
TOOLS = "Setting up and trying out"

app = typer.Typer(
    cls=ToolGroup,
    help="Chest X-ray triage beside a PACS: DICOM in; a priority with its reason, a structured report, heat maps out."
    "\n\n"
    "NOT A MEDICAL DEVICE. NOT FOR DIAGNOSTIC USE.\n\n"
    "Start here: [bold]demo[/bold] shows everything on this machine; [bold]check[/bold] proves a configuration against "
    "the real peers; [bold]migrate[/bold] then [bold]up[/bold] run it.\n\n"
    "Exit codes: 0 done, 1 could not be done, 2 command not understood.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(rich_help_panel=PROCESSES)
def up(
    worklist: Annotated[bool, typer.Option(help="Serve the worklist page too.")] = True,
    config: ConfigOption = None,
) -> None:
    """Everything on one machine: listener, sweeper, triage and delivery workers, worklist page. Until Ctrl-C."""
    from worker.processes.up import run_up  # each process loads only what it needs

    configure_logging()
    raise typer.Exit(run_up(load_settings(config), worklist=worklist))


@app.command(rich_help_panel=PROCESSES)
def listen(
    member: Annotated[int, typer.Option("--member", min=0, hidden=True)] = 0,
    config: ConfigOption = None,
) -> None:
    """Receive studies over DICOM (Storage SCP and C-ECHO) and make them durable. Until SIGTERM or Ctrl-C."""
    configure_logging()
    settings = load_settings(config)
    if settings.listener_processes > 1 and not member:
        from worker.processes.listener_group import run_listeners

        raise typer.Exit(run_listeners(settings))
    from worker.processes.listener import run_listener

    raise typer.Exit(run_listener(settings, member=member))


@app.command(rich_help_panel=PROCESSES)
def work(
    queues: Annotated[
        str, typer.Option("--queues", metavar="NAMES", help="Comma-separated queues to serve: stat, routine, delivery.")
    ] = "stat,routine",
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=0, help="Processes; 0 = the configuration's, else one per core.")
    ] = 0,
    config: ConfigOption = None,
) -> None:
    """Analyse studies, or deliver results with `--queues delivery`. Until SIGTERM or Ctrl-C."""
    from worker.processes.work import run_worker

    configure_logging()
    names = [name.strip() for name in queues.split(",") if name.strip()]
    raise typer.Exit(run_worker(load_settings(config), names, concurrency))


@app.command(rich_help_panel=PROCESSES)
def sweep(config: ConfigOption = None) -> None:
    """Find due studies, expired leases and due retries; one sweeper is active, others wait. Until SIGTERM or Ctrl-C."""
    from worker.processes.sweep import run_sweeper

    configure_logging()
    raise typer.Exit(run_sweeper(load_settings(config)))


@app.command(rich_help_panel=PROCESSES)
def hl7(config: ConfigOption = None) -> None:
    """Receive HL7 messages (MLLP): patients that changed or were merged, final reports. Until SIGTERM or Ctrl-C.

    Needs hl7_listener in the configuration; `up` starts it by itself then.
    """
    from worker.hl7.listener import run_hl7_listener

    configure_logging()
    raise typer.Exit(run_hl7_listener(load_settings(config)))


@app.command(rich_help_panel=PROCESSES)
def shadow(config: ConfigOption = None) -> None:
    """Analyse live studies once more with `shadow_bundle`, for comparison only. Until SIGTERM or Ctrl-C.

    Results stay in the database. It yields the processor to everything else; `up` starts it by itself.
    """
    from worker.processes.shadow import run_shadow_worker

    configure_logging()
    raise typer.Exit(run_shadow_worker(load_settings(config)))


@app.command(rich_help_panel=TOOLS)
def migrate(config: ConfigOption = None) -> None:
    """Bring the database to the schema of this version; safe to run again and from several machines at once."""
    from worker.rows.migrate import upgrade

    settings = load_settings(config)
    revision = upgrade(settings.effective_database_url)
    Console().print(f"the database is at revision {revision}", highlight=False)


@app.command(rich_help_panel=TOOLS)
def check(json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Prove the configuration: database revision, broker, model bundles, disk room, an answer from every destination.

    Everything is tried and all of it reported; exit code 1 when anything failed.
    """
    from worker.care.check import check_everything, report
    from worker.commands.study_commands import print_json
    from worker.views.studies import as_json

    results = check_everything(load_settings(config))
    passed = all(result.passed for result in results)
    if json_output:
        print_json({"passed": passed, "checks": as_json(results)})
    else:
        Console().print(report(results))
    raise typer.Exit(0 if passed else 1)


@app.command(rich_help_panel=TOOLS)
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
    from worker.care.send import parse_address, send_files

    peer = parse_address(address, called)
    accepted = send_files(paths, peer, calling, fresh=fresh, json_output=json_output)
    raise typer.Exit(0 if accepted else 1)


@app.command(rich_help_panel=TOOLS)
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


def complain(message: str) -> None:
    """Write one error message to standard error, whole and without markup."""
    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1, never a stack trace."""
    try:
        app()
    except (ConfigurationError, WorkerError, StoreError) as error:
        complain(str(error))
        sys.exit(1)
    except OperationalError as error:
        complain(f"the database does not answer ({type(error.orig).__name__}); run `python -m worker check`")
        sys.exit(1)
    except OSError as error:
        complain(f"{error.strerror or type(error).__name__}: {error.filename or 'the operating system refused'}")
        sys.exit(1)
