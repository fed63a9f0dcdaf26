"""The phantoms' findings drawn on a real film that has none: lesions whose place and outline are known.

The lesions are those of `training.phantoms.lesions`, drawn as changes of thickness on the canvas and then laid on the
film by its pose; a large heart cannot be added as thickness and is made by stretching the film around the heart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.phantoms.anatomy import SIDES, Chest
from training.phantoms.canvas import Layer, Points, empty_layer, fill_outline
from training.phantoms.film_pose import FILM_CHEST, Pose
from training.phantoms.layers import Thickness
from training.phantoms.lesions import Lesion, draw_lesions
from training.phantoms.picture import LesionBox, posed_box

_LUNG_DEPTH = 0.58
"""Thickness that a drawn lung takes from the body on average (`training.phantoms.layers`): what the grey levels between
lung and soft tissue of a film stand for."""
_BELOW_DOME_PX = 34.0
"""Canvas px that pleural fluid reaches below the drawn dome: a film's own dome may lie lower."""
_FINE_DETAIL_SHARE = 2.2 / 256
"""Deviation of the blur that parts vessels from the rest, over the film's side."""


@dataclass(frozen=True)
class DrawnFilm:
    """A film with drawn findings: uint8 [S, S], and a box for every lesion in the 1024 px frame."""

    pixels: NDArray[np.uint8]
    boxes: tuple[LesionBox, ...]


@dataclass(frozen=True)
class _Lungs:
    """Layers of `FILM_CHEST`, 0..1."""

    sides: tuple[Layer, Layer]
    both: Layer
    open_lung: Layer
    to_floor: tuple[Layer, Layer]
    """Each lung and what lies below its dome, where fluid gathers."""


def draw_on_film(film: NDArray[np.uint8], pose: Pose, labels: tuple[str, ...], rng: np.random.Generator) -> DrawnFilm:
    """Draw findings on a film.

    Parameters
    ----------
    film
        uint8 [S, S], bones bright, without findings; it is not changed.
    pose
        What ``film_pose.pose_of`` said of it.
    labels
        Subset of `training.phantoms.statistics.DRAWN_FINDINGS`.
    rng
        Source of everything random; the same state gives the same bytes.
    """
    lesions: list[Lesion] = []
    drawn = film
    if "Cardiomegaly" in labels:
        drawn, outline = _stretched_heart(drawn, pose, rng.uniform(0.38, 0.55))
        lesions.append(Lesion("Cardiomegaly", outline))
    others = tuple(label for label in labels if label != "Cardiomegaly")
    if others:
        layers, added = _lesion_layers(others, rng)
        drawn = _laid_on(drawn, pose, layers, rng.uniform(0.5, 1.05))
        lesions += added
    return DrawnFilm(drawn, tuple(posed_box(lesion.label, lesion.outline, pose, film.shape[0]) for lesion in lesions))


@cache
def _lungs() -> _Lungs:
    first, second = (fill_outline(FILM_CHEST.lung(side)) for side in SIDES)
    both = np.maximum(first, second)
    floors = [np.maximum(lung, _below_dome(side)) for side, lung in zip(SIDES, (first, second), strict=True)]
    heart = fill_outline(FILM_CHEST.heart(), 1.6)
    return _Lungs((first, second), both, both * (1 - heart), (floors[0], floors[1]))


def _below_dome(side: int) -> Layer:
    dome = FILM_CHEST.dome(side)
    return fill_outline(np.concatenate([dome, dome[::-1] + np.array([0, _BELOW_DOME_PX])]))


def _lesion_layers(labels: tuple[str, ...], rng: np.random.Generator) -> tuple[Thickness, list[Lesion]]:
    """Return what the lesions add (``body``) and what they leave of fine detail (``texture``, 0..1)."""
    lungs, chest = _lungs(), _chest_like(FILM_CHEST, rng)
    layers = Thickness(empty_layer(), lungs.sides, lungs.open_lung, empty_layer() + 1, empty_layer())
    lesions: list[Lesion] = []
    if "Effusion" in labels:
        layers.lungs, layers.open_lung = lungs.to_floor, np.maximum(*lungs.to_floor)
        lesions += draw_lesions(("Effusion",), chest, layers, rng)
        layers.lungs, layers.open_lung = lungs.sides, lungs.open_lung
    lesions += draw_lesions(tuple(label for label in labels if label != "Effusion"), chest, layers, rng)
    return layers, lesions


