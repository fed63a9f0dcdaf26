"""How the demonstration ended: tables for people, and every expectation that was not met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.demo.pacs import StoredObject
from worker.demo.studies import DemoStudy
from worker.rows.states import ResultKind, StudyState
from worker.settings.config import Settings
from worker.views.presentation import finding_text
from worker.views.rendering import NOTICE, badge, escape
from worker.views.studies import why
from worker.views.study_detail import ResultDetail, StudyDetail

DRAWINGS = "The models are demonstrations: what they say about the real radiographs means nothing."
KIND_TEXTS = {
    ResultKind.STRUCTURED_REPORT: "SR",
    ResultKind.SECONDARY_CAPTURE: "SC",
    ResultKind.SUMMARY_CAPTURE: "SC all",
    ResultKind.PRESENTATION_STATE: "GSPS",
    ResultKind.HL7_MESSAGE: "HL7",
}


@dataclass(frozen=True)
class Outcome:
    """One study after the demonstration."""

    study: DemoStudy
    detail: StudyDetail | None
    """None when the worker never wrote a row."""
    stored_at: datetime
    """When the worker had answered the last C-STORE, UTC."""
    in_pacs: Sequence[StoredObject]

    @property
    def results(self) -> tuple[ResultDetail, ...]:
        """The objects the current run made."""
        run = self.detail.current_run if self.detail else None
        return run.results if run else ()

    @property
    def delivery_seconds(self) -> float | None:
        """From the last C-STORE response to the last result stored at the PACS; None when nothing was delivered."""
        sent = [item.sent_at for result in self.results for item in result.deliveries if item.sent_at]
        return max(0.0, (max(sent) - self.stored_at).total_seconds()) if sent else None


def violations(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for every expectation that was not met."""
    return [f"{outcome.study.title}: {sentence}" for outcome in outcomes for sentence in _violations(outcome)]


def _violations(outcome: Outcome) -> list[str]:
    expected, detail = outcome.study.expectation, outcome.detail
    if detail is None:
        return ["the worker has no record of it"]
    line = detail.line
    if line.state != expected.state:
        return [f"ended {line.state} ({line.reason_code or 'no reason'}), should be {expected.state}"]
    ours = {result.sop_instance_uid for result in outcome.results}
    if expected.state != StudyState.TRIAGED:
        return ["results were made, though it is out of scope"] if ours else []
    wrong = []
    flagged = {item.finding for item in line.findings or ()}
    if expected.priority is not None and line.priority != expected.priority:
        wrong.append(f"priority {line.priority}, should be {expected.priority}")
    if expected.flagged is not None and flagged != set(expected.flagged):
        wrong.append(f"flagged {sorted(flagged) or 'nothing'}, should be {sorted(expected.flagged) or 'nothing'}")
    if [result.kind for result in outcome.results].count(ResultKind.STRUCTURED_REPORT) != 1:
        wrong.append("there is not exactly one structured report")
    pictured = sorted(result.finding or "" for result in outcome.results if result.kind == ResultKind.SECONDARY_CAPTURE)
    if pictured != sorted(flagged):
        wrong.append(f"heat maps of {pictured or 'nothing'}, flagged are {sorted(flagged) or 'nothing'}")
    if missing := ours - {item.sop_instance_uid for item in outcome.in_pacs}:
        wrong.append(f"{len(missing)} of {len(ours)} results are not in the PACS ({line.delivery.state})")
    return wrong


def wide_console() -> Console:
    """Return a console as wide as the terminal, or 140 characters where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print the worklist in reading order, the times, and where each result lies."""
    console.print(_worklist(outcomes), _times(outcomes))
    console.print("[bold]Results in the PACS[/bold]")
    for place in _places(outcomes):
        console.print(place, soft_wrap=True, highlight=False)  # a broken URL cannot be clicked


def _worklist(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="Worklist", header_style="bold", caption=f"{NOTICE}\n{DRAWINGS}")
    for title in ("Priority", "Study", "Why", "As expected"):
        table.add_column(title, overflow="fold")
    order = ["STAT", "URGENT", "ROUTINE"]
    known = [outcome for outcome in outcomes if outcome.detail]
    known.sort(key=lambda outcome: _place(outcome, order))
    for outcome in known:
        if outcome.detail is None:
            continue
        line = outcome.detail.line
        verdict = Text("no", style="bold red") if _violations(outcome) else Text("yes", style="green")
        table.add_row(badge(line), escape(outcome.study.title), escape(why(line)), verdict)
    return table


def _place(outcome: Outcome, order: Sequence[str]) -> tuple[int, float]:
    line = outcome.detail.line if outcome.detail else None
    if line is None or line.priority not in order:
        return len(order), 0.0
    return order.index(line.priority), -line.priority_rank


def _times(outcomes: Sequence[Outcome]) -> Table:
    """Return, per study, the time from last C-STORE response to last result stored at the PACS, and each stage."""
    stages: list[str] = []
    timings = []
    for outcome in outcomes:
        run = outcome.detail.current_run if outcome.detail else None
        timing = {name: value for name, value in (run.timings_seconds if run else {}).items() if _is_number(value)}
        timings.append(timing)
        stages += [name for name in timing if name not in stages]
    table = Table(
        title="Seconds from the last C-STORE response to the results in the PACS, and per stage",
        caption="The first study of each model also waited until that was loaded.",
        header_style="bold",
    )
    table.add_column("Study", overflow="fold", min_width=26)
    for title in ("C-STORE to PACS", *(stage.replace("_", " ") for stage in stages)):
        table.add_column(title, justify="right")
    for outcome, timing in zip(outcomes, timings, strict=True):
        total = outcome.delivery_seconds
        cells = [f"{timing[stage]:.3f}" if stage in timing else "" for stage in stages]
        table.add_row(escape(outcome.study.title), "-" if total is None else f"[bold]{total:.2f}[/bold]", *cells)
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _places(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line per study and per result with its place in the PACS."""
    lines = []
    for outcome in outcomes:
        places = {item.sop_instance_uid: item.place for item in outcome.in_pacs}
        lines += [f"  {escape(outcome.study.title)}"] if outcome.results else []
        for result in outcome.results:
            name = f"{KIND_TEXTS[ResultKind(result.kind)]} {finding_text(result.finding or '')}".strip()
            lines.append(f"    {name:<18} {escape(places.get(result.sop_instance_uid, 'NOT THERE'))}")
    return lines


def closing_words(wrong: Sequence[str], settings: Settings, folder: Path, *, keep: bool) -> RenderableType:
    """Return the verdict and what a person can do next."""
    page = f"http://{settings.worklist_host}:{settings.worklist_port}/"
    config = folder / "worker.toml"
    again = "" if keep else "  (after `make demo KEEP=1`, or `python -m worklist --config " + f"{config}`)"
    words = [
        f"Open the worklist:  {page}{again}",
        f"Look into a study:  python -m worker show ACC-DEMO-0001 --config {config}",
        f"Folder:             {folder}  (log: worker.log)",
    ]
    if wrong:
        title, style = "Not every study ended as expected", "red"
        words = [*(f"- {sentence}" for sentence in wrong), "", *words]
    else:
        title, style = "Every study ended as expected", "green"
    return Panel(Text("\n".join(words)), title=title, border_style=style)
