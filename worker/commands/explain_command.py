"""The command ``explain``: why each image of a study or a file is analysed or not, with pictures if wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from dicom_io.storing.instance_store import InstanceStore, StoredDamaged, StoreError
from worker.commands.at_hand import opened, print_json, resolve_study
from worker.commands.options import ConfigOption, JsonOption
from worker.foundation.errors import WorkerError, deletion_text, how_to_restore
from worker.rows.states import Disposition
from worker.rows.study_tables import Instance
from worker.settings.config import Settings, load_settings
from worker.views.presentation import suitability_text
from worker.views.rendering import escape
from worker.views.studies import as_json

if TYPE_CHECKING:  # they decode pictures; no other command waits for what that takes to import
    from worker.care.compared_pictures import ComparedPicture
    from worker.care.explanation import Explained, Explanation

_WORDS = {True: "yes", False: "no", None: "unknown"}


class NothingToExplain(WorkerError):
    """No file was named or found."""


def explain_images(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY|FILE...",
            help="Study Instance UIDs or accession numbers of received studies; DICOM files or folders, never received"
            " ones too.",
        ),
    ],
    source: Annotated[
        str, typer.Option("--source", metavar="AET", help="Calling AE title whose rules and bundle apply to files.")
    ] = "",
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="DIR",
            help="Write a PNG per image: left what the network is shown, right how dcmtk's dcm2pnm renders it, where"
            " it is installed.",
        ),
    ] = None,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say of each image whether it is analysed, and which tag, rule, or look at the picture decided.

    Everything is worked out anew under the present configuration; nothing is changed or sent. For received images what
    was recorded stands beside it.
    """
    from worker.care.compared_pictures import write_compared

    settings = load_settings(config)
    found = [
        (each, write_compared(each, picture) if picture else None)
        for target in targets
        for each in _explained(target, source, settings, decode=picture is not None)
    ]
    if not found:
        raise NothingToExplain(f"no file in {', '.join(targets)}")
    if json_output:
        print_json({"images": [as_json(each.explanation) | {"picture": as_json(shown)} for each, shown in found]})
        return
    console = Console()
    for each, shown in found:
        console.print(_table(each.explanation, shown))


def _explained(target: str, source: str, settings: Settings, *, decode: bool) -> Iterator[Explained]:
    from worker.care.explanation import explain

    path = Path(target)
    if path.is_dir():
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            yield explain(file, source, settings, decode=decode)
    elif path.is_file():
        yield explain(path, source, settings, decode=decode)
    elif _means_path(target):
        raise NothingToExplain(f"{target}: there is no such file or folder")
    else:
        yield from _received(target, settings, decode=decode)


def _means_path(target: str) -> bool:
    """Say whether a file was meant and not a UID or an accession number, neither of which names a folder or a kind."""
    path = Path(target)
    return path.is_absolute() or target.startswith((".", "~")) or path.suffix.lower() in (".dcm", ".ima", ".dicom")


def _received(target: str, settings: Settings, *, decode: bool) -> Iterator[Explained]:
    from worker.care.explanation import explain

    store = InstanceStore(settings.instances_dir)
    with opened(settings) as session:
        uid = resolve_study(session, target)
        query = select(Instance).where(Instance.study_instance_uid == uid, Instance.current).order_by(Instance.id)
        rows = list(session.scalars(query))
    for row in rows:
        if row.deleted_at is not None:
            raise WorkerError(f"study {uid}: {deletion_text(row.deleted_at)}; {how_to_restore(uid)}")
        recorded = row.disposition + (f" ({row.reason_code})" if row.reason_code else "")
        try:
            path = store.open_intact(row.path, row.sha256)
        except StoredDamaged as error:
            raise WorkerError(
                f"image {row.sop_instance_uid} is stored damaged, not as it was received ({error.path}); check the"
                f" disk of data_dir, then {how_to_restore(uid)}"
            ) from error
        except StoreError as error:
            raise WorkerError(
                f"instance {row.sop_instance_uid} cannot be read back: {error}; check data_dir"
            ) from error
        explained = explain(path, row.calling_ae_title, settings, decode=decode)
        yield replace(explained, explanation=replace(explained.explanation, recorded=recorded))


def _table(told: Explanation, shown: ComparedPicture | None) -> Table:
    table = Table(show_header=False, box=None, title=escape(told.file), title_justify="left", title_style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    decision = told.disposition + (f" ({told.reason_code})" if told.reason_code else "")
    table.add_row("[bold]Decision[/bold]", f"[bold]{decision}[/bold], decided by the {told.decided_by}")
    if told.reason:
        table.add_row("Why", escape(told.reason))
    if told.recorded:
        table.add_row("Recorded", told.recorded)
    table.add_row("Object", escape(f"{told.sop_instance_uid}, class {told.sop_class_uid}"))
    if told.cues:
        table.add_row("Tags", f"chest: {_WORDS[told.chest]}, frontal: {_WORDS[told.frontal]}")
    for cue in told.cues:
        answer = "both" if cue.answer is None else _WORDS[cue.answer]
        table.add_row("", escape(f"{cue.question}: {answer}, by {cue.source}: {cue.value}"))
    if told.site_rules:
        table.add_row("Site rules", escape(", ".join(told.site_rules)))
    age = "unknown" if told.age_years is None else f"{told.age_years:.0f} years"
    days = "unknown" if told.study_age_days is None else f"{told.study_age_days} days ago"
    table.add_row("Age, study", f"{age}; {days}{', historical' if told.historical else ''}")
    if told.coding:
        table.add_row("Pixels", escape(f"{told.coding}, {told.voi or 'luma of the colours'}"))
        checked = suitability_text(told.image_verdict, told.image_score, told.image_distance)
        asked = told.decided_by == "picture" or told.disposition == Disposition.ANALYSED
        table.add_row("Picture", checked if asked else "not looked at: the tags had decided")
    for note in told.notes:
        table.add_row("Note", escape(note))
    if shown is not None:
        table.add_row("PNG", escape(shown.file))
        table.add_row("", escape(_compared_in_words(shown)))
    return table


def _compared_in_words(shown: ComparedPicture) -> str:
    if not shown.dcmtk:
        return f"what the network is shown; nothing beside it: {shown.why}"
    words = (
        f"left what the network is shown, right {shown.dcmtk}: mean difference {shown.mean_difference:.2f},"
        f" maximum {shown.maximum_difference} grey levels"
    )
    return f"{words} ({shown.why})" if shown.why else words
