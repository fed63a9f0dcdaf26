"""A model bundle for tests: a tiny network with random weights whose calibration fixes what it says of any picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.architecture import ARCHITECTURES
from model.bundle import Bundle, BundleFacts, Calibration, OperatingPoint, TrainedOn, write_bundle
from model.labels import LABELS
from model.preprocess import preprocessing_id
from model.suitability import SuitabilityCheck

SAYS: Mapping[str, float] = {
    "Pneumothorax": 0.91,
    "Effusion": 0.72,
    "Cardiomegaly": 0.20,
    "Mass": 0.10,
    "Nodule": 0.05,
    "Consolidation": 0.30,
}
"""What `write_test_bundle` says of every picture; the other eight findings are untrained."""
THRESHOLD = 0.6
FLAGGED = ("Pneumothorax", "Effusion")
"""The findings of ``SAYS`` at or above ``THRESHOLD``."""


SIDE_PX = 64
"""Of the network's input: smaller than `factories.drawn_chest`, which is smaller than any radiograph."""


def write_test_bundle(
    folder: Path,
    says: Mapping[str, float] = SAYS,
    *,
    version: str = "0.0.1",
    demonstration: bool = False,
    architecture: str = "densenet-tiny",
    input_size_px: int = SIDE_PX,
    check: SuitabilityCheck | None = None,
    weights: Mapping[str, NDArray[np.float16]] | None = None,
    golden: Sequence[tuple[str, NDArray[np.uint8], Sequence[float | None]]] = (),
) -> Bundle:
    """Write a bundle that gives each finding of ``says`` that probability, whatever the picture shows.

    The calibration has slope 0, so only its offset counts; the class activation maps do depend on the picture.
    """
    facts = BundleFacts(
        name="fixed-words",
        version=version,
        demonstration=demonstration,
        trained=tuple(label in says for label in LABELS),
        calibration=Calibration(a=(0.0,) * len(LABELS), b=tuple(_logit(says.get(label, 0.5)) for label in LABELS)),
        operating_points={label: OperatingPoint(threshold=THRESHOLD, chosen_by="fixed for a test") for label in says},
        trained_on=TrainedOn(description="nothing; random weights for tests"),
        architecture=architecture,
        input_size_px=input_size_px,
        preprocessing=preprocessing_id(input_size_px),
    )
    card = "# Test bundle\n\nNOT FOR DIAGNOSTIC USE\n"
    return write_bundle(folder, facts, weights or random_weights(architecture), card, golden, check=check)


def weights_without_numbers() -> dict[str, NDArray[np.float16]]:
    """Return weights that are all numbers, and whose network computes none: its layers leave the range of float32."""
    weights = random_weights("densenet-tiny")
    for name, tensor in weights.items():
        if _is_norm_scale(name) and name.endswith(".weight"):
            tensor[:] = 60_000
    return weights


def random_weights(architecture: str, seed: int = 20170507) -> dict[str, NDArray[np.float16]]:
    """Return He-initialised convolutions and neutral norms by torchvision's names."""
    random = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float16]] = {}
    for name, shape in ARCHITECTURES[architecture].weight_shapes().items():
        if len(shape) >= 2:
            drawn = random.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
        else:
            drawn = np.full(shape, 1.0 if _is_norm_scale(name) else 0.0)
        weights[name] = drawn.astype(np.float16)
    return weights


def _is_norm_scale(name: str) -> bool:
    return "norm" in name and name.endswith((".weight", ".running_var"))


def _logit(probability: float) -> float:
    return log(probability / (1.0 - probability))
