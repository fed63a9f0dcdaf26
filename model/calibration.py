"""Calibration: from the network's logits to probabilities that mean what they say (Platt 1999)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from model.labels import LABELS

CalibrationKind = Literal["platt", "temperature", "isotonic"]
PerLabel = Annotated[tuple[float, ...], Field(min_length=len(LABELS), max_length=len(LABELS))]
Fraction = Annotated[float, Field(ge=0, le=1)]
Corners = Annotated[tuple[tuple[float, Fraction], ...], Field(min_length=2)]
"""(logit, probability), rising."""
OperatingThresholds = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)] | None, ...], Field(min_length=len(LABELS), max_length=len(LABELS))
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Calibration:
    """Platt scaling, one pair of numbers per label in the order of ``LABELS``: ``p = sigmoid(a * logit + b)``.

    Temperature scaling is the same with every b 0. An isotonic curve replaces the two numbers of a label by corners.
    """

    a: PerLabel
    b: PerLabel
    kind: CalibrationKind = "platt"
    corners: dict[str, Corners] = Field(default_factory=dict)
    """Isotonic only: the curve of each label that has one, straight between its corners and flat beyond them."""
    op_threshs: OperatingThresholds | None = None
    """torchxrayvision's operating thresholds, 0..1 of the sigmoid, applied after it (see ``op_norm``); None = not
    applied. Only imported weights have them; a calibration fitted on local data replaces them."""

    @model_validator(mode="after")
    def _curves_rise(self) -> Self:
        for label, curve in self.corners.items():
            if label not in LABELS:
                raise ValueError(f"corners: {label} is not a label; labels are {', '.join(LABELS)}")
            if any(left[0] >= right[0] or left[1] > right[1] for left, right in pairwise(curve)):
                raise ValueError(f"corners of {label} must rise, in logit and in probability")
        if self.corners and self.kind != "isotonic":
            raise ValueError(f"corners belong to kind isotonic, not to {self.kind}")
        return self

    @classmethod
    def identity(cls) -> Calibration:
        """Return the calibration that leaves ``sigmoid(logit)`` as it is."""
        return cls(a=(1.0,) * len(LABELS), b=(0.0,) * len(LABELS))

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return probabilities in 0..1 for logits [..., 14]; no value overflows, however large the logit."""
        wide = np.asarray(logits, dtype=np.float64)
        scaled = np.asarray(self.a) * wide + np.asarray(self.b)
        small: NDArray[np.float64] = np.exp(-np.abs(scaled))
        probabilities: NDArray[np.float64] = np.where(scaled >= 0, 1.0, small) / (1.0 + small)
        for label, curve in self.corners.items():
            index, (at, reached) = LABELS.index(label), np.array(curve).T
            probabilities[..., index] = np.interp(wide[..., index], at, reached)
        return probabilities if self.op_threshs is None else op_norm(probabilities, self.op_threshs)


def op_norm(probabilities: NDArray[np.float64], op_threshs: tuple[float | None, ...]) -> NDArray[np.float64]:
    """Return torchxrayvision's normalised outputs: 0.5 at the operating threshold, straight lines to both ends.

    Parameters
    ----------
    probabilities
        float64 [..., 14] in 0..1.
    op_threshs
        One threshold ``t`` per finding, 0 < t < 1: ``p / (2 t)`` below it, ``1 - (1 - p) / (2 (1 - t))`` from it on.
        None makes 0.5 whatever the network says, as the library does for a threshold that is not a number.
    """
    known = np.array([threshold is not None for threshold in op_threshs])
    t = np.array([0.5 if threshold is None else threshold for threshold in op_threshs])
    normalised = np.where(probabilities < t, probabilities / (2 * t), 1 - (1 - probabilities) / (2 * (1 - t)))
    return np.where(known, normalised, 0.5)
