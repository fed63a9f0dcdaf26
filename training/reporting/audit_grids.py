"""Tables of an audit: each attribute's groups, and every finding in every group."""

from __future__ import annotations

from training.evaluation.audit_figures import FEWEST_POSITIVES, Audit, CellFigures, GroupAudit
from training.reporting.grid import NOTHING, Grid, percent, share, with_bounds

_SUPPRESSED = f"< {FEWEST_POSITIVES}"


def group_grid(audit: Audit) -> Grid:
    """Return one row for each group of one attribute, and everyone."""
    simple = [attribute for attribute in audit.attributes if " x " not in attribute]
    return _groups("Groups", audit, simple)


def intersection_grid(audit: Audit) -> Grid:
    """Return one row for each group of two attributes."""
    return _groups("Groups of two attributes", audit, [name for name in audit.attributes if " x " in name])


def finding_grids(audit: Audit) -> list[Grid]:
    """Return for each single attribute a table of every finding in every group."""
    grids = []
    for attribute in audit.attributes:
        if " x " in attribute:
            continue
        groups = audit.of(attribute)
        labels = list(audit.everyone.findings)
        rows = tuple((label, *(_cell(group.findings[label]) for group in groups)) for label in labels)
        grids.append(
            Grid(
                f"Findings by {attribute}",
                ("finding", *(group.group.name for group in groups)),
                rows,
                "AUROC with its interval; average precision; ECE; share of positives that are not flagged. "
                f"{_SUPPRESSED} = fewer than {FEWEST_POSITIVES} positives or negatives, not told.",
            )
        )
    return grids


def _groups(title: str, audit: Audit, attributes: list[str]) -> Grid:
    rows = [_row(group) for attribute in attributes for group in audit.of(attribute)]
    compared = "; ".join(
        f"{attribute}: {', '.join(audit.compared[attribute]) or 'none, so no mean'}" for attribute in attributes
    )
    left_out = {name: count for name, count in audit.left_out.items() if count and name in attributes}
    unknown = ", ".join(f"{count:,} by {name}" for name, count in left_out.items())
    note = (
        f"{audit.part}. 95 % intervals, patients resampled. The mean AUROC is over the findings that every group of "
        f"the attribute has enough of ({compared}). Passed over: share of pictures with a finding that can flag on "
        'which nothing is flagged (underdiagnosis, the false positive rate of "no finding"). Flagged for nothing: '
        "share of the other pictures on which something is."
    )
    if unknown:
        note += f" Left out, the value not being known: {unknown}."
    if not audit.can_flag:
        note += " The model has no operating points, so nothing is flagged and no such share exists."
    columns = ("group", "pictures", "patients", "mean AUROC", "passed over", "flagged for nothing")
    return Grid(title, columns, tuple(rows), note, _row(audit.everyone))


def _row(audit: GroupAudit) -> tuple[str, ...]:
    rate = audit.underdiagnosis_rate
    return (
        audit.group.name,
        f"{audit.pictures:,}",
        f"{audit.patients:,}",
        with_bounds(audit.mean_auroc) if audit.mean_auroc.defined else NOTHING,
        f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})" if rate.defined else NOTHING,
        percent(audit.overdiagnosis_rate),
    )


def _cell(figures: CellFigures | None) -> str:
    if figures is None:
        return _SUPPRESSED
    missed = NOTHING if figures.false_negative_rate is None else percent(figures.false_negative_rate)
    parts = (with_bounds(figures.auroc), f"AP {share(figures.average_precision)}", f"ECE {share(figures.ece)}")
    return f"{parts[0]}; {parts[1]}; {parts[2]}; missed {missed}"
