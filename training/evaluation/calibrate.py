"""Platt scaling on validation: a slope and an offset for each finding, so that probabilities mean what they say.

Platt (1999) with the smoothed targets of Lin, Lin & Weng (2007), which keep the fit finite when the classes separate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.calibration import Calibration
from model.labels import LABELS

_NEWTON_STEPS = 100
_SMALLEST_CLASS = 5
"""With fewer positives or negatives on validation a slope is not worth fitting; only the offset is."""


def fit_platt(logits: NDArray[np.floating], targets: NDArray[np.floating], trained: tuple[bool, ...]) -> Calibration:
    """Return the calibration that fits validation best.

    Parameters
    ----------
    logits, targets
        [N, 14]; targets are 0 or 1.
    trained
        Findings left untrained keep the identity.
    """
    slopes, offsets = [1.0] * len(LABELS), [0.0] * len(LABELS)
    for index, is_trained in enumerate(trained):
        if is_trained:
            slopes[index], offsets[index] = _fit(logits[:, index].astype(np.float64), targets[:, index])
    return Calibration(a=tuple(slopes), b=tuple(offsets))


def _fit(logit: NDArray[np.float64], truth: NDArray[np.floating]) -> tuple[float, float]:
    positives = float(truth.sum())
    negatives = len(truth) - positives
    wanted = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    fixed_slope = min(positives, negatives) < _SMALLEST_CLASS
    centre, spread = float(logit.mean()), float(logit.std()) or 1.0
    z = (logit - centre) / spread
    design = np.stack([z, np.ones_like(z)], axis=1)[:, 1 if fixed_slope else 0 :]
    base = logit if fixed_slope else np.zeros_like(logit)
    weights = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(base + design @ weights, -500, 500)))
        gradient = design.T @ (probability - wanted)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + 1e-9 * np.eye(len(weights))
        step = np.clip(np.linalg.solve(curvature, gradient), -2, 2)
        weights -= step
        if float(np.abs(step).max()) < 1e-10:
            break
    if fixed_slope:
        return 1.0, float(weights[0])
    return float(weights[0] / spread), float(weights[1] - weights[0] * centre / spread)
