"""What a head is worth: AUROC of every finding on the test part, with patient-bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.evaluation.metrics import Interval, auroc, mean_with_interval, patient_weights, with_interval


@dataclass(frozen=True)
class HeadFigures:
    """AUROCs of one head on one part."""

    pictures: int
    patients: int
    positives: dict[str, int]
    aurocs: dict[str, Interval]
    """By finding; NaN where the part has one class only."""
    mean: Interval
    """Over the findings with both classes."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; None where undefined."""
        findings = {
            label: {"positives": self.positives[label], "auroc": interval.rounded()}
            for label, interval in self.aurocs.items()
        }
        return {
            "pictures": self.pictures,
            "patients": self.patients,
            "interval": "95 %, patients resampled",
            "mean_auroc": self.mean.rounded(),
            "undefined": [label for label, interval in self.aurocs.items() if np.isnan(interval.value)],
            "findings": findings,
        }


def head_figures(
    logits: NDArray[np.float32], targets: NDArray[np.float32], patients: NDArray[np.str_], samples: int, seed: int
) -> HeadFigures:
    """Score logits float32 [N, 14] against targets [N, 14] of 0 and 1."""
    weights = patient_weights(patients, samples, seed)
    aurocs = {
        label: with_interval(auroc, targets[:, column], logits[:, column], weights)
        for column, label in enumerate(LABELS)
    }
    return HeadFigures(
        len(logits),
        len(np.unique(patients)),
        {label: int(targets[:, column].sum()) for column, label in enumerate(LABELS)},
        aurocs,
        mean_with_interval(auroc, targets, logits, list(range(len(LABELS))), weights),
    )


def mean_auroc(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Return the mean AUROC of logits and targets [N, 14] over the findings with both classes; NaN without any."""
    weight = np.ones(len(logits))
    values = [float(auroc(targets[:, column], logits[:, column], weight)) for column in range(targets.shape[1])]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
