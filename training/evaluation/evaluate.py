"""What a trained network is worth on the test part: one pass, every figure with a patient-bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.calibration import Calibration
from model.labels import LABELS
from training.data.batches import Examples
from training.evaluation.inference import Outputs
from training.evaluation.localise import PointingScore, pointing_game
from training.evaluation.metrics import (
    Interval,
    auroc,
    average_precision,
    expected_calibration_error,
    mean_with_interval,
    patient_weights,
    with_interval,
)
from training.evaluation.operating_points import rates_at


@dataclass(frozen=True)
class FindingFigures:
    """Figures of one finding on the test part."""

    positives: int
    auroc: Interval
    average_precision: Interval
    ece_before: float
    """Expected calibration error of ``sigmoid(logit)``."""
    ece_after: float
    """Expected calibration error of the calibrated probability."""
    sensitivity: float | None
    specificity: float | None
    pointing: PointingScore | None
    """None without boxes."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of the test part."""

    pictures: int
    patients: int
    mean_auroc: Interval
    """Over the trained findings that have both classes."""
    mean_average_precision: Interval
    findings: dict[str, FindingFigures]

    @property
    def pointing_of_ceiling(self) -> float:
        """Return all hits as a share of all hits that a perfect pick among the cell centres reaches."""
        scores = [f.pointing for f in self.findings.values() if f.pointing]
        ceiling = sum(score.ceiling_hits for score in scores)
        return sum(score.hits for score in scores) / ceiling if ceiling else float("nan")

    def metrics(self) -> dict[str, Any]:
        """Return plain values for the bundle."""
        return {
            "part": "official test list",
            "pictures": self.pictures,
            "patients": self.patients,
            "interval": "95 %, patients resampled",
            "mean_auroc": self.mean_auroc.rounded(),
            "mean_average_precision": self.mean_average_precision.rounded(),
            "findings": {label: _finding_metrics(figures) for label, figures in self.findings.items()},
        }

    def localisation(self) -> dict[str, Any]:
        """Return plain values for the bundle; empty without boxes."""
        scores = {label: f.pointing for label, f in self.findings.items() if f.pointing}
        if not scores:
            return {}
        return {
            "protocol": "pointing game: centre of the strongest of the 7 x 7 cells inside a box of the finding",
            "share_of_ceiling": _rounded(self.pointing_of_ceiling),
            "findings": {label: _pointing_metrics(score) for label, score in scores.items()},
        }


def evaluate(
    outputs: Outputs,
    examples: Examples,
    patients: NDArray[np.str_],
    calibration: Calibration,
    points: dict[str, OperatingPoint],
    bootstrap_samples: int,
    seed: int,
) -> Evaluation:
    """Compute every figure of the trained findings, those with an operating point."""
    weights = patient_weights(patients, bootstrap_samples, seed)
    trained = tuple(label in points for label in LABELS)
    probabilities = calibration.probabilities(outputs.logits)
    raw = Calibration.identity().probabilities(outputs.logits)
    pointing = pointing_game(outputs.maps, examples.boxes, trained)
    figures = {}
    for label, point in points.items():
        column = LABELS.index(label)
        truth, probability = examples.targets[:, column], probabilities[:, column]
        sensitivity, specificity = rates_at(probability, truth, point.threshold)
        figures[label] = FindingFigures(
            int(truth.sum()),
            with_interval(auroc, truth, outputs.logits[:, column], weights),
            with_interval(average_precision, truth, outputs.logits[:, column], weights),
            expected_calibration_error(truth, raw[:, column]),
            expected_calibration_error(truth, probability),
            sensitivity,
            specificity,
            pointing.get(label),
        )
    columns = [LABELS.index(label) for label, f in figures.items() if not np.isnan(f.auroc.value)]
    return Evaluation(
        len(examples.names),
        len(np.unique(patients)),
        mean_with_interval(auroc, examples.targets, outputs.logits, columns, weights),
        mean_with_interval(average_precision, examples.targets, outputs.logits, columns, weights),
        figures,
    )


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _finding_metrics(figures: FindingFigures) -> dict[str, Any]:
    return {
        "positives": figures.positives,
        "auroc": figures.auroc.rounded(),
        "average_precision": figures.average_precision.rounded(),
        "ece_before_calibration": round(figures.ece_before, 4),
        "ece": round(figures.ece_after, 4),
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
    }


def _pointing_metrics(score: PointingScore) -> dict[str, Any]:
    return {
        "cases": score.cases,
        "hit_rate": round(score.hits / score.cases, 4),
        "ceiling": round(score.ceiling_hits / score.cases, 4),
        "share_of_ceiling": _rounded(score.of_ceiling),
        "random_point": round(score.random_rate, 4),
        "picture_centre": round(score.centre_hits / score.cases, 4),
    }
