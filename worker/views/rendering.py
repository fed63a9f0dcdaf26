"""Tables for the terminal (rich) and CSV for spreadsheets; nothing here reads a database."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from worker.rows.states import Disposition
from worker.views.presentation import against_threshold, bytes_text, duration_text, finding_text
from worker.views.studies import Group, StudyLine, as_json
from worker.views.study_detail import RunDetail, StudyDetail

NOTICE = "NOT FOR DIAGNOSTIC USE - not a medical device; the absence of a finding is not a normal finding."

GROUP_STYLES = {
    Group.OVERDUE: "bold black on yellow",
    Group.STAT: "bold white on red",
    Group.URGENT: "bold black on dark_orange",
    Group.ROUTINE: "black on green",
    Group.IN_PROGRESS: "black on cyan",
    Group.FAILED: "bold white on magenta",
    Group.HELD: "bold white on magenta",
    Group.NOT_ANALYSED: "bold white on magenta",
    Group.HISTORICAL: "dim",
    Group.READ: "dim",
    Group.OUT_OF_SCOPE: "dim",
}
GROUP_TITLES = {
    Group.OVERDUE: "waiting too long",
    Group.IN_PROGRESS: "in progress",
    Group.NOT_ANALYSED: "not analysed",
    Group.OUT_OF_SCOPE: "out of scope",
}
RESULT_COLUMNS = (
    "Kind", "Finding", "SOP Instance UID", "Destination", "State", "Attempts", "Status", "Comment", "Sent",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are full-width forms, which some spreadsheets take for the others."""


def escape(text: str) -> str:
    """Return text from outside without control characters, which could steer the terminal, and without markup."""
    return escape_markup("".join(character if character.isprintable() else " " for character in text))


def local_time(moment: datetime | None) -> str:
    """Return a UTC time in the machine's zone, to the second; empty for None."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


def badge(line: StudyLine) -> Text:
    """Return the coloured word a study is sorted by; an overdue one keeps its priority beside it."""
    title = GROUP_TITLES.get(line.group, str(line.group))
    if line.group in (Group.OVERDUE, Group.READ) and line.priority:
        title = f"{title} ({line.priority})"
    return Text(f" {title} ", style=GROUP_STYLES[line.group])


def why(line: StudyLine) -> str:
    """Return the reason of a line: the priority's for an analysed study, else why it was not analysed."""
    if line.priority_reason and line.group not in (Group.FAILED, Group.HELD, Group.NOT_ANALYSED):
        return line.priority_reason
    return line.reason or line.reason_code or ""


def delivery_text(line: StudyLine) -> str:
    """Return how far the results came, such as ``2/2 delivered``."""
    summary = line.delivery
    if summary.state == "none":
        return "-"
    return f"{summary.delivered}/{summary.total} {summary.state}" + (f": {summary.comment}" if summary.comment else "")


def worklist_table(lines: Sequence[StudyLine], total: int) -> RenderableType:
    """Return the worklist; says so when the list is cut or empty."""
    if not lines:
        return Text("No studies. Send one with `python -m worker send PATH HOST:PORT` or from the PACS.")
    table = Table(title="Worklist", caption=NOTICE, header_style="bold", expand=True)
    for title in ("Priority", "Patient", "Age", "Sex", "Accession", "Received", "Waiting", "State", "Why", "Results"):
        table.add_column(title, no_wrap=title in {"Age", "Sex", "Waiting"}, overflow="fold")
    for line in lines:
        table.add_row(
            badge(line),
            escape(line.patient_name) + "\n" + escape(line.patient_id or "(no patient ID)"),
            line.patient_age,
            line.patient_sex,
            escape(line.accession_number),
            local_time(line.first_received_at),
            "read" if line.read_at else duration_text(line.waiting_seconds),
            line.state,
            escape(why(line)),
            escape(delivery_text(line)),
        )
    if total > len(lines):
        return Stack(table, Text(f"Showing {len(lines)} of {total} studies; --limit and --offset show the others."))
    return table


