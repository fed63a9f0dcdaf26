"""A bundle with the same weights and another calibration and other thresholds, fitted on a hospital's own pictures.

Predictions on pictures the weights were trained on are too sure of themselves, so those are never calibrated on. The
pictures that are become part of what the new bundle says it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, BundleFacts, read_weights, write_bundle
from model.calibration import Calibration, CalibrationKind
from model.golden import expected_probabilities
from model.labels import LABELS
from training.data.radiographs import LabelledRadiographs
from training.evaluation.assessment import Assessment
from training.evaluation.calibrate import fit_calibration, with_prevalence
from training.evaluation.leakage import check_leakage, guard, kind_of
from training.evaluation.operating_points import OperatingRule, choose_operating_points, flagging_findings
from training.evaluation.predictions import Predictions
from training.evaluation.seen_policy import SeenPolicy
from training.reporting.card import making_in, model_card
from training.rewriting import facts_of, golden_pictures


@dataclass(frozen=True)
class CalibrationChoices:
    """What is fitted."""

    kind: CalibrationKind = "platt"
    rule: OperatingRule = field(default_factory=OperatingRule)
    rules: Mapping[str, OperatingRule] = field(default_factory=dict)
    """By finding, where another rule than ``rule`` is wanted."""
    prevalence: Mapping[str, float] = field(default_factory=dict)
    """By finding, 0..1: the share of positives where the bundle will work, where it is known to differ."""


def require_untrained(bundle: Bundle, radiographs: LabelledRadiographs, names: tuple[str, ...]) -> None:
    """Insist that the weights were not trained on any of the pictures, nor on others of the same patients.

    Pictures they were selected on will do: that is what a validation part is for.

    Raises
    ------
    LeakError
        Some were.
    """
    check = check_leakage(bundle, radiographs, names)
    guard(replace(check, validation=()), names, SeenPolicy.REFUSE)


def recalibrated(
    bundle: Bundle, radiographs: LabelledRadiographs, predictions: Predictions, choices: CalibrationChoices
) -> BundleFacts:
    """Return the facts of the new bundle: calibration and operating points from these predictions.

    A trial of bfloat16 was one of the old probabilities and thresholds, and is left out.

    Parameters
    ----------
    radiographs
        With all pictures at hand, so that positives the weights were trained on are counted too.
    predictions
        Of the pictures to calibrate on.
    """
    logits, targets = predictions.logits, radiographs.targets(predictions.names)
    calibration = fit_calibration(choices.kind, np.nan_to_num(logits), targets, bundle.trained)
    if choices.prevalence:
        shares = dict(zip(LABELS, _inside(targets.mean(0)), strict=True))
        calibration = with_prevalence(calibration, shares, choices.prevalence)
    positives = targets.sum(0) + _trained_positives(bundle, radiographs)
    flagging = flagging_findings(bundle.trained, positives)
    probabilities = calibration.probabilities(np.nan_to_num(logits))
    points = choose_operating_points(probabilities, targets, flagging, choices.rule, choices.rules)
    reported = tuple(
        label for label, is_trained in zip(LABELS, bundle.trained, strict=True) if is_trained and label not in points
    )
    return replace(
        facts_of(bundle), calibration=calibration, operating_points=points, reported_only=reported, bf16=None
    )


def write_recalibrated(
    bundle: Bundle,
    facts: BundleFacts,
    radiographs: LabelledRadiographs,
    calibrated_on: tuple[str, ...],
    assessment: Assessment,
    folder: Path,
) -> Bundle:
    """Write the new bundle with its figures, its card, and golden probabilities as it now gives them.

    Parameters
    ----------
    facts
        From ``recalibrated``, with the name and version of the new bundle.
    assessment
        Of the new bundle, on a part that was not calibrated on.
    """
    remark = (
        f"Calibration ({facts.calibration.kind}) and thresholds were fitted anew on {len(calibrated_on):,} pictures "
        f"({radiographs.source}) of bundle {bundle.name} {bundle.model_version}."
    )
    described = replace(facts, metrics=assessment.evaluation.metrics(), localisation=assessment.localisation())
    made = making_in(bundle.card_path.read_text(encoding="utf-8"), bundle)
    card = model_card(described, assessment, f"{made}\n\n{remark}")
    weights, seen = read_weights(bundle), bundle.seen_images()
    if seen is not None:
        patients = {radiographs.entries[name].patient_id for name in calibrated_on}
        seen = seen.also_selected_on(kind_of(radiographs), calibrated_on, patients)
    golden = [
        (name, pixels, expected_probabilities(described, weights, pixels))
        for name, pixels, _ in golden_pictures(bundle)
    ]
    return write_bundle(folder, described, weights, card, golden, seen, bundle.suitability_check())


def with_calibration(predictions: Predictions, calibration: Calibration) -> Predictions:
    """Return the same logits with the probabilities of another calibration."""
    known = ~np.isnan(predictions.probabilities)
    said = calibration.probabilities(np.nan_to_num(predictions.logits))
    return replace(predictions, probabilities=np.where(known, said, np.nan))


def _trained_positives(bundle: Bundle, radiographs: LabelledRadiographs) -> NDArray[np.float32]:
    """Return float32 [14]: positives among the real pictures at hand that the weights were trained on."""
    names = radiographs.real(check_leakage(bundle, radiographs, radiographs.listed).training)
    counts: NDArray[np.float32] = radiographs.targets(names).sum(0)
    return counts


def _inside(shares: NDArray[np.floating]) -> list[float]:
    """Keep shares off 0 and 1, where a logit has no value."""
    return [float(share) for share in np.clip(shares, 1e-6, 1 - 1e-6)]
