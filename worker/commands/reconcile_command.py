"""``reconcile``: ask the archive what it has of a time, and fetch what was never received."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from worker.commands.at_hand import opened, print_json, resolve_study
from worker.commands.options import ConfigOption, JsonOption, person
from worker.foundation.wall_clock import earliest, latest
from worker.settings.config import load_settings
from worker.views.rendering import escape
from worker.views.studies import as_json

if TYPE_CHECKING:
    from worker.care.reconciled import Reconciliation

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]


def reconcile(
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", formats=_FORMATS, help="Studies that began at this time or later, by the site's clock."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", formats=_FORMATS, help="And not later than this. Default: now.")
    ] = None,
    study: Annotated[
        str,
        typer.Option(
            "--study",
            metavar="STUDY",
            help="Instead of a time: this study, with images that retention deleted or a disk damaged here.",
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing; fetch nothing.")] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Call the time settled even where something cannot be fetched.")
    ] = False,
    json_output: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fetch what the archive has and we have not, after a time in which nothing could be received.

    The configuration names the archive (reconcile). It is asked for studies of its modalities (C-FIND), and what was
    never received is fetched (C-MOVE to our running listener, or C-GET). Doing it again changes nothing. Exit code 1
    when something is missing still; written to the audit trail.
    """
    from worker.care.reconciled import Window  # Celery and the network take a moment to import; lists need none
    from worker.processes.gap_closing import opened_reconciler

    if dry_run and give_up:
        raise typer.BadParameter("choose one of --dry-run and --give-up")
    settings = load_settings(config)
    if study:
        if since or until or dry_run or give_up:
            raise typer.BadParameter("--study goes with none of the other options")
        with opened(settings) as session:
            uid = resolve_study(session, study)
        with opened_reconciler(settings) as reconciler:
            _tell(reconciler.refetch(uid, person()), dry_run=False, json_output=json_output)
    if since is None:
        raise typer.BadParameter("say since when with --since, or which study with --study")
    zone = ZoneInfo(settings.time_zone)
    window = Window(earliest(since, zone), latest(until, zone) if until else datetime.now(UTC))
    if window.since >= window.until:
        raise typer.BadParameter("--since must be before --until, and in the past")
    with opened_reconciler(settings) as reconciler:
        found = reconciler.reconcile(window, person(), fetch=not dry_run, give_up=give_up)
    _tell(found, dry_run=dry_run, json_output=json_output)


def _tell(found: Reconciliation, *, dry_run: bool, json_output: bool) -> NoReturn:
    """Print what was found and done, and end with the exit code that says whether everything is here."""
    still = [(item.study_instance_uid, item.sop_instance_uid, item.reason) for item in found.failures]
    if dry_run:
        still = [(item.study_instance_uid, item.sop_instance_uid, "missing") for item in found.missing]
    elsewhere = [(item.study_instance_uid, item.sop_instance_uid, item.here_under) for item in found.elsewhere]
    if json_output:
        print_json({**as_json(found), "complete": found.complete, "summary": found.summary})
    else:
        console = Console()
        console.print(escape(found.summary), highlight=False, soft_wrap=True)
        _print_table(console, "Not here", ("Study", "Object", "Why"), still)
        _print_table(console, "Here under another study", ("Study in the archive", "Object", "Study here"), elsewhere)
    raise typer.Exit(0 if found.complete else 1)


def _print_table(console: Console, title: str, columns: Sequence[str], lines: Sequence[tuple[str, ...]]) -> None:
    if not lines:
        return
    table = Table(title=title, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    console.print(table)
