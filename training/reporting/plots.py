"""The report's pictures, as PNG bytes: validation by epoch, ROC, precision-recall, reliability, class maps."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.cam import saliency
from model.labels import LABELS
from training.data.batches import Examples
from training.data.chestxray14 import BOX_FRAME_PX

_BINS = 10
_COLUMNS = 4
_PALETTE = mpl.colormaps["tab20"]


def history_plot(history: list[dict[str, Any]]) -> bytes:
    """Draw validation AUROC and pointing game by epoch."""
    figure, (left, right) = _figure(2)
    epochs = [entry["epoch"] + 1 for entry in history]
    for label in history[-1]["auroc"]:
        left.plot(epochs, [entry["auroc"].get(label, np.nan) for entry in history], color=_colour(label), label=label)
    left.plot(epochs, [entry["mean_auroc"] for entry in history], color="black", linewidth=2, label="mean")
    left.set(xlabel="epoch", ylabel="AUROC on validation")
    left.legend(fontsize=6)
    for label in history[-1]["pointing"]:
        counts = [entry["pointing"].get(label, [0, 0, 0]) for entry in history]
        shares = [hits / ceiling if ceiling else np.nan for hits, ceiling, _ in counts]
        right.plot(epochs, shares, color=_colour(label), label=label)
    right.set(xlabel="epoch", ylabel="pointing game, share of ceiling")
    return _png(figure)


def curve_plots(probabilities: NDArray[np.floating], targets: NDArray[np.floating], labels: list[str]) -> bytes:
    """Draw ROC and precision-recall curves; true against false positive rate, precision against recall."""
    figure, (roc, recall) = _figure(2)
    for label in labels:
        column = LABELS.index(label)
        truth = targets[np.argsort(-probabilities[:, column]), column]
        if not 0 < truth.sum() < len(truth):
            continue
        hits, alarms = np.cumsum(truth), np.cumsum(1 - truth)
        roc.plot(alarms / alarms[-1], hits / hits[-1], color=_colour(label), label=label)
        recall.plot(hits / hits[-1], hits / (hits + alarms), color=_colour(label))
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    roc.legend(fontsize=6)
    recall.set(xlabel="recall", ylabel="precision")
    return _png(figure)


def reliability_plot(
    before: NDArray[np.floating], after: NDArray[np.floating], targets: NDArray[np.floating], labels: list[str]
) -> bytes:
    """Draw frequency against probability, before and after calibration."""
    figure, axes = _figure(2)
    for axis, probabilities, title in ((axes[0], before, "before"), (axes[1], after, "after")):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
        axis.set(xlabel=f"probability {title} calibration", ylabel="frequency")
        for label in labels:
            column = LABELS.index(label)
            place = np.minimum((probabilities[:, column] * _BINS).astype(int), _BINS - 1)
            count = np.bincount(place, minlength=_BINS)
            kept = count >= 5  # fewer pictures say nothing about a frequency
            mean = np.bincount(place, probabilities[:, column], _BINS)[kept] / count[kept]
            frequency = np.bincount(place, targets[:, column], _BINS)[kept] / count[kept]
            axis.plot(mean, frequency, ".-", color=_colour(label))
    return _png(figure)


def map_plots(
    pictures: NDArray[np.uint8], maps: NDArray[np.float32], examples: Examples, rows: list[tuple[int, str]]
) -> bytes:
    """Draw pictures with the class map of one finding each, and its boxes.

    Parameters
    ----------
    pictures
        uint8 [len(rows), S, S].
    maps
        float32 [N, 14, 7, 7] of all examples.
    rows
        Row in ``examples`` and finding of each picture.
    """
    height = -(-len(rows) // _COLUMNS)
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.5 * height), layout="constrained")
    for place, (row, label) in enumerate(rows):
        axis = figure.add_subplot(height, _COLUMNS, place + 1)
        side = pictures.shape[-1]
        axis.imshow(pictures[place], cmap="gray", vmin=0, vmax=255)
        heat = saliency(maps[row, LABELS.index(label)], (side, side))
        axis.imshow(heat, cmap="inferno", alpha=heat * 0.6)
        scale = side / BOX_FRAME_PX
        for box in examples.boxes[row]:
            if box.label == label:
                axis.add_patch(
                    mpl.patches.Rectangle(
                        (box.x_px * scale, box.y_px * scale),
                        box.width_px * scale,
                        box.height_px * scale,
                        fill=False,
                        edgecolor="cyan",
                    )
                )
        axis.set_title(label, fontsize=8)
        axis.set_axis_off()
    return _png(figure)


def _colour(label: str) -> Any:
    return _PALETTE(LABELS.index(label) if label in LABELS else len(LABELS))


def _figure(columns: int) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(5 * columns, 4), layout="constrained")
    return figure, [figure.add_subplot(1, columns, place + 1) for place in range(columns)]


def _png(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
