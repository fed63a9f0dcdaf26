"""The report's curves, as PNG bytes: validation by epoch, ROC, precision-recall, reliability."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.labels import LABELS
from training.evaluation.evaluate import Evaluation

_BINS = 10
_FEWEST_IN_BIN = 5
_PALETTE = mpl.colormaps["tab20"]
Floats = NDArray[np.floating]


def history_plot(history: list[dict[str, Any]]) -> bytes:
    """Draw validation AUROC and pointing game by epoch."""
    figure, (left, right) = _figure()
    epochs = [entry["epoch"] + 1 for entry in history]
    for label in history[-1]["auroc"]:
        left.plot(epochs, [entry["auroc"].get(label, np.nan) for entry in history], color=colour(label), label=label)
    left.plot(epochs, [entry["mean_auroc"] for entry in history], color="black", linewidth=2, label="mean")
    left.set(xlabel="epoch", ylabel="AUROC on validation")
    left.legend(fontsize=6)
    for label in history[-1]["pointing"]:
        counts = [entry["pointing"].get(label, [0, 0, 0]) for entry in history]
        shares = [hits / ceiling if ceiling else np.nan for hits, ceiling, _ in counts]
        right.plot(epochs, shares, color=colour(label), label=label)
    right.set(xlabel="epoch", ylabel="pointing game, share of ceiling")
    return png(figure)


def curve_plots(scores: Floats, targets: Floats, evaluation: Evaluation) -> bytes:
    """Draw ROC and precision-recall curves with the AUROC and average precision of each finding.

    Parameters
    ----------
    scores, targets
        [N, 14]; targets are 0 or 1.
    """
    figure, (roc, recall) = _figure()
    for label, figures in evaluation.findings.items():
        if not figures.auroc.defined:
            continue
        column = LABELS.index(label)
        hits, alarms = _steps(scores[:, column], targets[:, column])
        roc.plot(alarms / alarms[-1], hits / hits[-1], color=colour(label), label=f"{label} {figures.auroc.value:.3f}")
        precision = hits[1:] / (hits[1:] + alarms[1:])
        name = f"{label} {figures.average_precision.value:.3f} ({figures.prevalence:.3f})"
        recall.step(hits[1:] / hits[-1], precision, where="pre", color=colour(label), label=name)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (AUROC)")
    recall.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title="precision-recall (AP, prevalence)")
    for axis in (roc, recall):
        _legend(axis)
    return png(figure)


def reliability_plot(before: Floats, after: Floats, targets: Floats, evaluation: Evaluation) -> bytes:
    """Draw frequency against probability, before and after calibration, with the calibration errors.

    Parameters
    ----------
    before, after
        [N, 14] probabilities; NaN where unknown.
    """
    figure, axes = _figure()
    sides = ((axes[0], before, "before", "ece_before"), (axes[1], after, "after", "ece_after"))
    for axis, probabilities, title, error in sides:
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.set(xlabel=f"probability {title} calibration", ylabel="frequency", title=f"{title} (ECE)")
        for label, figures in evaluation.findings.items():
            column = LABELS.index(label)
            if np.isnan(probabilities[:, column]).any():
                continue
            mean, frequency = _bins(probabilities[:, column], targets[:, column])
            name = f"{label} {getattr(figures, error):.3f}"
            axis.plot(mean, frequency, ".-", color=colour(label), label=name)
        _legend(axis)
    return png(figure)


def colour(label: str) -> Any:
    """Return a finding's colour, the same in every picture; "No Finding" has one of its own."""
    return _PALETTE(LABELS.index(label) if label in LABELS else len(LABELS))


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _steps(score: Floats, truth: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return hits and false alarms at every distinct score, falling, from (0, 0) on; equal scores are one step."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits, alarms = np.cumsum(truth[order])[ends], np.cumsum(1 - truth[order])[ends]
    return np.append(0.0, hits), np.append(0.0, alarms)


def _bins(probability: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return mean probability and frequency of each bin with enough pictures to have a frequency."""
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    kept = count >= _FEWEST_IN_BIN
    mean = np.bincount(place, probability, _BINS)[kept] / count[kept]
    return mean, np.bincount(place, truth, _BINS)[kept] / count[kept]


def _figure() -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(12.8, 4.4), layout="constrained")
    return figure, [figure.add_subplot(1, 2, place) for place in (1, 2)]


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
