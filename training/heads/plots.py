"""Pictures of heads, as PNG bytes: the learning curve, AUROC bars beside published ones, the heat of a sweep.

Every picture carries the mark of its split (red where it leaks) and says that this is no medical device.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from model.labels import LABELS
from training.heads.published import Comparison, with_mean
from training.heads.shards import NOTICE

_LEAKY_COLOUR = "#b00020"
_COLOURS = ("#b5bdc6", "#1f5fa8")
_WIDTH_OF_GROUP = 0.8


def learning_curve(history: list[dict[str, float]], best_epoch: int, split: dict[str, Any]) -> bytes:
    """Draw training and validation loss by epoch, the learning rate below, and the epoch that was kept."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    epochs = [entry["epoch"] for entry in history]
    losses.plot(epochs, [entry["training_loss"] for entry in history], label="training")
    losses.plot(epochs, [entry["validation_loss"] for entry in history], label="validation")
    losses.axvline(best_epoch, color="grey", linestyle=":", label=f"kept: epoch {best_epoch}")
    losses.set(ylabel="loss")
    losses.legend()
    rates.step(epochs, [entry["learning_rate"] for entry in history], where="pre", color="black")
    rates.set(xlabel="epoch (0 = before the first step)", ylabel="learning rate", yscale="log")
    return _png(figure, split)


def auroc_bars(
    initial: dict[str, Any], best: dict[str, Any], comparison: Comparison, split: dict[str, Any], names: tuple[str, str]
) -> bytes:
    """Draw the AUROC of every finding and their mean: two heads above, published models of the named split below.

    Parameters
    ----------
    initial, best
        ``HeadFigures.as_dict`` of the two heads.
    names
        What to call them.
    """
    figure = Figure(figsize=(12, 8), layout="constrained")
    ours, theirs = figure.subplots(2, 1, sharey=True)
    for place, (name, figures, colour) in enumerate(zip(names, (initial, best), _COLOURS, strict=True)):
        intervals = [figures["findings"][label]["auroc"] for label in LABELS] + [figures["mean_auroc"]]
        values = np.array([[np.nan if v is None else v for v in interval] for interval in intervals], dtype=float)
        errors = np.abs(values[:, 1:].T - values[:, 0])
        _bars(ours, values[:, 0], (place, 2), name, color=colour, yerr=errors, capsize=2)
    tested = f"{best['pictures']:,} pictures of {best['patients']:,} patients"
    ours.set_title(f"this head, test part: {tested}, 95 % intervals")
    for place, table in enumerate(comparison.tables):
        _bars(theirs, with_mean(table), (place, len(comparison.tables)), table.name)
    heading = "published, measured on the same pictures" if comparison.comparable else "published, NOT comparable"
    theirs.set_title(f"{heading}: {comparison.reason}", fontsize=10, wrap=True)
    for axis in (ours, theirs):
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
        axis.set(ylim=(0.2, 1.1), ylabel="AUROC")
        axis.set_xticks(range(len(LABELS) + 1), [*LABELS, "mean"], rotation=35, ha="right", fontsize=8)
        axis.legend(loc="upper left", ncols=4, fontsize=8)
    return _png(figure, split)


def heat_plot(
    losses: NDArray[np.float64],
    learning_rates: tuple[float, ...],
    weight_decays: tuple[float, ...],
    split: dict[str, Any],
) -> bytes:
    """Draw the lowest validation loss of every pair, [learning rates, weight decays]; the lowest of all is framed."""
    figure = Figure(figsize=(2.5 + 1.3 * len(weight_decays), 2.6 + 0.8 * len(learning_rates)), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(losses, cmap="viridis_r", aspect="auto")
    middle = (np.nanmin(losses) + np.nanmax(losses)) / 2
    for (row, column), loss in np.ndenumerate(losses):
        words = f"{loss:.4f}" if np.isfinite(loss) else "diverged"
        axis.text(column, row, words, ha="center", va="center", color="white" if loss >= middle else "black")
    row, column = np.unravel_index(np.nanargmin(losses), losses.shape)
    axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=3))
    axis.set_xticks(range(len(weight_decays)), [f"{value:g}" for value in weight_decays])
    axis.set_yticks(range(len(learning_rates)), [f"{value:g}" for value in learning_rates])
    axis.set(xlabel="weight decay", ylabel="learning rate", title="lowest validation loss (framed: the lowest of all)")
    figure.colorbar(image, label="validation loss")
    return _png(figure, split)


def _bars(axis: Axes, values: NDArray[np.float64], place: tuple[int, int], name: str, **style: Any) -> None:
    """Draw one bar in every group; ``place``: which of how many."""
    width = _WIDTH_OF_GROUP / place[1]
    centres = np.arange(len(values)) + (place[0] - (place[1] - 1) / 2) * width
    axis.bar(centres, values, width, label=name, **style)


def _png(figure: Figure, split: dict[str, Any]) -> bytes:
    figure.suptitle(split["mark"], fontsize=9, color=_LEAKY_COLOUR if split["leaky"] else "black", wrap=True)
    figure.supxlabel(NOTICE, fontsize=7, color="grey")
    stream = BytesIO()
    facts = {"Description": split["mark"], "Disclaimer": NOTICE}  # in the file too, for whoever cannot see it
    figure.savefig(stream, format="png", dpi=110, metadata=facts)
    return stream.getvalue()
