"""AUROC, average precision and calibration error, with intervals from resampling patients.

Resampling pictures would be too narrow: pictures of one patient are alike (class intervals .030 instead of .040 wide on
the official test part, Zech's outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Metric = Callable[[Floats, Floats, Floats], float]
"""(truth 0/1 [N], score [N], weight [N]) -> value; NaN where undefined."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def rounded(self) -> list[float | None]:
        """Return [value, low, high] to four decimals, None where undefined."""
        return [None if np.isnan(number) else round(float(number), 4) for number in (self.value, self.low, self.high)]


def auroc(truth: Floats, score: Floats, weight: Floats) -> float:
    """Return the weighted area under the ROC curve, ties counted half; NaN without both classes."""
    positive, negative, _ = _by_score(truth, score, weight)
    total = positive.sum() * negative.sum()
    if total == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / total)


def average_precision(truth: Floats, score: Floats, weight: Floats) -> float:
    """Return the weighted average precision (the area under the PR steps); NaN without positives."""
    positive, negative, _ = _by_score(truth, score, weight)
    if positive.sum() == 0:
        return float("nan")
    true_positives, flagged = np.cumsum(positive[::-1]), np.cumsum((positive + negative)[::-1])
    reached = flagged > 0
    precision = true_positives[reached] / flagged[reached]
    return float((precision * positive[::-1][reached]).sum() / positive.sum())


def expected_calibration_error(truth: Floats, probability: Floats, bins: int = 15) -> float:
    """Return the mean gap between probability and frequency over equal-width bins, weighted by their size."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    gap = np.bincount(place, weights=probability - truth, minlength=bins)
    return float(np.abs(gap).sum() / count.sum())


def patient_weights(patients: NDArray[np.str_], samples: int, seed: int) -> NDArray[np.float64]:
    """Return [samples, N]: how often each picture is drawn when patients are drawn with replacement."""
    _, owner = np.unique(patients, return_inverse=True)
    count = int(owner.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
    return draws[:, owner].astype(np.float64)


def with_interval(metric: Metric, truth: Floats, score: Floats, weights: NDArray[np.float64]) -> Interval:
    """Return the metric with its 95 % percentile interval; undefined resamples are left out."""
    value = metric(truth, score, np.ones(len(truth)))
    resampled = np.array([metric(truth, score, weight) for weight in weights])
    return _interval(value, resampled)


def mean_with_interval(
    metric: Metric, truth: Floats, scores: Floats, columns: list[int], weights: NDArray[np.float64]
) -> Interval:
    """Return the mean of the metric over columns with its interval; findings where it is undefined are left out."""

    def mean(weight: NDArray[np.float64]) -> float:
        values = [metric(truth[:, column], scores[:, column], weight) for column in columns]
        defined = [value for value in values if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")

    return _interval(mean(np.ones(len(truth))), np.array([mean(weight) for weight in weights]))


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    defined = resampled[~np.isnan(resampled)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _by_score(truth: Floats, score: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the weights of positives and negatives at each distinct score, and those scores, rising."""
    levels, place = np.unique(score, return_inverse=True)
    positive: Floats = np.bincount(place, weights=weight * truth, minlength=len(levels)).astype(np.float64)
    negative: Floats = np.bincount(place, weights=weight * (1 - truth), minlength=len(levels)).astype(np.float64)
    return positive, negative, levels
