"""The whole run: data, training, calibration, operating points, test, localisation, bundle, report."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import torch

from training.loop import train_member
from training.parallel import run_team
from training.prepare import Prepared, prepare
from training.recipe import Recipe

logger = logging.getLogger(__name__)


def run_pipeline(data: Path, out: Path, recipe: Recipe, init_file: Path | None, processes: int | None) -> Path:
    """Do everything and return the bundle's folder; the same call continues an interrupted run."""
    prepared = prepare(data, out, recipe, init_file, processes)
    train(prepared)
    return out


def train(prepared: Prepared) -> None:
    """Train, or return at once when the run's checkpoint is finished."""
    plan = prepared.plan
    if plan.checkpoint.exists() and torch.load(plan.checkpoint, map_location="cpu", weights_only=True).get("finished"):
        logger.info("training is finished already: %s", plan.checkpoint)
    plan.out.mkdir(parents=True, exist_ok=True)
    logger.info("training with %d process(es)", prepared.processes)
    run_team(prepared.processes, partial(train_member, plan), plan.out)
