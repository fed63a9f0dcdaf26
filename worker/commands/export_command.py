"""``export``: analysed images and the model's findings, for a person to correct and for training to read."""

from __future__ import annotations

import os
import secrets
import shutil
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated

import typer

from dicom_io.data_sets.pseudonyms import Pseudonyms
from dicom_io.storing.instance_store import InstanceStore
from worker.care.export import ExportChoices, ExportCounts, ExportRefused, export_images
from worker.care.looking import note_export
from worker.commands.at_hand import opened, print_json, say
from worker.commands.options import DAY_FORM, MOST_ROWS, ConfigOption, JsonOption, person
from worker.rows.events import record
from worker.rows.kept_stores import require_kept_stores
from worker.settings.config import Settings, load_settings

KEY_FILE = "pseudonyms.key"
NOT_YET_CONFIRMED = "correct 'labels' in labels.csv and fill in 'confirmed_by'"
_KEY_BYTES = 32


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for labels.csv and the copies.")],
    pseudonymise: Annotated[
        bool,
        typer.Option(
            "--pseudonymise",
            help="Write copies without names, dates and identifiers; pixels stay, so look for burned-in text. "
            "Default: paths of the stored files and identifiers as received.",
        ),
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="Secret behind the pseudonyms, made when it is not there; keep it in the hospital. "
            f"Default: {KEY_FILE} in the data folder.",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(metavar=DAY_FORM, formats=["%Y-%m-%d"], help="Studies received on this day (UTC) or later."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(metavar=DAY_FORM, formats=["%Y-%m-%d"], help="Studies received on this day (UTC) or earlier."),
    ] = None,
    reviewed: Annotated[
        bool,
        typer.Option(
            "--reviewed",
            help="Only studies that were read and whose flagged findings all have a review: `labels` and "
            "`confirmed_by` come from the reviews, ready to train on.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, max=MOST_ROWS, help="Images at most, the newest; default: all.")
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Export analysed images with the model's findings as a table of labels that a person corrects.

    Correct `labels` and put a name into `confirmed_by`; then `python -m training --data FOLDER` trains on the
    confirmed lines; with `--reviewed` all lines are, by what radiologists said on the page. Written to the audit trail.
    """
    if since is not None and until is not None and since > until:
        raise typer.BadParameter(f"ends before --since, {since:%Y-%m-%d}, begins", param_hint="'--until'")
    settings = load_settings(config)
    pseudonyms = _pseudonyms(settings, key_file) if pseudonymise else None
    choices = ExportChoices(folder, _start_of(since), _end_of(until), limit, reviewed, pseudonyms)
    with opened(settings) as session:
        counts = export_images(session, InstanceStore(settings.instances_dir), choices)
    try:
        with opened(settings, read_only=False) as session:  # apart: on SQLite a writer makes the listener wait
            details = {"pseudonymised": pseudonymise, "reviewed": reviewed, **counts.facts}
            record(session, "exported", actor=person(), details=details)
            for uid in sorted(counts.study_instance_uids):
                note_export(session, uid, person())
    except BaseException:  # nothing leaves without a line in the trail
        shutil.rmtree(folder)
        raise
    if json_output:
        print_json(counts.facts)
        return
    todo = f"train with: python -m training --data {folder}" if reviewed else NOT_YET_CONFIRMED
    _say(folder, counts, todo)


def _say(folder: Path, counts: ExportCounts, todo: str) -> None:
    say(f"{folder}: {counts.images} images of {counts.studies} studies and {counts.patients} patients; {todo}")
    if counts.undecided:
        say(f"{counts.undecided} images left out: a flagged finding of their study has no review yet")
    if counts.files_missing:
        say(f"{counts.files_missing} images left out: their stored files are gone or damaged")
    if counts.burned_in:
        say(f"{counts.burned_in} images left out: a text is burned into them")


def _start_of(day: datetime | None) -> datetime | None:
    return None if day is None else day.replace(tzinfo=UTC)


def _end_of(day: datetime | None) -> datetime | None:
    if day is None or day.date() == date.max:
        return None
    return datetime.combine(day.date() + timedelta(days=1), time(), UTC)


def _pseudonyms(settings: Settings, key_file: Path | None) -> Pseudonyms:
    """Return the pseudonyms of the secret in the file; a new one is readable by its owner only."""
    path = key_file or settings.data_dir / KEY_FILE
    if not path.exists():
        require_kept_stores(settings)  # else the key of earlier exports may lie on a disk that is not mounted
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        except OSError:  # a full disk would leave what later exports take for a key
            path.unlink()
            raise
    if not path.is_file():
        raise ExportRefused(f"{path} is no file, and so no key; name another with --key-file")
    try:
        return Pseudonyms(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError as error:  # not hexadecimal, or too short: a full disk leaves an empty file
        raise ExportRefused(
            f"{path} holds no key: expected {2 * _KEY_BYTES} hexadecimal digits; restore it from a copy, or delete it "
            "where no export was made with it"
        ) from error
