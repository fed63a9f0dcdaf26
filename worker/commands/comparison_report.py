"""A comparison of two bundles as tables for the terminal and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from worker.figures.auroc import Interval, RankedBoth
from worker.figures.comparison import Comparison
from worker.figures.intervals import Share
from worker.rows.states import Priority
from worker.views.presentation import finding_text
from worker.views.studies import as_json

HINT = (
    "Reviews are not a random sample: flagged studies are reviewed more often, so the areas compare the two bundles "
    "with each other and do not say how good either is."
)


def comparison_report(found: Comparison) -> RenderableType:
    """Return the comparison as text and two tables."""
    return Group(
        f"active {found.active_version}\nin the shadow {found.shadow_version}\n{found.studies} studies that both "
        f"analysed; {found.unanswered} without an answer in the shadow; {found.waiting} wait",
        f"flagged STAT or URGENT: active {_share(found.active_flagged)}, shadow {_share(found.shadow_flagged)}",
        _priorities(found),
        _findings(found),
        HINT,
    )


def _priorities(found: Comparison) -> Table:
    table = Table(title="Studies by priority: active (lines) and shadow (columns)", header_style="bold")
    table.add_column("")
    for priority in Priority:
        table.add_column(priority, justify="right")
    for priority in Priority:
        table.add_row(priority, *(str(found.priorities.get((priority, other), 0)) for other in Priority))
    return table


def _findings(found: Comparison) -> Table:
    table = Table(title="By finding", header_style="bold")
    for title in ("Finding", "Agree", "Only active", "Only shadow", "Both", "Reviewed"):
        table.add_column(title, justify="left" if title == "Finding" else "right")
    for title in ("AUROC active", "AUROC shadow", "Difference"):
        table.add_column(title, justify="right", overflow="fold")
    for item in found.findings:
        counts = (str(item.only_active), str(item.only_shadow), str(item.both))
        table.add_row(finding_text(item.finding), _share(item.agreement), *counts, *_ranked(item.ranked))
    return table


def _ranked(ranked: RankedBoth | None) -> tuple[str, ...]:
    if ranked is None:
        return ("-",) * 4
    areas = (ranked.first, ranked.second, ranked.difference)
    return f"{ranked.studies} ({ranked.positive} with)", *(interval_text(each) for each in areas)


def interval_text(interval: Interval) -> str:
    """Return ``0.91 (0.85 to 0.96)``, or the value alone where there are too few patients for an interval."""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f} (too few)"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _share(item: Share) -> str:
    return "-" if item.fraction is None else f"{100 * item.fraction:.1f} %"


def comparison_json(found: Comparison | None) -> Any:
    """Return the comparison for scripts; null where there is none."""
    if found is None:
        return None
    priorities = [
        {"active": active, "shadow": shadow, "studies": count} for (active, shadow), count in found.priorities.items()
    ]
    return {
        "active_version": found.active_version,
        "shadow_version": found.shadow_version,
        "studies": found.studies,
        "unanswered": found.unanswered,
        "waiting": found.waiting,
        "active_flagged": as_json(found.active_flagged),
        "shadow_flagged": as_json(found.shadow_flagged),
        "priorities": priorities,
        "findings": as_json(found.findings),
    }
