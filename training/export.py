"""The bundle: chosen weights in float16, calibration, operating points, figures, golden pictures and the model card."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, BundleFacts, OperatingPoint, TrainedOn, write_bundle
from model.calibration import Calibration
from model.golden import expected_probabilities
from model.labels import LABELS
from model.preprocess import resize_uint8
from training.checking import taught_check
from training.data.cache import read_grey
from training.data.radiographs import list_hash
from training.evaluation.assessment import Assessment
from training.evaluation.leakage import seen_images
from training.fitting.initial import origin_of
from training.networks.build import served_channels
from training.phantoms.picture import draw_phantom
from training.phantoms.statistics import DRAWN_FINDINGS
from training.prepare import Prepared
from training.reporting.card import making_of, model_card

_GOLDEN_PX = 384  # small enough for the bundle, larger than the network's input so that resizing is proven too
_NORMAL_PICTURES = 2
_DISTRIBUTIONS = ("torch", "torchvision", "numpy", "pillow", "safetensors")

Golden = tuple[str, NDArray[np.uint8]]
"""Name without suffix and uint8 [H, W] pixels."""


def export_bundle(
    prepared: Prepared,
    weights: Mapping[str, NDArray[np.float16]],
    calibration: Calibration,
    assessment: Assessment,
    folder: Path,
) -> Bundle:
    """Write the bundle folder and return it as loaded again.

    Parameters
    ----------
    assessment
        Of the test part, with the operating points.
    """
    recipe, parts, points = prepared.plan.recipe, prepared.parts, assessment.points
    seen = parts.training + parts.validation
    facts = BundleFacts(
        name=recipe.bundle_name,
        version=recipe.version,
        demonstration=prepared.demonstration,
        trained=prepared.plan.trained,
        calibration=calibration,
        operating_points=points,
        reported_only=tuple(
            label
            for label, trained in zip(LABELS, prepared.plan.trained, strict=True)
            if trained and label not in points
        ),
        trained_on=TrainedOn(
            description=f"{len(seen)} pictures, training and validation together: {parts.mark}",
            list_sha256=list_hash(seen),
        ),
        metrics=assessment.evaluation.metrics(),
        localisation=assessment.localisation(),
        versions=_versions(),
        architecture=recipe.architecture,
        input_channels=served_channels(recipe),
    )
    check = None
    if recipe.suitability_steps:
        data_sets = [(prepared.layout, prepared.cache)]
        check = taught_check(data_sets, (), steps=recipe.suitability_steps, seed=recipe.seed)
        facts = replace(facts, suitability=check.facts)
    golden = [
        (name, pixels, expected_probabilities(facts, weights, pixels))
        for name, pixels in _golden(prepared, points, assessment.judged.predictions.probabilities)
    ]
    origin = origin_of(recipe, prepared.plan.init_file)
    card = model_card(facts, assessment, making_of(facts, recipe, len(seen), origin))
    images = seen_images(prepared.layout, parts.training, parts.validation)
    return write_bundle(folder, facts, weights, card, golden, images, check)


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
    return {"python": platform.python_version()} | found


def _golden(prepared: Prepared, points: dict[str, OperatingPoint], probabilities: NDArray[np.floating]) -> list[Golden]:
    """Return a telling picture of each finding and some without: phantoms in every bundle, never a person's film."""
    if not prepared.drawn:
        return _drawn_golden()
    names, targets = prepared.parts.test, prepared.layout.targets(prepared.parts.test)
    order = [column for column, trained in enumerate(prepared.plan.trained) if trained]
    thresholds = np.array([points[label].threshold if (label := LABELS[c]) in points else 0.5 for c in order])
    margin = probabilities[:, order] - thresholds
    chosen: dict[str, int] = {}
    for place, column in enumerate(order):
        alone = (targets[:, column] == 1) & (targets.sum(1) == 1)
        others_quiet = (np.delete(margin, place, axis=1) < 0).all(1)
        candidates = np.flatnonzero(alone & others_quiet)
        if not len(candidates):
            candidates = np.flatnonzero(targets[:, column] == 1)
        if len(candidates):
            chosen[LABELS[column].lower()] = int(candidates[margin[candidates, place].argmax()])
    normal = np.flatnonzero(targets.sum(1) == 0)
    quietest = normal[margin[normal].max(1).argsort()[:_NORMAL_PICTURES]]
    chosen |= {f"normal_{number}": int(row) for number, row in enumerate(quietest, start=1)}
    return [
        (name, resize_uint8(read_grey(prepared.layout.paths[names[row]]), _GOLDEN_PX)) for name, row in chosen.items()
    ]


def _drawn_golden() -> list[Golden]:
    findings: list[tuple[str, ...]] = [(label,) for label in DRAWN_FINDINGS] + [()] * _NORMAL_PICTURES
    golden = []
    for number, labels in enumerate(findings):
        phantom = draw_phantom(labels, False, np.random.default_rng([2017, 4, number]))
        name = f"{number + 1}_{labels[0].lower() if labels else 'normal'}"
        golden.append((name, resize_uint8(phantom.pixels, _GOLDEN_PX)))
    return golden
