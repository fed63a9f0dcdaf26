"""How well two models rank the same studies, and whether one does it better: intervals from resampled patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500
FEWEST_PATIENTS = 5
"""On either side; with fewer an interval would pretend."""
_SEED = 20170507


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; the limits are None where there are too few patients for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RankedBoth:
    """Areas under the ROC curve of two models on the same studies, and their difference, second minus first."""

    studies: int
    positive: int
    first: Interval
    second: Interval
    difference: Interval


def ranked_both(
    first: Sequence[float], second: Sequence[float], truth: Sequence[bool], patients: Sequence[object]
) -> RankedBoth | None:
    """Compare two models' probabilities with the truth; None where all studies have it or none has.

    Patients, not studies, are drawn with replacement (percentile bootstrap), since a patient's studies are alike; the
    same patients for both models, so that the difference is a paired one.

    Parameters
    ----------
    first, second, truth, patients
        One entry per study, all of one length.
    """
    present = np.asarray(truth, dtype=bool)
    if present.all() or not present.any():
        return None
    scores = [np.unique(np.asarray(each), return_inverse=True)[1] for each in (first, second)]
    values = [auroc(each, present, np.ones(len(present))) for each in scores]
    _, patient = np.unique(np.asarray([str(each) for each in patients]), return_inverse=True)
    drawn = _resampled(scores, present, patient)
    return RankedBoth(
        len(present),
        int(present.sum()),
        _interval(values[0], drawn[:, 0]),
        _interval(values[1], drawn[:, 1]),
        _interval(values[1] - values[0], drawn[:, 1] - drawn[:, 0]),
    )


def auroc(ranks: NDArray[np.intp], present: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Return the weighted chance that a study with the finding ranks above one without, ties counting half.

    NaN where one side has no weight.

    Parameters
    ----------
    ranks, present, weights
        [N]: small whole numbers, equal for equal scores; whether the finding is there; how often the study counts.
    """
    positive = np.bincount(ranks, weights * present)
    negative = np.bincount(ranks, weights * ~present)
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)


def _resampled(
    scores: Sequence[NDArray[np.intp]], present: NDArray[np.bool_], patient: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return both areas of every resample in which both sides occur, float64 [resamples, 2]; none with few patients."""
    sides = (np.unique(patient[present]).size, np.unique(patient[~present]).size)
    if min(sides) < FEWEST_PATIENTS:
        return np.empty((0, 2))
    random, patients = np.random.default_rng(_SEED), int(patient.max()) + 1
    drawn = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, patients, patients), minlength=patients)
        weights = times[patient].astype(np.float64)
        drawn.append([auroc(each, present, weights) for each in scores])
    found: NDArray[np.float64] = np.asarray(drawn)
    return found[~np.isnan(found).any(axis=1)]


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    if not drawn.size:
        return Interval(value, None, None)
    low, high = (float(each) for each in np.percentile(drawn, (2.5, 97.5)))
    return Interval(value, low, high)
