"""AUROC, average precision and calibration error, with intervals from resampling patients.

Resampling pictures would be too narrow: pictures of one patient are alike (class intervals .030 instead of .040 wide on
the community's random test part, Zech's outputs).

Notation: N pictures, S resamples. A weight says how often a picture was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Metric = Callable[[Floats, Floats, Floats], Any]
"""(truth 0/1 [N], score [N], weight [N]) -> value, or weight [S, N] -> float64 [S]; NaN where undefined."""

_BINS = 15
_CHUNK = 32
"""Resamples worked on at a time: 26,000 pictures take 7 MB each way."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Return whether there is a value."""
        return not np.isnan(self.value)

    def rounded(self) -> list[float | None]:
        """Return [value, low, high] to four decimals, None where undefined."""
        return [None if np.isnan(number) else round(float(number), 4) for number in (self.value, self.low, self.high)]


UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


def auroc(truth: Floats, score: Floats, weight: Floats) -> Any:
    """Return the weighted area under the ROC curve, ties counted half; NaN without both classes."""
    return _per_resample(_auroc, truth, score, weight)


def average_precision(truth: Floats, score: Floats, weight: Floats) -> Any:
    """Return the weighted average precision (the area under the PR steps); NaN without positives."""
    return _per_resample(_average_precision, truth, score, weight)


def expected_calibration_error(truth: Floats, probability: Floats) -> float:
    """Return the mean gap between probability and frequency over 15 equal-width bins, weighted by their size."""
    if len(truth) == 0:
        return float("nan")
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    gap = np.bincount(place, weights=probability - truth, minlength=_BINS)
    return float(np.abs(gap).sum() / count.sum())


def patient_weights(patients: NDArray[np.str_], samples: int, seed: int) -> NDArray[np.float32]:
    """Return float32 [S, N]: how often each picture is drawn when patients are drawn with replacement."""
    _, owner = np.unique(patients, return_inverse=True)
    count = int(owner.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
    return draws.T.astype(np.float32)[owner].T  # in memory a picture's resamples lie side by side, as _ranked adds them


def resampled(metric: Metric, truth: Floats, score: Floats, weights: Floats) -> NDArray[np.float64]:
    """Return the metric of every resample, float64 [S]."""
    parts = [metric(truth, score, weights[start : start + _CHUNK]) for start in range(0, len(weights), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)


def with_interval(metric: Metric, truth: Floats, score: Floats, weights: Floats) -> Interval:
    """Return the metric with its 95 % percentile interval; undefined resamples are left out."""
    value = float(metric(truth, score, np.ones(len(truth))))
    return UNDEFINED if np.isnan(value) else percentile_interval(value, resampled(metric, truth, score, weights))


def mean_with_interval(
    metric: Metric, truth: Floats, scores: Floats, columns: Sequence[int], weights: Floats
) -> Interval:
    """Return the mean of the metric over columns with its interval; findings where it is undefined are left out."""
    values, samples = [], []
    for column in columns:
        value = float(metric(truth[:, column], scores[:, column], np.ones(len(truth))))
        if not np.isnan(value):
            values.append(value)
            samples.append(resampled(metric, truth[:, column], scores[:, column], weights))
    return mean_interval(values, samples)


def mean_interval(values: Sequence[float], samples: Sequence[NDArray[np.float64]]) -> Interval:
    """Return the mean of some findings' values with the interval of the mean of their resamples, each [S].

    A finding that is undefined in a resample (a rare one whose patients were not drawn) is left out of that one.
    """
    if not values:
        return UNDEFINED
    table = np.stack(samples)
    defined = ~np.isnan(table)
    count = defined.sum(0)
    means = np.where(defined, table, 0).sum(0)[count > 0] / count[count > 0]
    return percentile_interval(float(np.mean(values)), means)


def percentile_interval(value: float, samples: NDArray[np.float64]) -> Interval:
    """Return a value with the middle 95 % of its resamples [S]; without a defined one there is no interval."""
    defined = samples[~np.isnan(samples)]
    if np.isnan(value) or len(defined) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class _Ranked:
    """Sums of weights around each positive, the pictures in rising order of score; P positives."""

    weight: NDArray[np.float64]
    """float64 [P, S] of the positives themselves."""
    negatives_below: NDArray[np.float64]
    """float64 [P, S], those with the same score counted half."""
    positives_from: NDArray[np.float64]
    """float64 [P, S] at this score or above."""
    flagged_from: NDArray[np.float64]
    """float64 [P, S] at this score or above, of either class."""
    negatives: NDArray[np.float64]
    """float64 [S], all of them."""


def _per_resample(
    metric: Callable[[_Ranked], NDArray[np.float64]], truth: Floats, score: Floats, weight: Floats
) -> Any:
    if len(score) == 0:
        return float("nan") if weight.ndim == 1 else np.full(len(weight), np.nan)
    values = metric(_ranked(truth, score, np.atleast_2d(weight)))
    return float(values[0]) if weight.ndim == 1 else values


def _ranked(truth: Floats, score: Floats, weight: Floats) -> _Ranked:
    """Sum weights up to every positive; counts stay exact in float32, being far below 2**24."""
    order = np.argsort(score, kind="stable")
    ordered, places = score[order], np.flatnonzero(truth[order] == 1)
    starts = np.searchsorted(ordered, ordered[places], "left")
    ends = np.searchsorted(ordered, ordered[places], "right")
    drawn = weight.T[order]  # [N, S]: whole rows are moved and added
    below = _sums(drawn)
    positive = drawn[places].astype(np.float64)
    positives_below = _sums(positive)
    before = positives_below[np.searchsorted(places, starts)]
    negatives = below[starts] - before + below[ends] - positives_below[np.searchsorted(places, ends)]
    return _Ranked(
        positive,
        negatives / 2,
        positives_below[-1] - before,
        below[-1].astype(np.float64) - below[starts],
        below[-1] - positives_below[-1],
    )


def _sums(rows: Floats) -> Floats:
    """Return [k + 1, S]: the sums of the first 0, 1, ... k rows."""
    return np.concatenate([np.zeros((1, rows.shape[1]), rows.dtype), np.cumsum(rows, axis=0)])


def _auroc(ranked: _Ranked) -> NDArray[np.float64]:
    wins = np.einsum("ps,ps->s", ranked.weight, ranked.negatives_below)
    return _quotient(wins, ranked.weight.sum(0) * ranked.negatives)


def _average_precision(ranked: _Ranked) -> NDArray[np.float64]:
    flagged = ranked.flagged_from
    precision = np.divide(ranked.positives_from, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return _quotient(np.einsum("ps,ps->s", precision, ranked.weight), ranked.weight.sum(0))


def _quotient(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return quotient
