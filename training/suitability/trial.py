"""What a check is worth on pictures it was not taught with: how many that must pass do, how many others are caught."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.suitability import SuitabilityCheck
from training.suitability.alterations import blank, cropped, still_frontal
from training.suitability.decoys import draw_decoy
from training.suitability.examples import Pictures

UPRIGHT = "frontal chests as they are, passed"
_DECOYS = 500
_SEED = 4

Alteration = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]

_MUST_BE_CAUGHT: dict[str, Alteration] = {
    "inverted, caught": lambda chest, rng: 255 - chest,
    "turned by 90 degrees, caught": lambda chest, rng: np.ascontiguousarray(np.rot90(chest)),
    "turned by 180 degrees, caught": lambda chest, rng: np.ascontiguousarray(np.rot90(chest, 2)),
    "turned by 270 degrees, caught": lambda chest, rng: np.ascontiguousarray(np.rot90(chest, 3)),
    "cut so that a large part is missing, caught": cropped,
    "made nearly blank, caught": blank,
}


def try_check(check: SuitabilityCheck, chests: Pictures, part: str) -> dict[str, Any]:
    """Return the table of a trial: by what was done, how many of how many ended as they must.

    Parameters
    ----------
    chests
        Frontal chests the check was not taught with, uint8 [N, S, S].
    part
        Which pictures these are, in words.
    """
    rng = np.random.default_rng([2017, _SEED])
    rows = {UPRIGHT: _passed(check, chests)}
    mild = [still_frontal(chest, rng, 0.5) for chest in chests]
    rows["mirrored or turned, cut, framed, exposed a little otherwise, passed"] = _passed(check, mild)
    for name, alter in _MUST_BE_CAUGHT.items():
        rows[name] = _caught(check, (alter(chest, rng) for chest in chests))
    rows["drawn decoys, caught"] = _caught(check, (draw_decoy(rng) for _ in range(_DECOYS)))
    return {"pictures": part, "rows": rows}


def _passed(check: SuitabilityCheck, pictures: Iterable[NDArray[np.uint8]]) -> list[int]:
    verdicts = [check.judge(picture).suitable for picture in pictures]
    return [sum(verdicts), len(verdicts)]


def _caught(check: SuitabilityCheck, pictures: Iterable[NDArray[np.uint8]]) -> list[int]:
    passed, of = _passed(check, pictures)
    return [of - passed, of]
