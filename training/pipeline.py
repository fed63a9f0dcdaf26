"""The whole run: data, training, calibration, operating points, test, localisation, bundle, report."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.bundle import Bundle
from model.densenet import DenseNet121Cam, network_with, weights_of
from model.preprocess import INPUT_SIZE_PX
from training.evaluation.calibrate import fit_platt
from training.evaluation.evaluate import evaluate
from training.evaluation.inference import Outputs, outputs_of
from training.evaluation.operating_points import choose_operating_points
from training.export import export_bundle
from training.fitting.checkpoint import load_checkpoint
from training.fitting.initial import initial_network
from training.fitting.loop import train_member
from training.material import DataChoices
from training.parallel import run_team, training_device
from training.prepare import Prepared, prepare
from training.recipe import Recipe
from training.reporting.report import ReportMaterial, write_report

logger = logging.getLogger(__name__)


def run_pipeline(
    choices: DataChoices, out: Path, recipe: Recipe, init_file: Path | None, processes: int | None
) -> Bundle:
    """Do everything and return the bundle; the same call continues an interrupted run.

    Raises
    ------
    LayoutError, CacheError, InitError, CheckpointError, TrainingFailedError, TrainingInterruptedError
    """
    prepared = prepare(choices, out, recipe, init_file, processes)
    checkpoint = train(prepared)
    return conclude(prepared, checkpoint, out)


def train(prepared: Prepared) -> dict[str, Any]:
    """Train, or go straight on where the run's checkpoint is finished; return the finished checkpoint."""
    plan = prepared.plan
    done = load_checkpoint(plan.checkpoint, plan.fingerprint)
    if done is not None and done["finished"]:
        logger.info("training is finished already: %s", plan.checkpoint)
        return done
    initial_network(plan.recipe, plan.init_file, plan.training.targets.mean(0))  # refuse here, in one sentence
    plan.out.mkdir(parents=True, exist_ok=True)
    logger.info("training with %d process(es)", prepared.processes)
    run_team(prepared.processes, partial(train_member, plan), plan.out)
    return load_checkpoint(plan.checkpoint, plan.fingerprint) or {}


def conclude(prepared: Prepared, checkpoint: dict[str, Any], out: Path) -> Bundle:
    """Calibrate and choose thresholds on validation, test once, write bundle and report.

    Everything is computed with the float16 weights that the bundle holds.
    """
    plan, recipe = prepared.plan, prepared.plan.recipe
    chosen = DenseNet121Cam(architecture=recipe.architecture)
    chosen.load_state_dict(checkpoint["best"]["weights"])
    weights = weights_of(chosen)
    network = network_with(weights, architecture=recipe.architecture)
    network = network.to(training_device()).to(memory_format=torch.channels_last)
    validation = _outputs(network, prepared, prepared.parts.validation)
    calibration = fit_platt(validation.logits, plan.validation.targets, plan.trained)
    points = choose_operating_points(
        calibration.probabilities(validation.logits), plan.validation.targets, plan.trained, recipe
    )
    examples = prepared.examples(prepared.parts.test)
    test = _outputs(network, prepared, examples.names)
    patients = prepared.layout.patients(examples.names)
    evaluation = evaluate(test, examples, patients, calibration, points, recipe.bootstrap_samples, recipe.seed)
    folder = out / "bundle" / recipe.bundle_name
    bundle = export_bundle(
        prepared, weights, calibration, points, evaluation, calibration.probabilities(test.logits), folder
    )
    write_report(
        ReportMaterial(bundle, evaluation, checkpoint["history"], examples, test, prepared.cache), out / "report.html"
    )
    logger.info(
        "test: mean AUROC %s, maps reach %.3f of the pointing ceiling; report: %s",
        evaluation.mean_auroc.rounded(),
        evaluation.pointing_of_ceiling,
        out / "report.html",
    )
    return bundle


def _outputs(network: DenseNet121Cam, prepared: Prepared, names: tuple[str, ...]) -> Outputs:
    logger.info("reading %d pictures with the chosen weights", len(names))
    return outputs_of(network, prepared.cache, names, INPUT_SIZE_PX)
