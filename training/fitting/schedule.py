"""The learning rate of every step: a shape within each stage, and what a plateau has taken off it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.data.batches import steps_per_epoch
from training.recipe import Recipe, Schedule, Stage

_COSINE = Schedule()
_ONE_CYCLE_START = 25.0
"""The rise begins at the peak divided by this (torch's ``OneCycleLR``)."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part."""

    number: int
    """Counted through all stages, from 0."""
    stage_number: int
    stage: Stage
    first_step: int
    """Steps of this stage before this epoch."""
    steps: int
    last_stage: bool


def plan_epochs(recipe: Recipe, pictures: int) -> list[Epoch]:
    """Return every epoch of a recipe, in order."""
    epochs: list[Epoch] = []
    for stage_number, stage in enumerate(recipe.stages):
        steps = steps_per_epoch(pictures, stage.batch_size, stage.steps_per_epoch)
        last = stage_number == len(recipe.stages) - 1
        for place in range(stage.epochs):
            epochs.append(Epoch(len(epochs), stage_number, stage, place * steps, steps, last))
    return epochs


def learning_rate(epoch: Epoch, step: int, schedule: Schedule = _COSINE, plateau_share: float = 1.0) -> float:
    """Return the learning rate of a step of an epoch.

    Parameters
    ----------
    plateau_share
        What plateaus have left of the stage's learning rate, 0..1.
    """
    stage = epoch.stage
    done, total = epoch.first_step + step, epoch.steps * stage.epochs
    if schedule.kind == "onecycle":
        return _one_cycle(stage, done / total, schedule.rise_share)
    if done < stage.warmup_steps:
        return stage.learning_rate * (done + 1) / stage.warmup_steps
    if schedule.kind == "plateau":
        return max(stage.learning_rate * plateau_share, stage.final_learning_rate)
    if schedule.kind == "constant":
        return stage.learning_rate
    share = (done - stage.warmup_steps) / max(1, total - stage.warmup_steps)
    return _cosine(stage.learning_rate, stage.final_learning_rate, share)


def _one_cycle(stage: Stage, share: float, rise_share: float) -> float:
    if share < rise_share:
        return _cosine(stage.learning_rate / _ONE_CYCLE_START, stage.learning_rate, share / rise_share)
    return _cosine(stage.learning_rate, stage.final_learning_rate, (share - rise_share) / (1 - rise_share))


def _cosine(start: float, end: float, share: float) -> float:
    height = (1 + math.cos(math.pi * share)) / 2
    return end + (start - end) * height
