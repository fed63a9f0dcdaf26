"""Tables for the terminal about a data set: its problems, its parts, its findings."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from model.labels import LABELS
from training.data.census import Census, PartCount
from training.data.problems import Problem, ProblemLog, Severity

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_EXAMPLES = 3


def problem_table(log: ProblemLog) -> Table:
    """Return one row for each kind of problem, the gravest first, with examples and what to do."""
    table = Table(title="Problems", header_style="bold", expand=True)
    for title in ("", "Problem", "Count", "Such as", "What to do"):
        table.add_column(title, justify="right" if title == "Count" else "left", overflow="fold")
    for kind, found in log.by_kind():
        severity = log.severity(kind)
        style = _STYLES[severity]
        table.add_row(severity, kind.title, f"{len(found):,}", _examples(found), escape(kind.remedy), style=style)
    return table


def _examples(found: list[Problem]) -> str:
    """Return the first few, a line each."""
    texts = [str(problem) if problem.detail else problem.where for problem in found[:_EXAMPLES]]
    return escape("\n".join(texts + ["..."] * (len(found) > _EXAMPLES)))


def parts_table(census: Census) -> Table:
    """Return one row for each part."""
    table = Table(title="Parts", header_style="bold")
    for title in ("Part", "Images", "Patients", "Img/pat.", "Boxed", "No finding", "AP", "<18"):
        table.add_column(title, justify="left" if title == "Part" else "right")
    for name, part in _parts(census):
        table.add_row(
            name,
            f"{part.pictures:,}",
            f"{part.patients:,}",
            f"{part.pictures_per_patient:.2f}",
            f"{part.boxed:,}",
            f"{part.no_finding_share:.1%}",
            f"{part.anteroposterior_share:.1%}",
            f"{part.under_18:,}",
        )
    table.caption = (
        f"{census.patients_in_both} patients in both parts. A model that never finds anything is right in "
        f"{census.test.all_negative_accuracy:.1%} of all answers on test"
    )
    return table


def findings_table(census: Census) -> Table:
    """Return one row for each finding: cases in all and in test, prevalence in both parts, patients in test."""
    table = Table(title="Findings", header_style="bold")
    for title in ("Finding", "All", "Test", "Train+val %", "Test %", "Test patients"):
        table.add_column(title, justify="left" if title == "Finding" else "right")
    for label in LABELS:
        test = census.test.findings[label]
        table.add_row(
            label,
            f"{census.all.findings[label].positives:,}",
            f"{test.positives:,}",
            f"{100 * census.train_val.findings[label].prevalence:.2f}",
            f"{100 * test.prevalence:.2f}",
            f"{test.positive_patients:,}",
        )
    return table


def _parts(census: Census) -> tuple[tuple[str, PartCount], ...]:
    return (("train_val", census.train_val), ("test", census.test), ("all", census.all))
