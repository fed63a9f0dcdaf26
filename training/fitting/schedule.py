"""The learning rate of every step: linear warm-up and cosine within each stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.data.batches import steps_per_epoch
from training.recipe import Recipe, Stage


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
        steps = steps_per_epoch(pictures, stage.batch_size)
        last = stage_number == len(recipe.stages) - 1
        for place in range(stage.epochs):
            epochs.append(Epoch(len(epochs), stage_number, stage, place * steps, steps, last))
    return epochs


def learning_rate(epoch: Epoch, step: int) -> float:
    """Return the learning rate of a step of an epoch."""
    stage = epoch.stage
    done, total = epoch.first_step + step, epoch.steps * stage.epochs
    if done < stage.warmup_steps:
        return stage.learning_rate * (done + 1) / stage.warmup_steps
    share = (done - stage.warmup_steps) / max(1, total - stage.warmup_steps)
    height = (1 + math.cos(math.pi * share)) / 2
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * height
