"""Bundles for tests: a tiny DenseNet with fixed random weights, so that a bundle takes milliseconds to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, BundleFacts, Calibration, OperatingPoint, TrainedOn, write_bundle
from model.densenet import DenseNet121Cam, weights_of
from model.golden import expected_probabilities
from model.labels import LABELS

TRAINED = ("Effusion", "Pneumothorax")


def network(architecture: str = "densenet-tiny", input_channels: str = "grey") -> DenseNet121Cam:
    """A network whose every tensor is random, batch statistics too, so that no operation is the identity."""
    torch.set_num_threads(1)
    torch.manual_seed(14)
    made = DenseNet121Cam(input_channels, architecture)  # type: ignore[arg-type]
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.8, 1.2)
            torch.nn.init.normal_(layer.bias, 0, 0.1)
    torch.nn.init.normal_(made.classifier.bias, 0, 0.5)
    return made.eval()


def facts(trained: tuple[str, ...] = TRAINED, **fields: object) -> BundleFacts:
    """Facts of a demonstration bundle; ``fields`` replace single ones."""
    given: dict[str, object] = {
        "name": "random-densenet",
        "version": "0.1.0",
        "demonstration": True,
        "trained": tuple(label in trained for label in LABELS),
        "calibration": Calibration(a=(1.5,) * 14, b=(-0.25,) * 14),
        "operating_points": {label: OperatingPoint(threshold=0.5, chosen_by="by hand, for tests") for label in trained},
        "trained_on": TrainedOn(description="nothing: random weights", list_sha256="0" * 64),
        "architecture": "densenet-tiny",
    }
    return BundleFacts(**(given | fields))  # type: ignore[arg-type]


def picture(seed: int = 0, shape: tuple[int, int] = (224, 224)) -> NDArray[np.uint8]:
    """Seeded noise, uint8 [H, W]."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def bundle(folder: Path, **fields: object) -> Bundle:
    """A written bundle with one golden image."""
    described = facts(**fields)  # type: ignore[arg-type]
    weights = weights_of(network(described.architecture, described.input_channels))
    golden = [("noise", picture(), expected_probabilities(described, weights, picture()))]
    return write_bundle(folder, described, weights, "# Card\n\nNOT FOR DIAGNOSTIC USE.\n", golden)
