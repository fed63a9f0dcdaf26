"""``backup``, ``restore`` and ``verify``: a copy of everything, the way back, and whether anything is missing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from worker.care.backup import back_up
from worker.care.backup import restore as bring_back
from worker.care.verification import verify as compare
from worker.commands.at_hand import opened, print_json, say
from worker.commands.options import ConfigOption, JsonOption, person
from worker.rows.database import expected_revision
from worker.rows.events import record
from worker.settings.config import load_settings

SHOWN = 20
"""Paths of a kind that are printed; ``--json`` has all."""
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup, on another disk.")]


def backup(folder: FolderArgument, json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """Copy the database and all it knows into a folder, while everything runs; written to the audit trail.

    Again into the same folder copies only what is new. Configuration, certificates and model bundles are not in it.
    PostgreSQL needs pg_dump on this machine.
    """
    settings = load_settings(config)
    manifest = back_up(settings, folder)
    with opened(settings, read_only=False) as session:
        record(session, "backed_up", actor=person(), reason=manifest.summary, details=asdict(manifest))
    if json_output:
        print_json(asdict(manifest))
    else:
        say(manifest.summary)


def restore(folder: FolderArgument, config: ConfigOption = None) -> None:
    """Bring a backup back into an empty data folder and an empty database; start nothing before.

    Afterwards: `verify`, start everything, and `reconcile` since the backup was taken. PostgreSQL needs pg_restore.
    """
    settings = load_settings(config)
    manifest = bring_back(settings, folder)
    older = "" if manifest.revision == expected_revision() else "; run `python -m worker migrate` now"
    say(
        f"restored what was known at {manifest.taken_at}: {manifest.instances} received objects, {manifest.results}"
        f" results{older}"
    )


def verify(
    hashes: Annotated[bool, typer.Option("--hashes", help="Read every file and compare its SHA-256, too.")] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare rows and files from both sides. Exit code 1 when a file is missing or changed.

    Files without a row are named, and are no fault while images arrive.
    """
    settings = load_settings(config)
    with opened(settings) as session:
        found = compare(session, settings, hashes=hashes)
    if json_output:
        print_json({**asdict(found), "whole": found.whole})
    else:
        say(f"{found.rows} rows compared with their files")
        for word, paths in (("missing", found.missing), ("changed", found.changed), ("without a row", found.stray)):
            for path in paths[:SHOWN]:
                say(f"{word}: {path}")
            if len(paths) > SHOWN:
                say(f"{word}: and {len(paths) - SHOWN} more (--json names all)")
    raise typer.Exit(0 if found.whole else 1)
