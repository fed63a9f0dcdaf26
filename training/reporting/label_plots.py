"""Pictures of a run's labels: how often each is, what it weighs, and what the network makes of it. PNG bytes.

Notation: N pictures, K outputs.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_WIDTH = 0.4


def class_plot(
    labels: tuple[str, ...],
    shares: NDArray[np.floating],
    drawn: NDArray[np.floating],
    positive_weights: NDArray[np.floating],
    negative_weights: NDArray[np.floating],
) -> bytes:
    """Draw the frequency of each label, its positives and negatives, and what they contribute to the loss.

    Parameters
    ----------
    shares, drawn
        [K], 0..1: share of positives among all pictures of the folder, and among those that training draws.
    positive_weights, negative_weights
        [K], what a positive and a negative weighs in the loss.
    """
    figure = Figure(figsize=(15, 0.32 * len(labels) + 1.6), layout="constrained")
    frequency, balance, contribution = (figure.add_subplot(1, 3, place + 1) for place in range(3))
    _bars(frequency, labels, shares, drawn, ("all pictures", "as training draws them"), "share of the pictures")
    _bars(balance, labels, drawn, 1 - drawn, ("positive", "negative"), "share of the drawn pictures, unweighted")
    weighted = (drawn * positive_weights, (1 - drawn) * negative_weights)
    _bars(contribution, labels, *weighted, ("positive", "negative"), "contribution to the loss (share x weight)")
    return _png(figure)


def prediction_plot(
    labels: tuple[str, ...], probabilities: NDArray[np.floating], targets: NDArray[np.floating]
) -> bytes:
    """Draw the mean predicted probability of each label beside its share of the pictures; both [N, K]."""
    figure = Figure(figsize=(7, 0.32 * len(labels) + 1.6), layout="constrained")
    axis = figure.add_subplot()
    _bars(axis, labels, targets.mean(0), probabilities.mean(0), ("share", "mean predicted"), "test part")
    return _png(figure)


def sample_plot(
    pictures: NDArray[np.uint8],
    labels: tuple[str, ...],
    probabilities: NDArray[np.floating],
    targets: NDArray[np.floating],
) -> bytes:
    """Draw pictures, uint8 [N, S, S], titled with their true labels and the three likeliest; the others are [N, K]."""
    columns = 4
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.7 * rows), layout="constrained")
    for place, picture in enumerate(pictures):
        axis = figure.add_subplot(rows, columns, place + 1)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        true = [label for label, target in zip(labels, targets[place], strict=True) if target == 1]
        likeliest = np.argsort(-probabilities[place])[:3]
        said = [f"{labels[column]} {probabilities[place, column]:.0%}" for column in likeliest]
        axis.set_title(f"true: {', '.join(true) or 'none'}\n{chr(10).join(said)}", fontsize=7)
        axis.set_axis_off()
    return _png(figure)


def _bars(
    axis: Any,
    labels: tuple[str, ...],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    names: tuple[str, str],
    title: str,
) -> None:
    places = np.arange(len(labels))
    axis.barh(places - _WIDTH / 2, first, _WIDTH, label=names[0])
    axis.barh(places + _WIDTH / 2, second, _WIDTH, label=names[1])
    axis.set_yticks(places, labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(title, fontsize=8)
    axis.legend(fontsize=7)


def _png(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
