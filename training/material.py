"""From a folder to what every training command works on: lists that fit, pictures that can be read, in a cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from model.preprocess import INPUT_SIZE_PX
from training.data.cache import PictureCache
from training.data.cache_build import build_cache
from training.data.chestxray14 import Release
from training.data.folder import read_folder
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.progress import RateBar
from training.recipe import Recipe

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class DataChoices:
    """Which pictures, where their cache lies and what may be wrong with them."""

    folder: Path
    """The download, a folder of links to a part of it, or phantoms."""
    cache: Path
    """Folder of the picture cache."""
    allow_missing: bool = False
    """Go on without listed pictures that have no file or cannot be read."""
    rebuild_cache: bool = False
    """Replace a cache that was made with other settings."""
    release: Release | None = None
    """Which release of ChestX-ray14's labels; None: the newest there is."""
    readers: int | None = None
    """Processes that decode; None: one for each core."""


@dataclass(frozen=True)
class Material:
    """Pictures with their truth: every one listed is in the cache."""

    radiographs: LabelledRadiographs
    cache: PictureCache


def cache_size_px(recipe: Recipe | None) -> int:
    """Return the side of cached pictures: what serving takes, or the recipe's largest stage where that is more."""
    sizes = () if recipe is None else tuple(stage.size_px for stage in recipe.stages)
    return max(INPUT_SIZE_PX, *sizes) if sizes else INPUT_SIZE_PX


def ready_material(choices: DataChoices, size_px: int = INPUT_SIZE_PX) -> Material:
    """Read the lists, insist on every picture or leave out what is wanting, and build the cache or continue it.

    A picture left out in silence would make figures on the official test list look comparable when they are not, so
    leaving out is asked for.

    Raises
    ------
    LayoutError
        The folder cannot be used, or pictures are missing or cannot be read and ``allow_missing`` is False.
    CacheError
        As ``build_cache``.
    """
    return complete_material(read_folder(choices.folder, choices.release), choices, size_px)


def complete_material(listed: LabelledRadiographs, choices: DataChoices, size_px: int = INPUT_SIZE_PX) -> Material:
    """Do the same for lists that are read already, or for a part of them; the cache may hold more.

    Raises
    ------
    LayoutError, CacheError
        As ``ready_material``.
    """
    radiographs = with_files(listed, choices)
    cache = cached(radiographs, choices, size_px)
    unreadable = {name: cache.unreadable[name] for name in radiographs.listed if name in cache.unreadable}
    if not unreadable:
        return Material(radiographs, cache)
    _insist(
        choices.allow_missing,
        f"{choices.folder}: {len(unreadable)} of {len(radiographs.listed)} listed pictures cannot be read",
        [f"{name} ({reason})" for name, reason in unreadable.items()],
        "Fetch them again and run the same command: it reads only these",
    )
    return Material(radiographs.only(set(cache.rows)), cache)


def cached(radiographs: LabelledRadiographs, choices: DataChoices, size_px: int) -> PictureCache:
    """Return the cache of every listed picture, built behind a progress bar where it is not there.

    Raises
    ------
    LayoutError, CacheError
        As ``build_cache``.
    """
    with RateBar("Reading pictures", "img", len(radiographs.listed)) as bar:

        def report(done: int, total: int) -> None:
            if bar.done == 0:
                bar.done_before = done  # an earlier run's share says nothing about this one's rate
            bar.update(done)

        return build_cache(
            radiographs,
            choices.cache,
            report,
            size_px,
            rebuild=choices.rebuild_cache,
            processes=choices.readers,
        )


def read_complete_folder(choices: DataChoices) -> LabelledRadiographs:
    """Read a folder's lists and insist on every picture, or cut the lists to the pictures at hand.

    Raises
    ------
    LayoutError
        The folder cannot be used, or pictures are missing and ``allow_missing`` is False.
    """
    return with_files(read_folder(choices.folder, choices.release), choices)


def with_files(radiographs: LabelledRadiographs, choices: DataChoices) -> LabelledRadiographs:
    """Insist that every listed picture has a file, or cut the lists to those that have.

    Raises
    ------
    LayoutError
        Pictures are missing and ``allow_missing`` is False, or all are.
    """
    missing = radiographs.missing()
    if not missing:
        return radiographs
    if len(missing) == len(radiographs.listed):
        raise LayoutError(
            f"{choices.folder}: none of the {len(missing):,} pictures wanted has a file, e.g. {missing[0]}. Unpack the "
            "archives of the download that hold them, or choose other pictures"
        )
    _insist(
        choices.allow_missing,
        f"{choices.folder}: {len(missing)} of {len(radiographs.listed)} listed pictures have no file",
        list(missing),
        "Unpack every archive of the download, or restore the files",
    )
    return radiographs.at_hand()


def _insist(allow_missing: bool, what: str, named: list[str], remedy: str) -> None:
    """Stop, or say what is left out."""
    examples = ", ".join(named[:_NAMED_AT_MOST]) + (" ..." if len(named) > _NAMED_AT_MOST else "")
    if not allow_missing:
        raise LayoutError(f"{what}: {examples}. {remedy}; --allow-missing goes on with the others")
    logger.warning("%s and are left out: %s", what, examples)
