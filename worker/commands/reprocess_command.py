"""``reprocess``: analyse archived studies again, behind all live ones; may be stopped and goes on where it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from worker.care.reprocessing import (
    Wanted,
    count_studies,
    give_up,
    list_studies,
    order,
    require_possible,
)
from worker.commands.at_hand import print_json
from worker.commands.options import TIME_FORM, TIME_FORMATS, ConfigOption, JsonOption, person
from worker.figures.backfills import BackfillFigures, figures_of, not_done
from worker.rows.database import SessionFactory, database_now, migrated_engine, session_factory
from worker.rows.run_tables import Backfill, BackfillStudy
from worker.settings.config import Settings, load_settings
from worker.views.presentation import duration_text
from worker.views.rendering import escape
from worker.views.studies import as_json

_SHOWN = 50
_NAMED = 10_000
_LOOK_SECONDS = 1.0
INTERRUPTED = 130


def reprocess(
    since: Annotated[
        datetime,
        typer.Option(
            metavar=TIME_FORM, formats=TIME_FORMATS, help="Studies whose first image came at this UTC time or later."
        ),
    ],
    until: Annotated[
        datetime | None,
        typer.Option(metavar=TIME_FORM, formats=TIME_FORMATS, help="And before this UTC time. Default: now."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="Configured bundle. Default: the one that is active.")
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="AET", help="Only studies from this AE title.")] = None,
    finding: Annotated[str | None, typer.Option(help="Only studies with this finding flagged now.")] = None,
    no_delivery: Annotated[
        bool, typer.Option("--no-delivery", help="Words into the database only; the present results stay what counts.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Processes of this command.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is written.")] = False,
    stop: Annotated[
        bool, typer.Option("--give-up", help="End this order: what still waits is not analysed again.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Analyse archived studies again, newest first, whenever no live study waits.

    Ctrl-C stops; the same command continues where it was, also after a crash, and several machines may run it at once.
    Exit code 1 when a study failed or its images are gone, 130 when it was stopped.
    """
    if dry_run and stop:
        raise typer.BadParameter("choose one of --dry-run and --give-up")
    settings = load_settings(config)
    wanted = Wanted(_utc(since), _utc(until) if until else None, model, source, finding, no_delivery)
    require_possible(wanted, settings)
    with migrated_engine(settings.effective_database_url) as engine:
        sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
        if dry_run:
            status = _count(reading, wanted, json_output)
        elif stop:
            status = _give_up(sessions, wanted, json_output)
        else:
            status = _carry_out(sessions, reading, wanted, settings, concurrency, json_output)
    raise typer.Exit(status)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _count(reading: SessionFactory, wanted: Wanted, json_output: bool) -> int:
    with reading() as session:
        found = count_studies(session, wanted)
    if json_output:
        print_json(asdict(found))
    else:
        _say(
            f"{found.to_do} studies would be analysed again; of {found.missing} the images are deleted,"
            f" {found.nothing_to_analyse} hold no image fit for analysis"
        )
    return 0


def _give_up(sessions: SessionFactory, wanted: Wanted, json_output: bool) -> int:
    with sessions.begin() as session:
        waited = give_up(session, wanted, person())
    if json_output:
        print_json({"given_up": True, "studies": waited})
    else:
        _say(f"given up; {waited} studies are not analysed again")
    return 0


def _carry_out(
    sessions: SessionFactory,
    reading: SessionFactory,
    wanted: Wanted,
    settings: Settings,
    number: int,
    as_json_text: bool,
) -> int:
    from worker.processes.backfill import backfill_processes, is_over
    from worker.runs.workplace import check_bundles, require_active_configured

    check_bundles(settings)  # before every study fails for it
    with reading() as session:
        require_active_configured(session, settings)
    with sessions.begin() as session:
        backfill, new = order(session, wanted, person())
    if not as_json_text:
        _say(
            f"backfill {backfill.id}, {'ordered now' if new else 'continued'}; Ctrl-C stops, the same command continues"
        )
    with _stoppable() as stopped:
        list_studies(reading, sessions, backfill.id, stopped.is_set)
        if not stopped.is_set() and not is_over(sessions, backfill.id, settings):
            with backfill_processes(settings, backfill.id, number) as processes:
                _watch(reading, backfill.id, processes, stopped, shown=not as_json_text)
        with reading() as session:
            figures = _figures(session, backfill.id)
            left = not_done(session, backfill.id, _NAMED)
    _report(figures, left, as_json_text)
    if figures.ended_at is None:
        return INTERRUPTED if stopped.is_set() else 1
    return 1 if figures.failed + figures.missing else 0


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    reading: SessionFactory,
    backfill_id: int,
    processes: Sequence[BaseProcess],
    stopped: threading.Event,
    *,
    shown: bool,
) -> None:
    """Show how far it is until every process has ended or a person stops."""
    columns = (TextColumn("studies"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("", words="")
        while not stopped.is_set() and any(process.is_alive() for process in processes):
            with reading() as session:
                figures = _figures(session, backfill_id)
            progress.update(task, total=figures.studies, completed=figures.settled, words=progress_words(figures))
            stopped.wait(_LOOK_SECONDS)


def progress_words(figures: BackfillFigures) -> str:
    """Return how fast it goes and what was not done, for one line."""
    words = f"{figures.done_lately / 5:.0f} a minute"
    if figures.seconds_left is not None and not figures.ended_at:
        words += f", {duration_text(figures.seconds_left)} left"
    not_analysed = figures.failed + figures.missing + figures.skipped
    return f"{words}, {not_analysed} not done" if not_analysed else words


def _figures(session: Any, backfill_id: int) -> BackfillFigures:
    backfill = session.get_one(Backfill, backfill_id, populate_existing=True)
    return figures_of(session, backfill, database_now(session))


def _report(figures: BackfillFigures, left: Sequence[BackfillStudy], as_json_text: bool) -> None:
    if as_json_text:
        rows = [
            {"study_instance_uid": row.study_instance_uid, "state": row.state, "reason": row.reason} for row in left
        ]
        print_json({**as_json(figures), "studies": figures.studies, "not_done": rows})
        return
    end = "done" if figures.ended_at else "stopped; the same command continues"
    _say(
        f"{end}: {figures.done} studies analysed again, {figures.waiting + figures.running} wait,"
        f" {figures.failed} failed, of {figures.missing} the images are gone, {figures.skipped} passed over,"
        f" {figures.nothing_to_analyse} hold no image fit for analysis"
    )
    if left:
        table = Table(title="Not done", header_style="bold")
        for title in ("Study", "State", "Why"):
            table.add_column(title, overflow="fold")
        for row in left[:_SHOWN]:
            table.add_row(escape(row.study_instance_uid), row.state, escape(row.reason or ""))
        Console().print(table)
        if len(left) > _SHOWN:
            _say(f"{len(left) - _SHOWN} more: --json names {_NAMED} at most, the table backfill_study all")


def _say(text: str) -> None:
    Console().print(escape(text), highlight=False, soft_wrap=True)
