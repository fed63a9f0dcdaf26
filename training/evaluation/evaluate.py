"""What a model is worth on a part: every figure with a patient-bootstrap interval, beside what costs nothing to reach.

Three baselines need no model: an AUROC of 0.5, an average precision of the prevalence, and the accuracy of never
finding anything (0.92 on the official test part, more than several papers report as a result).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.calibration import Calibration
from model.labels import LABELS
from training.evaluation.figures import Evaluation, FindingFigures
from training.evaluation.flagging import flag_rates
from training.evaluation.localise import PointingScore
from training.evaluation.metrics import (
    UNDEFINED,
    Interval,
    Metric,
    auroc,
    average_precision,
    expected_calibration_error,
    mean_interval,
    patient_weights,
    percentile_interval,
    resampled,
)
from training.evaluation.predictions import Predictions

__all__ = ["Evaluation", "FindingFigures", "Resampling", "evaluate"]

Floats = NDArray[np.floating]
_METRICS: dict[str, Metric] = {"auroc": auroc, "average_precision": average_precision}
_LARGEST_SHIFT = 40.0
_HALVINGS = 60


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    samples: int = 1000
    seed: int = 0


def evaluate(
    predictions: Predictions,
    targets: Floats,
    points: Mapping[str, OperatingPoint],
    resampling: Resampling,
    *,
    part: str,
    pointing: Mapping[str, PointingScore] | None = None,
) -> Evaluation:
    """Compute every figure of the findings that the model speaks of.

    Parameters
    ----------
    targets
        [N, 14] of 0 and 1, for the pictures of ``predictions``.
    points
        Operating points by finding, chosen elsewhere; findings without one never flag.
    part
        Which pictures these are, in words.
    pointing
        Pointing scores by finding, where there are boxes and maps.
    """
    weights = patient_weights(predictions.patients, resampling.samples, resampling.seed)
    means: dict[str, list[tuple[float, NDArray[np.float64]]]] = {name: [] for name in _METRICS}
    findings: dict[str, FindingFigures] = {}
    for column, label in enumerate(LABELS):
        if not predictions.trained[column]:
            continue
        truth, score = targets[:, column], predictions.scores[:, column]
        intervals = dict.fromkeys(_METRICS, UNDEFINED)
        if 0 < truth.sum() < len(truth):
            for name, metric in _METRICS.items():
                value, drawn = (
                    float(metric(truth, score, np.ones(len(truth)))),
                    resampled(metric, truth, score, weights),
                )
                intervals[name] = percentile_interval(value, drawn)
                means[name].append((value, drawn))
        shown = (points.get(label), (pointing or {}).get(label))
        findings[label] = _figures(predictions, truth, column, intervals, *shown)
    averages = [mean_interval([v for v, _ in found], [d for _, d in found]) for found in means.values()]
    patients = len(np.unique(predictions.patients))
    return Evaluation(part, len(predictions.names), patients, averages[0], averages[1], findings)


def _figures(
    predictions: Predictions,
    truth: Floats,
    column: int,
    intervals: Mapping[str, Interval],
    point: OperatingPoint | None,
    pointing: PointingScore | None,
) -> FindingFigures:
    probability, positive = predictions.probabilities[:, column], truth == 1
    logits = predictions.logits
    raw = Calibration.identity().probabilities(logits)[:, column]
    return FindingFigures(
        int(positive.sum()),
        len(np.unique(predictions.patients[positive])),
        float(positive.mean()),
        intervals["auroc"],
        intervals["average_precision"],
        float("nan") if np.isnan(logits[:, column]).any() else expected_calibration_error(truth, raw),
        expected_calibration_error(truth, probability),
        _ece_at_prevalence(truth, probability),
        None if point is None else flag_rates(probability, truth, point.threshold),
        pointing,
    )


def _ece_at_prevalence(truth: Floats, probability: Floats) -> float:
    """Return the calibration error after moving all logits by the one number that makes the mean probability right."""
    share = float(truth.mean())
    if not 0 < share < 1:
        return float("nan")
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    logit = np.log(clipped) - np.log1p(-clipped)
    low, high = -_LARGEST_SHIFT, _LARGEST_SHIFT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = float(np.mean(1 / (1 + np.exp(-(logit + middle))))) < share
        low, high = (middle, high) if below else (low, middle)
    return expected_calibration_error(truth, 1 / (1 + np.exp(-(logit + low))))
