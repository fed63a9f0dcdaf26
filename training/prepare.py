"""From a folder and a recipe to a training plan: check the data, build the cache, cut the parts."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.preprocess import INPUT_SIZE_PX
from training.data.batches import Examples
from training.data.cache import PictureCache
from training.data.label_set import choose_labels, drawing_weights, make_examples
from training.data.levels import grey_levels
from training.data.radiographs import NO_FINDING, LabelledRadiographs, list_hash
from training.data.split import Parts, choose_parts
from training.fitting.initial import origin_of
from training.fitting.plan import TrainingPlan
from training.material import DataChoices, Material, cache_size_px, ready_material
from training.networks.build import GREY_LEVELS, reasons_not_to_serve
from training.parallel import training_device
from training.recipe import Recipe, RecipeError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A data set made ready for one recipe."""

    layout: LabelledRadiographs
    parts: Parts
    cache: PictureCache
    plan: TrainingPlan
    processes: int

    @property
    def demonstration(self) -> bool:
        """Return whether the bundle may say nothing about a patient: drawn pictures, or a recipe that says so."""
        return self.drawn or self.plan.recipe.demonstration

    @property
    def reasons_not_to_serve(self) -> list[str]:
        """Return why the run ends with weights instead of a bundle, in words; none = it ends with a bundle."""
        recipe = self.plan.recipe
        reasons = reasons_not_to_serve(recipe, self.plan.training.labels)
        if recipe.stages[-1].size_px != INPUT_SIZE_PX:
            reasons.append(f"the last stage is at {recipe.stages[-1].size_px} px, serving at {INPUT_SIZE_PX} px")
        if recipe.test_time != "none":
            reasons.append(f"test_time is {recipe.test_time}, and serving reads one view")
        return reasons

    @property
    def drawn(self) -> bool:
        """Return whether the pictures are drawings."""
        return self.layout.phantom is not None

    def examples(self, names: tuple[str, ...]) -> Examples:
        """Return pictures with their truth."""
        return make_examples(self.layout, names, self.plan.training.labels, self.plan.recipe.network.metadata)


def prepare(choices: DataChoices, out: Path, recipe: Recipe, init_file: Path | None, processes: int | None) -> Prepared:
    """Read, check, cache and cut a data set.

    Parameters
    ----------
    processes
        Training processes; None: one for each CPU core, as far as the batches can be shared evenly.

    Raises
    ------
    LayoutError, CacheError
        As ``ready_material``, ``choose_parts`` and ``choose_labels``.
    RecipeError
        The processes cannot share a batch evenly.
    """
    release = None if recipe.data.release == "newest" else recipe.data.release
    material = ready_material(replace(choices, release=release), cache_size_px(recipe))
    layout = material.radiographs
    logger.info(
        "%s: %d rows, %d train_val and %d test pictures, %d with boxes",
        choices.folder,
        len(layout.entries),
        len(layout.train_val),
        len(layout.test),
        len(layout.boxes),
    )
    parts = choose_parts(layout, recipe.data, recipe.validation_share, recipe.seed)
    sizes = (len(parts.training), len(parts.validation), len(parts.test))
    logger.info("training %d, validation %d, test %d pictures", *sizes)
    logger.log(logging.WARNING if parts.leaky else logging.INFO, "%s", parts.mark)
    team = processes or _team_size(recipe)
    _require_even_shares(recipe, team)
    plan = _plan(choices, out, recipe, parts, material, init_file, team)
    return Prepared(layout, parts, material.cache, plan, team)


def _plan(
    choices: DataChoices,
    out: Path,
    recipe: Recipe,
    parts: Parts,
    material: Material,
    init_file: Path | None,
    processes: int,
) -> TrainingPlan:
    layout, data, facts = material.radiographs, recipe.data, recipe.network.metadata
    labels = choose_labels(layout, parts.training + parts.validation + parts.test, data)
    training = make_examples(layout, parts.training, labels, facts)
    levels = GREY_LEVELS
    if recipe.network.normalisation == "dataset":
        levels = grey_levels(material.cache, parts.training)
        logger.info("grey levels of the training part: mean %.4f, deviation %.4f", *levels)
    return TrainingPlan(
        recipe,
        _fingerprint(recipe, parts, processes, init_file),
        choices.cache,
        out / "training",
        replace(training, weights=drawing_weights(layout, parts.training, data)),
        make_examples(layout, parts.validation, labels, facts),
        trained_outputs(layout.phantom, labels),
        init_file,
        levels,
    )


def trained_outputs(phantom: dict[str, Any] | None, labels: tuple[str, ...]) -> tuple[bool, ...]:
    """Return which of the K outputs are trained: all on real pictures, the drawn ones on phantoms."""
    if phantom is None:
        return (True,) * len(labels)
    drawn = {*phantom["drawn_findings"], NO_FINDING}
    return tuple(label in drawn for label in labels)


def _require_even_shares(recipe: Recipe, processes: int) -> None:
    """Refuse shares of different sizes: the mean of their gradients would not be the batch's."""
    for stage in recipe.stages:
        if stage.batch_size % (processes * recipe.accumulation_steps):
            raise RecipeError(
                f"a batch of {stage.batch_size} cannot be shared evenly by {processes} processes in "
                f"{recipe.accumulation_steps} piece(s) each; change batch_size, accumulation_steps or --processes"
            )


def _fingerprint(recipe: Recipe, parts: Parts, processes: int, init_file: Path | None) -> str:
    start = origin_of(recipe, init_file).sha256 or recipe.init
    facts = (recipe.fingerprint(), list_hash(parts.training), list_hash(parts.validation), str(processes), start)
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()


def _team_size(recipe: Recipe) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if training_device().type == "cuda":
        return 1  # one process keeps one GPU busy
    sizes = [stage.batch_size // recipe.accumulation_steps for stage in recipe.stages]
    return max(n for n in range(1, min(cores, 16) + 1) if all(s % n == 0 and s // n >= 8 for s in sizes) or n == 1)
