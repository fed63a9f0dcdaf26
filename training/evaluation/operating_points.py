"""Thresholds for flagging, chosen on validation and frozen before the test part is looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.labels import LABELS
from training.recipe import Recipe


def choose_operating_points(
    probabilities: NDArray[np.floating], targets: NDArray[np.floating], trained: tuple[bool, ...], recipe: Recipe
) -> dict[str, OperatingPoint]:
    """Return one threshold for each trained finding.

    Parameters
    ----------
    probabilities, targets
        [N, 14] of validation; calibrated probabilities in 0..1, targets 0 or 1.

    Notes
    -----
    ``youden``: the largest sensitivity + specificity. ``sensitivity``: the highest threshold that still reaches the
    target. ``specificity``: the lowest threshold that reaches the target. A finding with one class only on validation
    gets the threshold 0.5 and says so.
    """
    return {
        label: _choose(probabilities[:, index], targets[:, index], recipe)
        for index, label in enumerate(LABELS)
        if trained[index]
    }


def rates_at(
    probability: NDArray[np.floating], truth: NDArray[np.floating], threshold: float
) -> tuple[float | None, float | None]:
    """Return (sensitivity, specificity) when flagging at or above the threshold; None where a class is absent."""
    flagged, positive = probability >= threshold, truth == 1
    sensitivity = float(flagged[positive].mean()) if positive.any() else None
    specificity = float((~flagged[~positive]).mean()) if (~positive).any() else None
    return sensitivity, specificity


def _choose(probability: NDArray[np.floating], truth: NDArray[np.floating], recipe: Recipe) -> OperatingPoint:
    if not 0 < truth.sum() < len(truth):
        return OperatingPoint(threshold=0.5, chosen_by="0.5, since validation has one class only")
    levels = np.unique(probability)
    cuts = np.clip((levels[1:] + levels[:-1]) / 2, 1e-6, 1 - 1e-6) if len(levels) > 1 else np.array([0.5])
    positive, negative = np.sort(probability[truth == 1]), np.sort(probability[truth == 0])
    sensitivity = 1 - np.searchsorted(positive, cuts) / len(positive)
    specificity = np.searchsorted(negative, cuts) / len(negative)
    place = _place(sensitivity, specificity, recipe)
    rule = "Youden's J" if recipe.operating_point == "youden" else f"{recipe.operating_point} {recipe.operating_target}"
    return OperatingPoint(
        threshold=float(cuts[place]),
        chosen_by=f"{rule} on the validation part",
        sensitivity=float(sensitivity[place]),
        specificity=float(specificity[place]),
    )


def _place(sensitivity: NDArray[np.floating], specificity: NDArray[np.floating], recipe: Recipe) -> int:
    if recipe.operating_point == "youden":
        return int(np.argmax(sensitivity + specificity))
    if recipe.operating_point == "sensitivity":
        reached = np.flatnonzero(sensitivity >= recipe.operating_target)
        return int(reached[-1]) if len(reached) else 0
    reached = np.flatnonzero(specificity >= recipe.operating_target)
    return int(reached[0]) if len(reached) else len(specificity) - 1
