"""Everything that can be said about a folder before training on it: its problems, its census, what its parts hold."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from enum import StrEnum

from model.preprocess import INPUT_SIZE_PX
from training.data.cache import PictureCache
from training.data.cache_index import CacheIndex
from training.data.census import Census, take_census
from training.data.consistency import note_classes, note_missing, note_oddities, note_pictures
from training.data.folder import inspect_folder
from training.data.picture_check import check_pictures
from training.data.problems import LEFT_OUT, ProblemKind, ProblemLog
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.data.split import Parts, choose_parts
from training.data.tags import note_tags
from training.material import DataChoices, cached
from training.progress import RateBar
from training.recipe import Recipe

_BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux


class Depth(StrEnum):
    """How far an inspection goes."""

    LISTS = "lists"
    """Tables and lists alone; pictures are not looked for."""
    PICTURES = "pictures"
    """Every picture is decoded too, and nothing written."""
    CACHE = "cache"
    """Every picture is decoded into the cache."""


@dataclass(frozen=True)
class Inspection:
    """What was found."""

    radiographs: LabelledRadiographs
    log: ProblemLog
    parts: Parts | None
    """As the recipe cuts them; None without one, or where problems stand in the way."""
    census: Census
    cache: PictureCache | None
    seconds: float
    peak_memory_bytes: int
    """Of this process; those that decode come on top."""

    @property
    def passed(self) -> bool:
        """Return whether training can start."""
        return not self.log.errors()


def inspect(
    choices: DataChoices, depth: Depth, recipe: Recipe | None = None, size_px: int = INPUT_SIZE_PX
) -> Inspection:
    """Look at a folder as closely as asked and gather every problem.

    A cache is built only where nothing stands in the way of it; what stops it is among the problems.

    Parameters
    ----------
    recipe
        Cut the parts as this recipe does, where nothing stands in the way.
    size_px
        Side of the cached pictures.

    Raises
    ------
    LayoutError
        There is nothing to look at.
    CacheError
        As ``build_cache``.
    """
    started = time.monotonic()
    log = ProblemLog(LEFT_OUT if choices.allow_missing else frozenset())
    radiographs = inspect_folder(choices.folder, log, choices.release)
    if depth is not Depth.LISTS:
        note_missing(radiographs, log)
        radiographs = radiographs.at_hand() if choices.allow_missing else radiographs
        note_tags(radiographs, log)
    note_oddities(radiographs, log)
    cache = None
    if depth is Depth.CACHE and not log.errors():
        cache = cached(radiographs, choices, size_px)
        note_pictures(radiographs, cache.index, log)
        radiographs = radiographs.only(set(cache.rows)) if choices.allow_missing else radiographs
    elif depth is not Depth.LISTS and radiographs.paths:
        note_pictures(radiographs, _checked(radiographs, choices), log)
    parts = None if recipe is None or log.errors() else _cut(radiographs, recipe, log)
    return Inspection(
        radiographs,
        log,
        parts,
        take_census(radiographs),
        cache,
        time.monotonic() - started,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RSS_UNIT,
    )


def _cut(radiographs: LabelledRadiographs, recipe: Recipe, log: ProblemLog) -> Parts | None:
    try:
        parts = choose_parts(radiographs, recipe.data, recipe.validation_share, recipe.seed)
    except LayoutError as error:
        log.add(ProblemKind.EMPTY_PART, f"recipe {recipe.bundle_name}", str(error))
        return None
    for name, pictures in (("training", parts.training), ("validation", parts.validation)):
        note_classes(radiographs, name, pictures, log)
    return parts


def _checked(radiographs: LabelledRadiographs, choices: DataChoices) -> CacheIndex:
    with RateBar("Checking pictures", "img", len(radiographs.paths)) as bar:
        return check_pictures(radiographs, lambda done, total: bar.update(done), choices.readers)


def summary(inspection: Inspection) -> dict[str, object]:
    """Return the inspection as plain values for JSON."""
    cache, parts = inspection.cache, inspection.parts
    return {
        "passed": inspection.passed,
        "source": inspection.radiographs.source,
        "seconds": round(inspection.seconds, 2),
        "peak_memory_bytes": inspection.peak_memory_bytes,
        "parts": None if parts is None else _part_sizes(parts),
        "census": inspection.census.as_dict(),
        "problems": [
            {
                "severity": inspection.log.severity(kind),
                "problem": kind.title,
                "count": len(found),
                "examples": [str(problem) for problem in found[:3]],
                "remedy": kind.remedy,
            }
            for kind, found in inspection.log.by_kind()
        ],
        "cache": None if cache is None else cache.manifest,
    }


def _part_sizes(parts: Parts) -> dict[str, object]:
    sizes = {"training": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)}
    return {**sizes, "mark": parts.mark, "leaked_share": parts.leaked_share}
