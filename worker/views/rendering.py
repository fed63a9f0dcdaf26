"""Tables for the terminal (rich) and CSV for spreadsheets; nothing here reads a database."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

from rich.box import HORIZONTALS
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from worker.rows.states import Disposition
from worker.views.presentation import against_threshold, bytes_text, duration_text, finding_text, result_text
from worker.views.studies import Group, StudyLine, as_json, why
from worker.views.study_detail import DeliveryDetail, RunDetail, StudyDetail

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
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are full-width forms, which some spreadsheets take for the others."""


def escape(text: str) -> str:
    """Return text from outside without control characters, which could steer the terminal, and without markup."""
    return escape_markup(plain(text))


def plain(text: str) -> str:
    """Return text from outside without control characters, for where nothing is taken for markup."""
    return "".join(character if character.isprintable() else " " for character in text)


def local_time(moment: datetime | None) -> str:
    """Return a UTC time in the machine's zone, to the second; empty for None."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""


def badge(line: StudyLine) -> Text:
    """Return the coloured word a study is sorted by; an overdue one keeps its priority beside it."""
    title = GROUP_TITLES.get(line.group, str(line.group))
    if line.group in (Group.OVERDUE, Group.READ) and line.priority:
        title = f"{title} ({line.priority})"
    return Text(f" {title} ", style=GROUP_STYLES[line.group])


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
    table = Table(title="Worklist", caption=NOTICE, expand=True, show_header=False, box=HORIZONTALS, show_lines=True)
    table.add_column(min_width=9)
    table.add_column(ratio=1, overflow="fold")
    for line in lines:
        table.add_row(badge(line), _in_lines(line))
    if total > len(lines):
        return Stack(table, Text(f"Showing {len(lines)} of {total} studies; --limit and --offset show the others."))
    return table


def _in_lines(line: StudyLine) -> str:
    """Return a study in a few lines, for a table of columns cuts words in two in a terminal of 80."""
    person = (line.patient_id or "(no patient ID)", line.patient_age, line.patient_sex)
    waits = f"read by {line.read_by}" if line.read_at else f"waiting {duration_text(line.waiting_seconds)}"
    state = line.state.replace("_", " ")
    results = "no results" if line.delivery.state == "none" else f"results {delivery_text(line)}"
    lines = (
        "  ".join(part for part in person if part),
        f"{line.accession_number or '(no accession)'}, received {local_time(line.first_received_at)}",
        why(line),
        ", ".join((state, results) if line.group == Group.OUT_OF_SCOPE else (state, waits, results)),
    )
    return f"[bold]{escape(line.patient_name or '(no name)')}[/bold]  " + "\n".join(
        escape(each) for each in lines if each
    )


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
        known = "; ".join(f"{item.finding} {item.probability:.3f}" for item in line.findings or ())
        text = "not known" if line.findings is None else known
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
    parts: list[RenderableType] = [head, _instances(detail)]
    for run in detail.runs:
        parts += [_run(run), *_predictions(run), *_results_of(run)]
    return Stack(*parts, _events(detail), Text(NOTICE, style="bold"))


def _instances(detail: StudyDetail) -> RenderableType:
    """Return each object under its UID, which stands in a line of its own so that it can be copied."""
    lines = [Text("Instances", style="italic")]
    for item in detail.instances:
        gone = f" (deleted {item.deleted_at:%Y-%m-%d})" if item.deleted_at else ""
        looked_at = item.image_verdict or item.disposition == Disposition.ANALYSED
        became = [item.disposition.replace("_", " "), item.suitability if looked_at else ""]
        became.append(f"{item.reason_code}: {item.reason or ''}" if item.reason_code else "")
        version = f"version {item.version}{'' if item.current else ' (old)'}"
        arrived = f"{version}, {bytes_text(item.bytes)}, received {local_time(item.received_at)}"
        lines.append(Text(item.sop_instance_uid + gone, style="bold"))
        lines += [Text(f"  {words}") for words in (f"class {item.sop_class_uid}", arrived)]
        lines.append(Text("  " + plain("; ".join(words for words in became if words))))
    return Stack(*lines)


def _run(run: RunDetail) -> RenderableType:
    mark = " (current)" if run.current else ""
    title = f"Run {run.run_number}{mark}: {run.state}, {run.trigger}, bundle {run.bundle} {run.model_version or ''}"
    facts = [f"attempts {run.attempts}", f"worker {run.worker_name or '-'}", f"priority {run.priority or 'none'}"]
    stages = {name: value for name, value in run.timings_seconds.items() if isinstance(value, int | float)}
    lines = [Text(title, style="italic"), Text("  " + ", ".join(facts))]
    if stages:
        lines.append(Text("  " + ", ".join(f"{name} {value:.3f} s" for name, value in stages.items())))
    if run.reason_code or run.reason:
        lines.append(Text("  " + plain(f"{run.reason_code or ''} {run.reason or ''}".strip())))
    return Stack(*lines)


def _predictions(run: RunDetail) -> list[RenderableType]:
    if not run.predictions:
        return []
    images = list(dict.fromkeys(item.sop_instance_uid for item in run.predictions))
    parts: list[RenderableType] = []
    for number, image in enumerate(images, 1):
        of = f" of image {number}, {image}" if len(images) > 1 else ""
        table = Table(title=f"Predictions{of}", title_justify="left", header_style="bold")
        for title in ("Finding", "Probability", "Threshold", "Flagged"):
            table.add_column(title)
        for item in (each for each in run.predictions if each.sop_instance_uid == image):
            shown, threshold = against_threshold(item.probability, item.threshold)
            style = "bold red" if item.flagged else "dim" if item.probability is None else ""
            flagged = "yes" if item.flagged else ""
            table.add_row(finding_text(item.finding), shown, threshold, flagged, style=style)
        parts.append(table)
    return parts


def _results_of(run: RunDetail) -> list[RenderableType]:
    """Return each result under its UID, with its way to each destination."""
    if not run.results:
        return []
    lines = [Text("Results and their deliveries", style="italic")]
    for result in run.results:
        what = result_text(result.kind, result.finding)
        lines.append(Text(f"{what}  ", style="bold").append(result.sop_instance_uid))
        lines += [Text(f"  {_delivery(item)}") for item in result.deliveries] or [Text("  (no destination)")]
    return [Stack(*lines)]


def _delivery(item: DeliveryDetail) -> str:
    """Return one way of a result in a line, such as ``pacs: sent, attempt 1, status 0x0000, 2026-03-01 08:15:00``."""
    status = "" if item.last_status is None else f"status 0x{item.last_status:04X}"
    words = "; ".join(part for part in (item.last_comment, item.commitment) if part)
    facts = (item.state, f"attempts {item.attempts}", status, words, local_time(item.sent_at))
    return plain(f"{item.destination}: {', '.join(fact for fact in facts if fact)}")


def _events(detail: StudyDetail) -> RenderableType:
    lines = [Text("Events", style="italic")]
    for item in detail.events:
        states = f" ({item.from_state or ''} -> {item.to_state or ''})" if item.from_state or item.to_state else ""
        said = f"{local_time(item.at)}  {item.kind.replace('_', ' ')} by {item.actor}{states}"
        lines.append(Text(plain(": ".join(part for part in (said, item.about, item.reason) if part))))
    return Stack(*lines)
