"""From a folder and a recipe to a training plan: check the data, build the cache, cut the parts."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.labels import LABELS
from model.preprocess import INPUT_SIZE_PX
from training.data.batches import Examples
from training.data.cache import PictureCache
from training.data.radiographs import LabelledRadiographs, list_hash
from training.data.split import Parts, cut_parts
from training.fitting.initial import origin_of
from training.fitting.loop import TrainingPlan
from training.material import DataChoices, ready_material
from training.parallel import training_device
from training.recipe import Recipe

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
    def drawn(self) -> bool:
        """Return whether the pictures are drawings."""
        return self.layout.phantom is not None

    def examples(self, names: tuple[str, ...]) -> Examples:
        """Return pictures with their truth."""
        return examples_of(self.layout, names)


def examples_of(layout: LabelledRadiographs, names: tuple[str, ...]) -> Examples:
    """Return pictures with their targets and boxes, in the given order."""
    return Examples(names, layout.targets(names), tuple(layout.boxes.get(name, ()) for name in names))


def prepare(choices: DataChoices, out: Path, recipe: Recipe, init_file: Path | None, processes: int | None) -> Prepared:
    """Read, check, cache and cut a data set.

    Parameters
    ----------
    processes
        Training processes; None: one for each CPU core, as far as the batches can be shared evenly.

    Raises
    ------
    LayoutError, CacheError
        As ``ready_material``.
    """
    size_px = max(INPUT_SIZE_PX, *(stage.size_px for stage in recipe.stages))
    material = ready_material(choices, size_px)
    layout = material.radiographs
    logger.info(
        "%s: %d rows, %d train_val and %d test pictures, %d with boxes",
        choices.folder,
        len(layout.entries),
        len(layout.train_val),
        len(layout.test),
        len(layout.boxes),
    )
    parts = cut_parts(layout, recipe.validation_share, recipe.seed, frozenset())
    logger.info(
        "training %d, validation %d, test %d pictures; no patient in two parts",
        len(parts.training),
        len(parts.validation),
        len(parts.test),
    )
    team = processes or _team_size(recipe)
    plan = TrainingPlan(
        recipe,
        _fingerprint(recipe, parts, team, init_file),
        choices.cache,
        out / "training",
        examples_of(layout, parts.training),
        examples_of(layout, parts.validation),
        trained_findings(layout.phantom),
        init_file,
    )
    return Prepared(layout, parts, material.cache, plan, team)


def trained_findings(phantom: dict[str, Any] | None) -> tuple[bool, ...]:
    """Return which of the 14 findings are trained: all on real pictures, the drawn ones on phantoms."""
    if phantom is None:
        return (True,) * len(LABELS)
    drawn = set(phantom["drawn_findings"])
    return tuple(label in drawn for label in LABELS)


def _fingerprint(recipe: Recipe, parts: Parts, processes: int, init_file: Path | None) -> str:
    start = origin_of(recipe, init_file).sha256 or recipe.init
    facts = (recipe.fingerprint(), list_hash(parts.training), list_hash(parts.validation), str(processes), start)
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()


def _team_size(recipe: Recipe) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if training_device().type == "cuda":
        return 1  # one process keeps one GPU busy
    sizes = [stage.batch_size for stage in recipe.stages]
    return max(n for n in range(1, min(cores, 16) + 1) if all(s % n == 0 and s // n >= 8 for s in sizes) or n == 1)
