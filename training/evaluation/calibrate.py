"""Fitting calibrations on validation, so that probabilities mean what they say: Platt, temperature, isotonic, prior.

Platt (1999) with the smoothed targets of Lin, Lin & Weng (2007), which keep the fit finite when the classes separate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration, CalibrationKind
from model.labels import LABELS

_NEWTON_STEPS = 100
_SMALLEST_CLASS = 5
"""With fewer positives or negatives on validation a slope is not worth fitting; only the offset is."""
_SMALLEST_SLOPE = 1e-3
"""A slope of 0 or below would turn the order of pictures round: every AUROC is measured on logits, and thresholds and
heat maps mean what raises the logit. Validation says then that the network knows nothing of the finding."""
ISOTONIC_POSITIVES = 1000
"""With fewer positives on validation an isotonic curve follows noise; Platt's two numbers stand in."""


def fit_calibration(
    kind: CalibrationKind, logits: NDArray[np.floating], targets: NDArray[np.floating], trained: tuple[bool, ...]
) -> Calibration:
    """Return the calibration of this kind that fits validation best.

    Parameters
    ----------
    logits, targets
        [N, 14]; targets are 0 or 1.
    trained
        Findings left untrained keep the identity.

    Notes
    -----
    ``isotonic`` takes Platt's numbers for findings with fewer than ``ISOTONIC_POSITIVES`` positives.
    """
    if kind == "temperature":
        return _fit_temperature(logits, targets, trained)
    platt = fit_platt(logits, targets, trained)
    if kind == "platt":
        return platt
    corners = {
        label: curve
        for index, label in enumerate(LABELS)
        if trained[index] and targets[:, index].sum() >= ISOTONIC_POSITIVES
        if (curve := _isotonic(logits[:, index].astype(np.float64), targets[:, index]))
    }
    return replace(platt, kind="isotonic", corners=corners)


def fit_platt(logits: NDArray[np.floating], targets: NDArray[np.floating], trained: tuple[bool, ...]) -> Calibration:
    """Return Platt's slope and offset of each trained finding (see ``fit_calibration``)."""
    slopes, offsets = [1.0] * len(LABELS), [0.0] * len(LABELS)
    for index, is_trained in enumerate(trained):
        if is_trained:
            slopes[index], offsets[index] = _fit(logits[:, index].astype(np.float64), targets[:, index])
    return Calibration(a=tuple(slopes), b=tuple(offsets))


def with_prevalence(calibration: Calibration, fitted: Mapping[str, float], wanted: Mapping[str, float]) -> Calibration:
    """Return the calibration moved from the prevalence it was fitted on to another one.

    The logit moves by ``log(w / (1 - w)) - log(f / (1 - f))``: exact where positives and negatives each look alike in
    both populations and only their numbers differ.

    Parameters
    ----------
    fitted, wanted
        Share of positives by finding, 0..1 without the ends; findings that ``wanted`` does not name stay as they are.
    """
    shifts = {label: _logit(share) - _logit(fitted[label]) for label, share in wanted.items()}
    offsets = tuple(b + shifts.get(label, 0.0) for label, b in zip(LABELS, calibration.b, strict=True))
    corners = {
        label: tuple((logit, _moved(probability, shifts.get(label, 0.0))) for logit, probability in curve)
        for label, curve in calibration.corners.items()
    }
    return replace(calibration, b=offsets, corners=corners)


def _fit_temperature(
    logits: NDArray[np.floating], targets: NDArray[np.floating], trained: tuple[bool, ...]
) -> Calibration:
    slopes = [1.0] * len(LABELS)
    for index, is_trained in enumerate(trained):
        positives = float(targets[:, index].sum())
        if is_trained and min(positives, len(targets) - positives) >= _SMALLEST_CLASS:
            slopes[index] = _slope(logits[:, index].astype(np.float64), targets[:, index])
    return Calibration(a=tuple(slopes), b=(0.0,) * len(LABELS), kind="temperature")


def _slope(logit: NDArray[np.float64], truth: NDArray[np.floating]) -> float:
    """Return 1 / temperature, kept positive so that the order of pictures stays."""
    scale = float(np.abs(logit).mean()) or 1.0
    weights = _newton((logit / scale)[:, None], np.zeros_like(logit), _smoothed(truth))
    return max(float(weights[0]) / scale, _SMALLEST_SLOPE)


def _isotonic(logit: NDArray[np.float64], truth: NDArray[np.floating]) -> tuple[tuple[float, float], ...]:
    """Return the corners of the best rising curve, kept off 0 and 1 as Platt's targets are; () where it is flat."""
    from sklearn.isotonic import IsotonicRegression  # a second to load, for one of three kinds

    wanted = _smoothed(truth)
    curve = IsotonicRegression(y_min=float(wanted.min()), y_max=float(wanted.max())).fit(logit, truth)
    corners = tuple(zip(curve.X_thresholds_.tolist(), curve.y_thresholds_.tolist(), strict=True))
    return corners if len(corners) > 1 else ()


def _fit(logit: NDArray[np.float64], truth: NDArray[np.floating]) -> tuple[float, float]:
    """Return slope and offset; the offset alone where there is nothing to fit a slope on, or it would not rise."""
    positives, wanted = float(truth.sum()), _smoothed(truth)
    slope, one = 1.0, np.ones_like(logit)
    if min(positives, len(truth) - positives) >= _SMALLEST_CLASS:
        centre, spread = float(logit.mean()), float(logit.std()) or 1.0
        weights = _newton(np.stack([(logit - centre) / spread, one], axis=1), np.zeros_like(logit), wanted)
        slope = float(weights[0] / spread)
        if slope >= _SMALLEST_SLOPE:
            return slope, float(weights[1] - weights[0] * centre / spread)
        slope = _SMALLEST_SLOPE
    return slope, float(_newton(one[:, None], slope * logit, wanted)[0])


def _newton(design: NDArray[np.float64], base: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of a logistic regression on ``design`` [N, D] beside a fixed logit, by Newton's method."""
    weights = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(base + design @ weights, -500, 500)))
        gradient = design.T @ (probability - wanted)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-9 * np.eye(len(weights))
        step = np.clip(np.linalg.solve(curvature, gradient), -2, 2)
        weights -= step
        if float(np.abs(step).max()) < 1e-10:
            break
    return weights


def _smoothed(truth: NDArray[np.floating]) -> NDArray[np.float64]:
    positives = float(truth.sum())
    return np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (len(truth) - positives + 2))


def _logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


def _moved(probability: float, shift: float) -> float:
    if probability in (0.0, 1.0):
        return probability
    return float(1 / (1 + np.exp(-(_logit(probability) + shift))))
