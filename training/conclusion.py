"""The end of a run: calibrate, choose thresholds, test once, write a bundle, or weights where none can be served."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.calibration import Calibration
from model.densenet import DenseNet121Cam, network_with, weights_of
from training.data.batches import Examples
from training.data.cache_index import write_json
from training.data.label_set import make_examples
from training.evaluation.assessment import Assessment, Judged, assess
from training.evaluation.calibrate import fit_calibration
from training.evaluation.evaluate import Resampling
from training.evaluation.fourteen import in_fourteen, trained_of_fourteen
from training.evaluation.inference import Outputs, outputs_of
from training.evaluation.operating_points import OperatingRule, choose_operating_points, flagging_findings
from training.evaluation.predictions import network_predictions, write_predictions
from training.export import export_bundle
from training.networks.build import ChestNetwork, build_network, served_channels
from training.output import writing_to
from training.parallel import training_device
from training.prepare import Prepared
from training.progress import RateBar
from training.recipe import Recipe
from training.reporting.report import ReportMaterial, write_report
from training.source_plots import asked_for_plots
from training.weights import write_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgement:
    """What is known of the chosen weights; everything in the fourteen columns of ``LABELS``."""

    calibration: Calibration
    assessment: Assessment
    """On the test part, with the operating points."""
    outputs: Outputs
    """Of the test part, in the run's own outputs."""


def conclude(prepared: Prepared, checkpoint: dict[str, Any], out: Path) -> Path:
    """Calibrate and choose thresholds on validation, test once, write bundle (or weights) and report; say where.

    Everything is computed with the weights as they are written: float16 in a bundle, float32 beside it.

    Raises
    ------
    BundleError, OutputError
        The results cannot be written.
    """
    recipe, reasons = prepared.plan.recipe, prepared.reasons_not_to_serve
    network = build_network(recipe, prepared.plan.training.labels, prepared.plan.levels)
    network.load_state_dict(checkpoint["best"]["weights"])
    if reasons:
        logger.warning("this run ends with weights, not with a bundle: %s", "; ".join(reasons))
        judgement = judge(network, prepared)
        folder = out / "weights" / recipe.bundle_name
        assessment = judgement.assessment
        with writing_to(out):
            write_weights(folder, network, prepared, assessment.evaluation, judgement.outputs, assessment.points)
        title = f"{recipe.bundle_name} {recipe.version}"
    else:
        folder, title, judgement = _conclude_with_bundle(network, prepared, out)
    notes = [f"Parts: {prepared.parts.mark}."]
    notes += [f"There is no bundle to serve: {'; '.join(reasons)}."] if reasons else []
    report = ReportMaterial(
        title,
        prepared.demonstration,
        tuple(notes),
        judgement.assessment,
        prepared.cache,
        checkpoint["history"],
        tuple(asked_for_plots(network, prepared, judgement.outputs)),
    )
    with writing_to(out):
        write_predictions(judgement.assessment.judged.predictions, out / "predictions.csv")
        write_json(judgement.assessment.as_dict(), out / "evaluation.json")
        write_report(report, out / "report.html")
    evaluation = judgement.assessment.evaluation
    maps = "no boxes to judge the maps by"
    if evaluation.pointing:
        maps = f"maps reach {evaluation.pointing_of_ceiling:.3f} of the pointing ceiling"
    logger.info(
        "test: mean AUROC %s (95 %%: %s to %s), %s; report: %s",
        *evaluation.mean_auroc.rounded(),
        maps,
        out / "report.html",
    )
    return folder


def bundle_place(out: Path, recipe: Recipe) -> Path:
    """Return where a run puts its bundle."""
    return out / "bundle" / recipe.bundle_name


def judge(network: ChestNetwork, prepared: Prepared) -> Judgement:
    """Compute everything that is decided on validation and measured on the test part."""
    plan, recipe = prepared.plan, prepared.plan.recipe
    network = network.eval().to(training_device()).to(memory_format=torch.channels_last)
    labels, trained = plan.training.labels, trained_of_fourteen(plan.training.labels, plan.trained)
    validation = in_fourteen(_outputs(network, prepared, plan.validation, "validation"), labels)
    truth = make_examples(prepared.layout, plan.validation.names).targets
    calibration = fit_calibration(recipe.calibration, validation.logits, truth, trained)
    positives = truth.sum(0) + prepared.layout.targets(prepared.layout.real(plan.training.names)).sum(0)
    rule = OperatingRule(recipe.operating_point, recipe.operating_target)
    points = choose_operating_points(
        calibration.probabilities(validation.logits), truth, flagging_findings(trained, positives), rule
    )
    outputs = _outputs(network, prepared, prepared.examples(prepared.parts.test), "the test part")
    judged = _judged(prepared, in_fourteen(outputs, labels), calibration, trained)
    logger.info("computing figures with intervals from %d resamples of patients", recipe.bootstrap_samples)
    assessment = assess(judged, points, Resampling(recipe.bootstrap_samples, recipe.seed))
    return Judgement(calibration, assessment, outputs)


def _judged(prepared: Prepared, test: Outputs, calibration: Calibration, trained: tuple[bool, ...]) -> Judged:
    examples, layout = make_examples(prepared.layout, prepared.parts.test), prepared.layout
    title, patients = prepared.plan.recipe.bundle_name, layout.patients(examples.names)
    predictions = network_predictions(title, examples.names, patients, test.logits, calibration, trained)
    entries = [layout.entries[name] for name in examples.names]
    return Judged(predictions, test.maps, examples, entries, prepared.parts.mark)


def _conclude_with_bundle(network: ChestNetwork, prepared: Prepared, out: Path) -> tuple[Path, str, Judgement]:
    recipe = prepared.plan.recipe
    if not isinstance(network, DenseNet121Cam):
        raise TypeError(f"{recipe.bundle_name} was to be served but is a {type(network).__name__}")
    weights = weights_of(network)
    judgement = judge(network_with(weights, served_channels(recipe), recipe.architecture), prepared)
    folder = bundle_place(out, recipe)
    bundle = export_bundle(prepared, weights, judgement.calibration, judgement.assessment, folder)
    return bundle.folder, f"{bundle.name} {bundle.model_version}", judgement


def _outputs(network: ChestNetwork, prepared: Prepared, examples: Examples, examples_of: str) -> Outputs:
    recipe, names = prepared.plan.recipe, examples.names
    with RateBar(f"Reading {examples_of} with the chosen weights", "img", len(names)) as bar:
        return outputs_of(
            network,
            prepared.cache,
            names,
            recipe.stages[-1].size_px,
            metadata=examples.metadata,
            test_time=recipe.test_time,
            told=bar.update,
        )
