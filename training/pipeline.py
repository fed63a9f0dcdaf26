"""The whole run: data, training, calibration, operating points, test, localisation, bundle or weights, report."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from training.conclusion import bundle_place, conclude
from training.fitting.checkpoint import load_checkpoint
from training.fitting.initial import initial_network, require_init_file
from training.fitting.member import train_member
from training.material import DataChoices
from training.output import only_run, require_place
from training.parallel import (
    Team,
    TrainingInterruptedError,
    interruptible,
    launched_membership,
    launched_team,
    run_team,
)
from training.prepare import Prepared, prepare
from training.recipe import Recipe

logger = logging.getLogger(__name__)


def run_pipeline(
    choices: DataChoices, out: Path, recipe: Recipe, init_file: Path | None, processes: int | None
) -> Path | None:
    """Do everything and return the folder of the bundle or the weights; the same call continues an interrupted run.

    Started by torchrun, every process does this; the first one writes, the others return None.

    Raises
    ------
    LayoutError, CacheError, RecipeError, InitError, CheckpointError, BundleError, OutputError, TrainingFailedError,
    TrainingInterruptedError
    """
    if init_file is not None:
        require_init_file(init_file, recipe.architecture)
    launched = launched_team()
    if launched is None:
        with interruptible():
            prepared = prepare(choices, out, recipe, init_file, processes)
        if not prepared.reasons_not_to_serve:
            require_place(bundle_place(out, recipe))
        with only_run(out), interruptible():
            return conclude(prepared, train(prepared), out)
    if launched.rank:
        logging.getLogger().setLevel(logging.WARNING)
    with launched_membership(launched):
        prepared = _prepare_in_turn(launched, choices, out, recipe, init_file)
        with only_run(out) if launched.rank == 0 else nullcontext():
            checkpoint = train(prepared, launched)
            return conclude(prepared, checkpoint, out) if launched.rank == 0 else None


def train(prepared: Prepared, launched: Team | None = None) -> dict[str, Any]:
    """Train, or go straight on where the run's checkpoint is finished; return the finished checkpoint.

    Parameters
    ----------
    launched
        This process among those that torchrun started; None: start processes here.
    """
    plan = prepared.plan
    done = load_checkpoint(plan.checkpoint, plan.fingerprint)
    if done is not None and done["finished"]:
        logger.info("training is finished already: %s", plan.checkpoint)
        return done
    prevalence = plan.training.targets.mean(0)
    initial_network(plan.recipe, plan.init_file, prevalence, plan.training.labels)  # refuse here, in one sentence
    logger.info("training with %d process(es)", prepared.processes)
    if launched is None:
        run_team(prepared.processes, partial(train_member, plan), plan.out)
    else:
        finished = train_member(plan, launched)
        launched.wait_for_all()  # the first process has written its checkpoint
        if not finished:
            raise TrainingInterruptedError("stopped; the same command continues from the last checkpoint")
    return load_checkpoint(plan.checkpoint, plan.fingerprint) or {}


def _prepare_in_turn(
    launched: Team, choices: DataChoices, out: Path, recipe: Recipe, init_file: Path | None
) -> Prepared:
    """Let the first process build the cache, and the others find it."""
    if launched.rank == 0:
        prepared = prepare(choices, out, recipe, init_file, launched.size)
    launched.wait_for_all()
    if launched.rank != 0:
        prepared = prepare(choices, out, recipe, init_file, launched.size)
    return prepared