def _chest_like(chest: Chest, rng: np.random.Generator) -> Chest:
    """Return the chest with the small errors a pose has, so that no lesion follows the same wall twice."""
    right, left = chest.half_width
    return replace(
        chest,
        height=chest.height + rng.normal(0, 6),
        half_width=(right + rng.normal(0, 4), left + rng.normal(0, 4)),
    )


def _laid_on(film: NDArray[np.uint8], pose: Pose, layers: Thickness, strength: float) -> NDArray[np.uint8]:
    side = film.shape[0]
    size = (side, side)
    added = np.asarray(cv2.warpAffine(layers.body, pose, size, flags=cv2.INTER_AREA), np.float32)
    kept = np.asarray(cv2.warpAffine(layers.texture, pose, size, borderValue=1.0), np.float32)
    levels = film.astype(np.float32)
    lung_level, tissue_level = _levels_beside(levels, pose)
    gain = np.float32(np.clip((tissue_level - lung_level) / _LUNG_DEPTH, 60, 260) * strength)
    coarse = np.asarray(cv2.GaussianBlur(levels, (0, 0), side * _FINE_DETAIL_SHARE), np.float32)
    levels = coarse + (np.float32(0.25) + np.float32(0.75) * kept) * (levels - coarse)
    return np.asarray(np.clip(levels + _rise(levels, gain * added, tissue_level), 0, 255), np.uint8)


def _levels_beside(levels: NDArray[np.float32], pose: Pose) -> tuple[float, float]:
    """Return the median grey level of open lung and that of the tissue just around the lungs."""
    lungs, size = _lungs(), (levels.shape[1], levels.shape[0])
    inside = cv2.warpAffine(lungs.open_lung, pose, size) > 0.5
    both = cv2.warpAffine(lungs.both, pose, size)
    reach = max(3, round(15 * levels.shape[0] / 256))
    around = (cv2.dilate(both, np.ones((reach, reach))) > 0.5) & (both < 0.2)
    if not inside.any() or not around.any():  # the chest lies outside the film
        return float(levels.mean()), float(levels.mean())
    return float(np.median(levels[inside])), float(np.median(levels[around]))


def _rise(levels: NDArray[np.float32], added: NDArray[np.float32], tissue_level: float) -> NDArray[np.float32]:
    """Return the change of grey level: what adds thickness approaches the level of soft tissue and stays below it."""
    room = np.maximum(np.float32(tissue_level * 1.05) - levels, 1)
    risen = room * (1 - np.exp(-np.maximum(added, 0) / np.maximum(room, 12)))
    return np.where(added > 0, risen, added).astype(np.float32)


def _stretched_heart(film: NDArray[np.uint8], pose: Pose, strength: float) -> tuple[NDArray[np.uint8], Points]:
    """Return the film stretched around the heart's middle, more in width than in height, and the heart's outline."""
    heart = FILM_CHEST.heart()
    middle = (heart.min(0) + heart.max(0)) / 2
    reach = np.ptp(heart, axis=0) / 2 * np.array([1.9, 1.55])
    rows, columns = np.mgrid[0 : film.shape[0], 0 : film.shape[1]].astype(np.float32)
    back = cv2.invertAffineTransform(pose)
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2] - middle[0]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2] - middle[1]
    pull = np.clip(1 - np.hypot(x / reach[0], y / reach[1]), 0, 1) ** 1.2
    from_x, from_y = -strength * pull * x, -0.55 * strength * pull * y
    source_x = columns + pose[0, 0] * from_x + pose[0, 1] * from_y
    source_y = rows + pose[1, 0] * from_x + pose[1, 1] * from_y
    stretched = cv2.remap(film, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LINEAR)
    wider = 1 / (1 - 0.75 * strength)
    outline = (heart - middle) * np.array([wider, 1 + 0.4 * (wider - 1)]) + middle
    return np.asarray(stretched, np.uint8), np.asarray(outline)
