"""A public checkpoint made into a bundle: what is known is stated, what is not is said to be unknown."""

from __future__ import annotations

import hashlib
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.architecture import InputChannels
from model.bundle import Bundle, BundleFacts, Calibration, OperatingPoint, TrainedOn, write_bundle
from model.checkpoint import read_checkpoint
from model.golden import expected_probabilities
from model.labels import LABELS
from model.preprocess import INPUT_SIZE_PX

UNFITTED_THRESHOLD = 0.5


def import_checkpoint(
    checkpoint: Path, folder: Path, *, name: str, version: str, source: str, input_channels: InputChannels
) -> Bundle:
    """Write a bundle from a checkpoint of a DenseNet-121 with the 14 outputs of ChestX-ray14.

    Parameters
    ----------
    checkpoint
        File of ``torch.save`` (see ``model.checkpoint``).
    folder
        The bundle folder to make.
    name, version
        Of the new bundle.
    source
        Where the weights come from and what they were trained on, in words.
    input_channels
        ``imagenet-rgb`` for networks trained on ImageNet-normalised RGB, as the public ones were.

    Raises
    ------
    CheckpointError, BundleError
        The file does not hold such a network.
    """
    weights = read_checkpoint(checkpoint)
    facts = BundleFacts(
        name=name,
        version=version,
        demonstration=False,
        trained=(True,) * len(LABELS),
        calibration=Calibration.identity(),
        operating_points={
            label: OperatingPoint(threshold=UNFITTED_THRESHOLD, chosen_by="not chosen: imported, fit it on local data")
            for label in LABELS
        },
        trained_on=TrainedOn(description=source),
        metrics={"selection": "unknown"},
        versions={package: installed_version(package) for package in ("torch", "torchvision", "safetensors")},
        input_channels=input_channels,
    )
    golden = [
        (title, pixels, expected_probabilities(facts, weights, pixels)) for title, pixels in _test_cards().items()
    ]
    with checkpoint.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return write_bundle(folder, facts, weights, _card(facts, checkpoint.name, digest), golden)


def _test_cards() -> dict[str, NDArray[np.uint8]]:
    """Return pictures that exercise the network without showing anybody: a ramp and seeded noise, uint8 [224, 224]."""
    ramp = np.tile(np.linspace(0, 255, INPUT_SIZE_PX).astype(np.uint8), (INPUT_SIZE_PX, 1))
    noise = np.random.default_rng(0).integers(0, 256, (INPUT_SIZE_PX, INPUT_SIZE_PX), dtype=np.uint8)
    return {"ramp": ramp, "noise": noise}


def _card(facts: BundleFacts, checkpoint_name: str, digest: str) -> str:
    return f"""# Model card: {facts.name} {facts.version}

NOT FOR DIAGNOSTIC USE. This is not a medical device.

- Imported from `{checkpoint_name}` (SHA-256 `{digest}`).
- Source and training data, as stated by who imported it: {facts.trained_on.description}
- Which images it was trained and selected on is unknown: do not evaluate it on public test lists.
- Not calibrated. Every threshold is {UNFITTED_THRESHOLD} because none was chosen: fit calibration and thresholds on
  local data before believing a flag or the lack of one.
- Input: the whole picture squashed to {facts.input_size_px} px (`{facts.preprocessing}`, channels
  `{facts.input_channels}`). The authors may have cropped instead; expect other figures than theirs.
- The labels of ChestX-ray14 were mined from reports; many are wrong.
- The golden images are a ramp and noise, not radiographs: they prove the arithmetic, nothing else.
"""
