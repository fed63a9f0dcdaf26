"""A published checkpoint made into a bundle: what is known is stated, what is not is said to be unknown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, BundleFacts, Calibration, OperatingPoint, TrainedOn, write_bundle
from model.bundle_file import Imported
from model.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from model.golden import expected_probabilities
from model.imported_card import imported_card
from model.labels import LABELS
from model.preprocess import INPUT_SIZE_PX, preprocessing_id
from model.published import PUBLISHED, Published, recognised, with_weight_set
from model.torchxrayvision import WEIGHT_SETS, weight_set_of

UNFITTED_THRESHOLD = 0.5

_DISTRIBUTIONS = ("torch", "torchvision", "safetensors", "pillow")


def import_checkpoint(
    file: Path,
    folder: Path,
    *,
    name: str,
    version: str,
    published: str | None = None,
    weight_set: str | None = None,
    source: str | None = None,
) -> Bundle:
    """Write a bundle from a published checkpoint of a DenseNet-121.

    Parameters
    ----------
    file
        Of ``torch.save`` (see ``model.checkpoint``).
    folder
        The bundle folder to make.
    name, version
        Of the new bundle.
    published
        Key of ``PUBLISHED``; None = as the file's layout tells.
    weight_set
        Key of ``WEIGHT_SETS``, for torchxrayvision's files; None = as the file's name tells.
    source
        What the weights were trained on, in words; None = what is known of the published network.

    Raises
    ------
    CheckpointError, BundleError
        The file does not hold such a network, it is not clear whose it is, or the bundle cannot be written.
    """
    checkpoint = read_checkpoint(file)
    key = published or _recognised(checkpoint, file)
    if key == "torchxrayvision":
        weight_set = weight_set or _weight_set_of(file)
        network = with_weight_set(PUBLISHED[key], weight_set)
    elif weight_set is not None:
        raise CheckpointError(f"a weight set belongs to torchxrayvision's files, not to {key}'s")
    else:
        network = PUBLISHED[key]
    _require_fit(checkpoint, network, key, file)
    weights = _with_our_outputs(checkpoint.tensors, network)
    imported = Imported(
        published=key,
        checkpoint_sha256=checkpoint.sha256,
        weight_set=weight_set,
        dropped_outputs=tuple(output for output in network.outputs if output not in LABELS),
    )
    facts = _facts(network, imported, name=name, version=version, source=source or network.trained_on)
    golden = [
        (title, pixels, expected_probabilities(facts, weights, pixels)) for title, pixels in _test_cards().items()
    ]
    return write_bundle(folder, facts, weights, imported_card(facts, imported, file.name), golden)


def _recognised(checkpoint: Checkpoint, file: Path) -> str:
    key = recognised(
        module=checkpoint.module,
        prefix=checkpoint.prefix,
        sequential_head=checkpoint.sequential_head,
        outputs=checkpoint.outputs,
        channels=checkpoint.channels,
    )
    if key is None:
        raise CheckpointError(
            f"{file} has {checkpoint.outputs} outputs and {checkpoint.channels} input channels, and nothing in it "
            "tells whose network it is and how it was shown pictures; say so with --published "
            f"({', '.join(PUBLISHED)})"
        )
    return key


def _weight_set_of(file: Path) -> str:
    weight_set = weight_set_of(file.name)
    if weight_set is None:
        raise CheckpointError(
            f"{file.name} is not a name under which torchxrayvision publishes weights, so it is not clear which "
            f"outputs were trained; say so with --weight-set ({', '.join(WEIGHT_SETS)})"
        )
    return weight_set


def _require_fit(checkpoint: Checkpoint, network: Published, key: str, file: Path) -> None:
    if (checkpoint.outputs, checkpoint.channels) != (len(network.outputs), network.channels):
        raise CheckpointError(
            f"{file} has {checkpoint.outputs} outputs and {checkpoint.channels} input channels; the network of {key} "
            f"has {len(network.outputs)} and {network.channels}"
        )


def _with_our_outputs(tensors: Mapping[str, NDArray[np.float32]], network: Published) -> dict[str, NDArray[np.float32]]:
    """Return the tensors with the classifier's rows in the order of ``LABELS``; zeros where there is no output."""
    weights = dict(tensors)
    for part in ("classifier.weight", "classifier.bias"):
        rows = np.zeros((len(LABELS), *tensors[part].shape[1:]), np.float32)
        for row, label in enumerate(LABELS):
            if label in network.outputs:
                rows[row] = tensors[part][network.outputs.index(label)]
        weights[part] = rows
    return weights


def _facts(network: Published, imported: Imported, *, name: str, version: str, source: str) -> BundleFacts:
    thresholds = _op_threshs(network)
    trained = tuple(
        label in network.outputs and (thresholds is None or threshold is not None)
        for label, threshold in zip(LABELS, thresholds or [None] * len(LABELS), strict=True)
    )
    chosen_by = "not chosen: imported, fit it on local data"
    if thresholds is not None:
        chosen_by = "torchxrayvision's operating threshold (0.5 after op_norm), not chosen on local data"
    point = OperatingPoint(threshold=UNFITTED_THRESHOLD, chosen_by=chosen_by)
    preparation = network.preparation
    return BundleFacts(
        name=name,
        version=version,
        demonstration=False,
        trained=trained,
        calibration=Calibration(a=(1.0,) * len(LABELS), b=(0.0,) * len(LABELS), op_threshs=thresholds),
        operating_points={label: point for label, is_trained in zip(LABELS, trained, strict=True) if is_trained},
        trained_on=TrainedOn(description=source, seen_official_test=network.seen_official_test),
        metrics={"selection": "unknown"},
        versions={package: installed_version(package) for package in _DISTRIBUTIONS},
        input_channels="grey" if preparation is None else "published",
        input_size_px=INPUT_SIZE_PX if preparation is None else preparation.size_px,
        preprocessing=preprocessing_id(INPUT_SIZE_PX) if preparation is None else preparation.identity,
        preparation=preparation,
        imported=imported,
    )


def _op_threshs(network: Published) -> tuple[float | None, ...] | None:
    """Return torchxrayvision's thresholds in the order of ``LABELS``."""
    if network.op_threshs is None:
        return None
    by_output = dict(zip(network.outputs, network.op_threshs, strict=True))
    return tuple(by_output.get(label) for label in LABELS)


def _test_cards() -> dict[str, NDArray[np.uint8]]:
    """Return pictures that exercise the network and every crop without showing anybody: a ramp and seeded noise."""
    ramp = np.tile(np.linspace(0, 255, 300).astype(np.uint8), (260, 1))
    noise = np.random.default_rng(0).integers(0, 256, (320, 256), dtype=np.uint8)
    return {"ramp": ramp, "noise": noise}
