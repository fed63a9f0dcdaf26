"""An audit in pictures: ranking and misses of every group with their intervals. PNG bytes."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.audit_figures import Audit, GroupAudit
from training.evaluation.metrics import Interval
from training.reporting.plots import png

_SPREAD = 0.7
_COLOURS = mpl.colormaps["tab10"]


def group_plot(audit: Audit) -> bytes:
    """Draw every group's mean AUROC and how many of its ill are passed over; dashed: everyone."""
    groups = list(audit.groups)
    figure = Figure(figsize=(12, 1.2 + 0.24 * len(groups)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [f"{group.group.name} ({group.pictures:,})" for group in groups]
    _intervals(left, groups, [group.mean_auroc for group in groups], audit.everyone.mean_auroc)
    _intervals(right, groups, [group.underdiagnosis_rate for group in groups], audit.everyone.underdiagnosis_rate)
    left.set(xlabel="mean AUROC (findings compared differ between attributes)")
    left.set_yticks(range(len(groups)), names, fontsize=7)
    left.invert_yaxis()
    right.set(xlabel="passed over: share of the ill on whom nothing is flagged")
    return png(figure)


def finding_plot(audit: Audit, attribute: str) -> bytes:
    """Draw for every finding the AUROC of each group of an attribute, with intervals, and its misses."""
    groups, labels = audit.of(attribute), list(audit.everyone.findings)
    figure = Figure(figsize=(12, 1.4 + 0.42 * len(labels)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, group in enumerate(groups):
        offset = (number - (len(groups) - 1) / 2) * _SPREAD / len(groups)
        known = [(row, cell) for row, label in enumerate(labels) if (cell := group.findings[label])]
        places = np.array([row + offset for row, _ in known])
        _bars(left, places, [cell.auroc for _, cell in known], number, group.group.name)
        missed = [
            (row + offset, cell.false_negative_rate) for row, cell in known if cell.false_negative_rate is not None
        ]
        if missed:
            right.plot([rate for _, rate in missed], [row for row, _ in missed], "o", ms=4, color=_COLOURS(number))
    left.set(xlabel=f"AUROC by {attribute}")
    left.axvline(0.5, color="grey", linewidth=0.5)
    left.set_yticks(range(len(labels)), labels, fontsize=8)
    left.invert_yaxis()
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=7, ncols=len(groups), loc="lower left", bbox_to_anchor=(0, 1))
    right.set(xlabel="share of positives that are not flagged", xlim=(-0.02, 1.02))
    return png(figure)


def _intervals(axis: Axes, groups: list[GroupAudit], values: list[Interval], everyone: Interval) -> None:
    attributes = list(dict.fromkeys(group.group.attribute for group in groups))
    for number, attribute in enumerate(attributes):
        rows = [row for row, group in enumerate(groups) if group.group.attribute == attribute and values[row].defined]
        _bars(axis, np.array(rows, float), [values[row] for row in rows], number, attribute)
    if everyone.defined:
        axis.axvline(everyone.value, color="black", linewidth=0.8, linestyle="--")


def _bars(axis: Axes, places: np.ndarray, values: list[Interval], number: int, name: str) -> None:
    if not values:
        return
    middle = np.array([interval.value for interval in values])
    errors = np.array([[i.value - i.low for i in values], [i.high - i.value for i in values]])
    axis.errorbar(middle, places, xerr=np.maximum(errors, 0), fmt="o", ms=4, color=_COLOURS(number), label=name)
