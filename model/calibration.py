"""Calibration: from the network's logits to probabilities that mean what they say (Platt 1999)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from model.labels import LABELS

PerLabel = Annotated[tuple[float, ...], Field(min_length=len(LABELS), max_length=len(LABELS))]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Calibration:
    """Platt scaling, one pair of numbers per label in the order of ``LABELS``: ``p = sigmoid(a * logit + b)``."""

    a: PerLabel
    b: PerLabel
    kind: Literal["platt"] = "platt"

    @classmethod
    def identity(cls) -> Calibration:
        """Return the calibration that leaves ``sigmoid(logit)`` as it is."""
        return cls(a=(1.0,) * len(LABELS), b=(0.0,) * len(LABELS))

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return probabilities in 0..1 for logits [..., 14]; no value overflows, however large the logit."""
        scaled = np.asarray(self.a) * np.asarray(logits, dtype=np.float64) + np.asarray(self.b)
        small: NDArray[np.float64] = np.exp(-np.abs(scaled))
        probabilities: NDArray[np.float64] = np.where(scaled >= 0, 1.0, small) / (1.0 + small)
        return probabilities
