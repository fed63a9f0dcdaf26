"""What the check is taught with: pictures drawn at random from real material, each with its right answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.preprocess import resize_uint8
from model.suitability import OUTPUTS, Verdict
from model.suitability_network import SIZE_PX
from training.suitability.alterations import (
    blank,
    cropped,
    inverted,
    no_chest_of,
    outsider_of,
    still_frontal,
    turned,
    unaltered,
)
from training.suitability.decoys import draw_decoy

Picture = NDArray[np.uint8]
"""uint8 [S, S], bones bright."""
Pictures = NDArray[np.uint8]
"""uint8 [N, S, S], bones bright."""

_SHARES = {
    Verdict.FRONTAL: 0.40,
    Verdict.INVERTED: 0.10,
    Verdict.ROTATED_90: 0.05,
    Verdict.ROTATED_180: 0.05,
    Verdict.ROTATED_270: 0.05,
    Verdict.CROPPED: 0.08,
    Verdict.OTHER: 0.23,
    Verdict.BLANK: 0.04,
}
"""How often each answer is right among the examples."""
_UNALTERED_SHARE = 0.25
_DECOY_SHARE, _OUTSIDER_SHARE = 0.5, 0.25


@dataclass(frozen=True)
class Material:
    """Pictures that examples are made of."""

    chests: Pictures
    """Frontal chests, upright, bones bright."""
    outsiders: tuple[NDArray[np.uint8], ...] = ()
    """Real pictures of anything else, uint8 [S, S] each; drawings stand in for what is not here."""


def draw_example(material: Material, rng: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
    """Return one picture, uint8 [SIZE_PX, SIZE_PX], and the place of its right answer in ``OUTPUTS``."""
    answer = OUTPUTS[int(rng.choice(len(OUTPUTS), p=[_SHARES[verdict] for verdict in OUTPUTS]))]
    chest = material.chests[int(rng.integers(len(material.chests)))]
    return altered(answer, chest, material, rng), OUTPUTS.index(answer)


def altered(
    answer: Verdict, chest: NDArray[np.uint8], material: Material, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a picture to which this is the right answer, made of a chest where it can be; both uint8 [S, S]."""
    if answer is Verdict.FRONTAL:
        return unaltered(chest) if rng.random() < _UNALTERED_SHARE else still_frontal(chest, rng)
    if answer is Verdict.OTHER:
        return _other(chest, material, rng)
    return _MADE[answer](chest, rng)


def _other(chest: NDArray[np.uint8], material: Material, rng: np.random.Generator) -> NDArray[np.uint8]:
    chosen = rng.random()
    if chosen < _DECOY_SHARE:
        decoy = draw_decoy(rng)
        return outsider_of(decoy, rng) if rng.random() < 0.2 else resize_uint8(decoy, SIZE_PX)
    if chosen < _DECOY_SHARE + _OUTSIDER_SHARE and material.outsiders:
        return outsider_of(material.outsiders[int(rng.integers(len(material.outsiders)))], rng)
    return no_chest_of(chest, rng)


_MADE: dict[Verdict, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
    Verdict.INVERTED: inverted,
    Verdict.ROTATED_90: lambda chest, rng: turned(chest, 1, rng),
    Verdict.ROTATED_180: lambda chest, rng: turned(chest, 2, rng),
    Verdict.ROTATED_270: lambda chest, rng: turned(chest, 3, rng),
    Verdict.CROPPED: cropped,
    Verdict.BLANK: blank,
}
