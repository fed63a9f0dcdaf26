"""The outputs of a network of other classes in the fourteen columns that every figure is computed in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.evaluation.inference import Outputs


def in_fourteen(outputs: Outputs, labels: tuple[str, ...]) -> Outputs:
    """Return the outputs [N, K] as [N, 14]: zeros where a finding is none of the K, no column for "No Finding"."""
    if labels == LABELS:
        return outputs
    return Outputs(_spread(outputs.logits, labels), _spread(outputs.maps, labels))


def trained_of_fourteen(labels: tuple[str, ...], trained: tuple[bool, ...]) -> tuple[bool, ...]:
    """Return which of the fourteen are trained outputs."""
    taught = {label for label, is_trained in zip(labels, trained, strict=True) if is_trained}
    return tuple(label in taught for label in LABELS)


def _spread(values: NDArray[np.float32], labels: tuple[str, ...]) -> NDArray[np.float32]:
    spread = np.zeros((len(values), len(LABELS), *values.shape[2:]), np.float32)
    for column, label in enumerate(labels):
        if label in LABELS:
            spread[:, LABELS.index(label)] = values[:, column]
    return spread
