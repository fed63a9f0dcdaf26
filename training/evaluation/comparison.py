"""Is model B better than model A? Both judge the same pictures, and both are scored on the same resampled patients.

Pairing matters: what makes a resample hard is hard for both models, so the interval of the difference is narrower than
the two intervals suggest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.evaluation.evaluate import Resampling
from training.evaluation.metrics import (
    Interval,
    Metric,
    auroc,
    average_precision,
    mean_interval,
    patient_weights,
    percentile_interval,
    resampled,
)
from training.evaluation.predictions import Predictions

Verdict = Literal["B is better", "A is better", "no difference shown"]


@dataclass(frozen=True)
class Difference:
    """One metric of both models on the same pictures."""

    a: Interval
    b: Interval
    difference: Interval
    """B - A with the interval of the paired resamples."""

    @property
    def verdict(self) -> Verdict:
        """Return what the interval of the difference says: a difference is shown where 0 lies outside it."""
        if self.difference.low > 0:
            return "B is better"
        if self.difference.high < 0:
            return "A is better"
        return "no difference shown"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        intervals = {"a": self.a, "b": self.b, "difference": self.difference}
        return {name: interval.rounded() for name, interval in intervals.items()} | {"verdict": self.verdict}


@dataclass(frozen=True)
class ModelComparison:
    """Two models, finding by finding and on the mean."""

    model_a: str
    model_b: str
    pictures: int
    patients: int
    auroc: dict[str, Difference]
    """By finding that both know and that has both classes here."""
    average_precision: dict[str, Difference]
    """The same."""
    mean_auroc: Difference | None
    """Over those findings; None where there are none."""
    mean_average_precision: Difference | None
    left_out: dict[str, str]
    """Findings that are not compared, and why."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        means = {"mean_auroc": self.mean_auroc, "mean_average_precision": self.mean_average_precision}
        return {
            "a": self.model_a,
            "b": self.model_b,
            "pictures": self.pictures,
            "patients": self.patients,
            "interval": "95 %, patients resampled, both models on the same resamples",
            **{name: None if mean is None else mean.as_dict() for name, mean in means.items()},
            "auroc": {label: difference.as_dict() for label, difference in self.auroc.items()},
            "average_precision": {label: d.as_dict() for label, d in self.average_precision.items()},
            "left_out": self.left_out,
        }


def compare_models(
    a: Predictions, b: Predictions, targets: NDArray[np.floating], resampling: Resampling
) -> ModelComparison:
    """Compare two models.

    Parameters
    ----------
    a, b
        Of the same pictures in the same order.
    targets
        [N, 14] of 0 and 1.

    Raises
    ------
    ValueError
        The pictures are not the same.
    """
    if a.names != b.names:
        raise ValueError("both models must judge the same pictures in the same order")
    weights = patient_weights(a.patients, resampling.samples, resampling.seed)
    left_out = _left_out(a, b, targets)
    columns = [column for column, label in enumerate(LABELS) if label not in left_out]
    ranking = _differences(auroc, a, b, targets, columns, weights)
    precision = _differences(average_precision, a, b, targets, columns, weights)
    return ModelComparison(
        a.model,
        b.model,
        len(a.names),
        len(np.unique(a.patients)),
        *(ranking[0], precision[0]),
        *(ranking[1], precision[1]),
        left_out,
    )


def _left_out(a: Predictions, b: Predictions, targets: NDArray[np.floating]) -> dict[str, str]:
    reasons = {}
    for column, label in enumerate(LABELS):
        untaught = [name for name, model in (("A", a), ("B", b)) if not model.trained[column]]
        if untaught:
            reasons[label] = f"{' and '.join(untaught)} never learnt it"
        elif not 0 < targets[:, column].sum() < len(targets):
            reasons[label] = "one class only among these pictures"
    return reasons


def _differences(
    metric: Metric,
    a: Predictions,
    b: Predictions,
    targets: NDArray[np.floating],
    columns: list[int],
    weights: NDArray[np.floating],
) -> tuple[dict[str, Difference], Difference | None]:
    """Return the difference of each finding and of the mean."""
    by_finding: dict[str, Difference] = {}
    values: list[tuple[float, float]] = []
    samples: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for column in columns:
        truth, once = targets[:, column], np.ones(len(targets))
        value = tuple(float(metric(truth, model.scores[:, column], once)) for model in (a, b))
        sample = tuple(resampled(metric, truth, model.scores[:, column], weights) for model in (a, b))
        values.append((value[0], value[1]))
        samples.append((sample[0], sample[1]))
        by_finding[LABELS[column]] = Difference(
            percentile_interval(value[0], sample[0]),
            percentile_interval(value[1], sample[1]),
            percentile_interval(value[1] - value[0], sample[1] - sample[0]),
        )
    if not columns:
        return by_finding, None
    mean = Difference(
        mean_interval([v[0] for v in values], [s[0] for s in samples]),
        mean_interval([v[1] for v in values], [s[1] for s in samples]),
        mean_interval([v[1] - v[0] for v in values], [s[1] - s[0] for s in samples]),
    )
    return by_finding, mean
