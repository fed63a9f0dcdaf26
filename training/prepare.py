"""From a folder and a recipe to a training plan: check the data, build the cache, cut the parts."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.labels import LABELS
from training.data.batches import Examples
from training.data.cache import PictureCache, build_cache
from training.data.chestxray14 import ChestXray14, LayoutError, list_hash, read_layout
from training.data.split import Parts, cut_parts
from training.fitting.initial import origin_of
from training.fitting.loop import TrainingPlan
from training.parallel import training_device
from training.recipe import Recipe

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class Prepared:
    """A data set made ready for one recipe."""

    layout: ChestXray14
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


def examples_of(layout: ChestXray14, names: tuple[str, ...]) -> Examples:
    """Return pictures with their targets and boxes, in the given order."""
    return Examples(names, layout.targets(names), tuple(layout.boxes.get(name, ()) for name in names))


def prepare(
    data: Path,
    out: Path,
    recipe: Recipe,
    init_file: Path | None,
    processes: int | None,
    *,
    allow_missing: bool = False,
) -> Prepared:
    """Read, check, cache and cut a data set.

    Parameters
    ----------
    processes
        Training processes; None: one for each CPU core, as far as the batches can be shared evenly.
    allow_missing
        Go on with the pictures at hand when listed ones have no file.

    Raises
    ------
    LayoutError
        The folder cannot be used, or pictures are missing.
    """
    layout = read_complete_layout(data, allow_missing=allow_missing)
    logger.info(
        "%s: %d rows, %d train_val and %d test pictures, %d with boxes",
        data,
        len(layout.entries),
        len(layout.train_val),
        len(layout.test),
        len(layout.boxes),
    )
    cache = _cached(layout, out / "cache")
    _name_unreadable(cache.unreadable)
    parts = cut_parts(layout, recipe.validation_share, recipe.seed, frozenset(cache.unreadable))
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
        out / "cache",
        out / "training",
        examples_of(layout, parts.training),
        examples_of(layout, parts.validation),
        trained_findings(layout.phantom),
        init_file,
    )
    return Prepared(layout, parts, cache, plan, team)


def read_complete_layout(data: Path, *, allow_missing: bool) -> ChestXray14:
    """Read a folder's lists and insist on every picture, or cut the lists to the pictures at hand.

    A picture left out in silence would make figures on the official test list look comparable when they are not, so
    leaving out is asked for.

    Raises
    ------
    LayoutError
        The folder cannot be used, or pictures are missing and ``allow_missing`` is False.
    """
    layout = read_layout(data)
    missing = layout.missing()
    if not missing:
        return layout
    listed = len(layout.train_val) + len(layout.test)
    named = ", ".join(missing[:_NAMED_AT_MOST])
    if not allow_missing:
        raise LayoutError(
            f"{data}: {len(missing)} of {listed} listed pictures have no file: {named}"
            f"{' ...' if len(missing) > _NAMED_AT_MOST else ''}. Unpack every archive of the download; "
            "--allow-missing goes on with the pictures at hand"
        )
    logger.warning("%d of %d listed pictures have no file and are left out", len(missing), listed)
    return layout.at_hand()


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


def _cached(layout: ChestXray14, folder: Path) -> PictureCache:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("Reading pictures")
        return build_cache(layout, folder, lambda done, total: progress.update(bar, completed=done, total=total))


def _name_unreadable(unreadable: dict[str, str]) -> None:
    for name, reason in list(unreadable.items())[:_NAMED_AT_MOST]:
        logger.warning("%s: %s; it is left out", name, reason)
    if len(unreadable) > _NAMED_AT_MOST:
        logger.warning("%d pictures are left out in all; they are listed in the cache's index.json", len(unreadable))
