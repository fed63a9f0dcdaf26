"""The trial of bfloat16 that a bundle must pass before it is served in it: the same pictures in both precisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.classifier import RuntimeUnavailableError
from model.labels import LABELS
from model.precision import PrecisionTrial
from training.data.cache import PictureCache
from training.evaluation.metrics import auroc
from training.evaluation.predictions import Predictions, network_predictions
from training.readings import read_pictures
from training.reporting.precision_section import with_precision
from training.rewriting import facts_of, rewrite
from training.subjects import Subject

BF16_OUTPUTS_FILE = "outputs-bf16.npz"


def require_bf16() -> str:
    """Return the name of this processor, which computes in bfloat16.

    Raises
    ------
    RuntimeUnavailableError
        It does not, or OpenVINO is not installed: the trial would compare float32 with itself.
    """
    try:
        from model.compiled_network import processor_computes_bf16, processor_name
    except ImportError as error:
        raise RuntimeUnavailableError("openvino is not installed; only it computes in bf16") from error
    if not processor_computes_bf16():
        raise RuntimeUnavailableError(f"{processor_name()} has no bf16 arithmetic; try the bundle on one that has")
    return processor_name()


def predictions_in_bf16(bundle: Bundle, subject: Subject, cache: PictureCache, out: Path) -> Predictions:
    """Return what the bundle says in bfloat16 of the pictures that the subject has judged in float32."""
    served = bundle.served_in("bf16")
    outputs = read_pictures(served, subject.radiographs, cache, subject.names, out / BF16_OUTPUTS_FILE)
    title, patients = f"{bundle.name} {served.model_version}", subject.predictions.patients
    return network_predictions(title, subject.names, patients, outputs.logits, bundle.calibration, bundle.trained)


def trial_of(bundle: Bundle, subject: Subject, bf16: Predictions, processor: str) -> PrecisionTrial:
    """Compare both precisions' word on the subject's pictures."""
    fp32, targets = subject.predictions, subject.radiographs.targets(subject.names)
    points = [(LABELS.index(label), point.threshold) for label, point in bundle.operating_points.items()]
    crossings = sum(
        int(((fp32.probabilities[:, column] >= limit) != (bf16.probabilities[:, column] >= limit)).sum())
        for column, limit in points
    )
    return PrecisionTrial(
        pictures=len(subject.names),
        part=subject.part,
        processor=processor,
        largest_difference=float(np.nanmax(np.abs(fp32.probabilities - bf16.probabilities))),
        largest_auroc_difference=max(_auroc_differences(fp32, bf16, targets), default=0.0),
        crossings=crossings,
        decisions=max(1, len(subject.names) * len(points)),
    )


def _auroc_differences(fp32: Predictions, bf16: Predictions, targets: NDArray[np.floating]) -> list[float]:
    """Return |difference| of every finding that both speak of and of which there are both classes."""
    weight, found = np.ones(len(targets)), []
    for column, trained in enumerate(fp32.trained):
        truth = targets[:, column]
        if trained and 0 < truth.sum() < len(truth):
            first, second = (float(auroc(truth, said.scores[:, column], weight)) for said in (fp32, bf16))
            found.append(abs(first - second))
    return found


def with_trial(bundle: Bundle, trial: PrecisionTrial, folder: Path) -> Bundle:
    """Write the bundle with the figures of this trial into a folder, its own or another; all else stays as it is."""
    card = with_precision(bundle.card_path.read_text(encoding="utf-8"), trial)
    return rewrite(bundle, folder, replace(facts_of(bundle), bf16=trial), card, bundle.suitability_check())