def csv_text(lines: Iterable[StudyLine]) -> str:
    """Return the lines as CSV with a header; cells that a spreadsheet would run as a formula get a leading ``'``."""
    names = [field.name for field in fields(StudyLine)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow([_cell(name, line) for name in names])
    return stream.getvalue()


def _cell(name: str, line: StudyLine) -> str:
    if name == "findings":
        text = "; ".join(f"{item.finding} {item.probability:.3f}" for item in line.findings)
    elif name == "delivery":
        text = delivery_text(line)
    else:
        value = as_json(getattr(line, name))
        text = "" if value is None else str(value)
    return inert(text)


def inert(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula; a sender wrote some of it."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def study_report(detail: StudyDetail) -> RenderableType:
    """Return everything about one study as a stack of tables."""
    line = detail.line
    head = Table(show_header=False, box=None, title=f"Study {line.study_instance_uid}", title_justify="left")
    for name, value in (
        ("Patient", f"{line.patient_name or '(no name)'}  {line.patient_id or '(no patient ID)'}"),
        ("Age, sex, birth date", f"{line.patient_age}  {line.patient_sex}  {detail.patient_birth_date}"),
        ("Accession, description", f"{line.accession_number}  {line.study_description}"),
        ("Received", f"{local_time(line.first_received_at)} to {local_time(line.last_received_at)}"),
        ("From, to", f"{line.calling_ae_title} -> {detail.called_ae_title}"),
        ("State", line.state + (f" ({line.reason_code}) {line.reason or ''}" if line.reason_code else "")),
        ("Priority", f"{line.priority or 'none'}  {line.priority_reason or ''}"),
        ("Read", f"{local_time(line.read_at)} by {line.read_by}" if line.read_at else "no"),
    ):
        head.add_row(f"[bold]{name}[/bold]", escape(value))
    parts: list[RenderableType] = [head, _instance_table(detail)]
    for run in detail.runs:
        parts += [_run_table(run), *_prediction_tables(run), *_result_tables(run)]
    return Stack(*parts, _event_table(detail), Text(NOTICE, style="bold"))


def _instance_table(detail: StudyDetail) -> Table:
    table = Table(title="Instances", title_justify="left", header_style="bold")
    for title in ("SOP Instance UID", "Version", "SOP class", "Size", "Received", "Disposition", "Picture", "Why"):
        table.add_column(title, overflow="fold")
    for item in detail.instances:
        table.add_row(
            item.sop_instance_uid + (f" (deleted {item.deleted_at:%Y-%m-%d})" if item.deleted_at else ""),
            f"{item.version}{'' if item.current else ' (old)'}",
            item.sop_class_uid,
            bytes_text(item.bytes),
            local_time(item.received_at),
            item.disposition,
            item.suitability if item.image_verdict or item.disposition == Disposition.ANALYSED else "",
            escape(f"{item.reason_code}: {item.reason or ''}" if item.reason_code else ""),
        )
    return table


def _run_table(run: RunDetail) -> Table:
    mark = " (current)" if run.current else ""
    title = f"Run {run.run_number}{mark}: {run.state}, {run.trigger}, bundle {run.bundle} {run.model_version or ''}"
    table = Table(title=title, title_justify="left", header_style="bold")
    stages = {name: value for name, value in run.timings_seconds.items() if isinstance(value, int | float)}
    columns = {"Attempts": str(run.attempts), "Worker": run.worker_name or "", "Priority": run.priority or "none"}
    columns |= {name: f"{value:.3f} s" for name, value in stages.items()}
    if run.reason_code or run.reason:
        columns["Why"] = escape(f"{run.reason_code or ''} {run.reason or ''}".strip())
    for name in columns:
        table.add_column(name, overflow="fold")
    table.add_row(*columns.values())
    return table


def _prediction_tables(run: RunDetail) -> list[Table]:
    if not run.predictions:
        return []
    table = Table(title="Predictions", title_justify="left", header_style="bold")
    for title in ("Finding", "Probability", "Threshold", "Flagged", "Image"):
        table.add_column(title, overflow="fold")
    for item in run.predictions:
        shown, threshold = against_threshold(item.probability, item.threshold)
        style = "bold red" if item.flagged else "dim" if item.probability is None else ""
        cells = (finding_text(item.finding), shown, threshold, "yes" if item.flagged else "")
        table.add_row(*cells, item.sop_instance_uid, style=style)
    return [table]


def _result_tables(run: RunDetail) -> list[Table]:
    if not run.results:
        return []
    table = Table(title="Results and their deliveries", title_justify="left", header_style="bold")
    for title in RESULT_COLUMNS:
        table.add_column(title, overflow="fold")
    for result in run.results:
        head = (result.kind, finding_text(result.finding) if result.finding else "", result.sop_instance_uid)
        if not result.deliveries:
            table.add_row(*head, "(no destination)")
        for item in result.deliveries:
            status = "" if item.last_status is None else f"0x{item.last_status:04X}"
            words = "; ".join(part for part in (item.last_comment, item.commitment) if part)
            cells = (item.destination, item.state, str(item.attempts), status, escape(words))
            table.add_row(*head, *cells, local_time(item.sent_at))
    return [table]


def _event_table(detail: StudyDetail) -> Table:
    table = Table(title="Events", title_justify="left", header_style="bold")
    for title in ("When", "Who", "What", "From", "To", "Why"):
        table.add_column(title, overflow="fold")
    for item in detail.events:
        cells = (item.actor, item.kind, item.from_state or "", item.to_state or "", escape(item.reason or ""))
        table.add_row(local_time(item.at), *cells)
    return table
