"""The frontal chests of data sets, cut by patient into those that teach, those held back and those for the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.preprocess import INPUT_SIZE_PX, resize_uint8
from training.data.cache import PictureCache
from training.data.radiographs import LabelledRadiographs, list_hash
from training.data.split import cut_parts
from training.suitability.examples import Pictures

DataSet = tuple[LabelledRadiographs, PictureCache]
"""Lists, and the cache that holds every listed picture."""
TAUGHT_AT_MOST = 6000
"""Pictures of each data set that teach; more make the check no better and take memory."""
_HELD_BACK_AT_MOST, _TRIED_AT_MOST = 1500, 2000
_HELD_BACK_SHARE = 0.15


@dataclass(frozen=True)
class Chests:
    """Pictures, uint8 [N, 224, 224], no patient in two parts."""

    taught: Pictures
    held_back: Pictures
    tried: Pictures
    """Of the data sets' own test lists, which nothing is taught or chosen by."""
    description: str
    """What the taught and held back pictures are, in words."""
    list_sha256: str
    """Of the names of all that was taught or held back."""


def chests_of(data_sets: Sequence[DataSet], seed: int) -> Chests:
    """Cut each data set by patient and put the parts together.

    Raises
    ------
    LayoutError
        A part of one would be empty.
    """
    taught: list[Pictures] = []
    held_back: list[Pictures] = []
    tried: list[Pictures] = []
    names: list[str] = []
    words: list[str] = []
    for number, (radiographs, cache) in enumerate(data_sets):
        rng = np.random.default_rng([seed, 3, number])
        parts = cut_parts(radiographs, _HELD_BACK_SHARE, seed, frozenset())
        for pictures, part, at_most in (
            (taught, parts.training, TAUGHT_AT_MOST),
            (held_back, parts.validation, _HELD_BACK_AT_MOST),
            (tried, parts.test, _TRIED_AT_MOST),
        ):
            chosen = _some(part, at_most, rng)
            pictures.append(_at_serving_size(cache.gather(chosen)))
            if pictures is not tried:
                names += chosen
        used = len(taught[-1]) + len(held_back[-1])
        words.append(f"{used:,} pictures of train_val ({radiographs.source})")
    return Chests(
        np.concatenate(taught),
        np.concatenate(held_back),
        np.concatenate(tried),
        " and ".join(words),
        list_hash(tuple(names)),
    )


def _at_serving_size(pictures: Pictures) -> Pictures:
    if pictures.shape[1] == INPUT_SIZE_PX:
        return pictures
    return np.stack([resize_uint8(picture, INPUT_SIZE_PX) for picture in pictures])


def _some(names: tuple[str, ...], at_most: int, rng: np.random.Generator) -> tuple[str, ...]:
    if len(names) <= at_most:
        return names
    return tuple(names[place] for place in sorted(rng.choice(len(names), at_most, replace=False).tolist()))
