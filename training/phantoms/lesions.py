"""The drawn findings: each changes the phantom's thickness layers and gives the outline its box is taken from.

Signs are local (an edge, a texture, a line), never a shift of the whole picture's brightness. Sizes and places follow
`training.phantoms.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from training.phantoms.anatomy import SIDES, Chest
from training.phantoms.canvas import (
    PICTURE_PX_PER_CANVAS_PX,
    Layer,
    Points,
    Strokes,
    bezier,
    cloud,
    fill_outline,
    soften,
    wobbly_ellipse,
)
from training.phantoms.folder import PhantomDatasetError
from training.phantoms.layers import Thickness
from training.phantoms.statistics import (
    BOX_SUMMARIES,
    DRAWN_FINDINGS,
    NOMINAL_LUNG_HALF_WIDTH_PX,
    SUMMARY_LEVELS,
    draw_from_summary,
)

_PLACING_TRIES = 60


@dataclass(frozen=True)
class Lesion:
    """One drawn lesion.

    Attributes
    ----------
    label
        One of `training.phantoms.statistics.DRAWN_FINDINGS`.
    outline
        Float [N, 2] points (x, y), canvas px, whose bounds are the lesion's box.
    """

    label: str
    outline: Points


def _drawn_size(label: str, rng: np.random.Generator) -> tuple[float, float]:
    """Return width and height in canvas px; both sides come from one quantile, as the boxes' sides correlate."""
    summary = BOX_SUMMARIES[label]
    level = np.random.default_rng(rng.integers(2**63)).random()
    width = float(np.interp(level, SUMMARY_LEVELS, summary.width_px))
    height = float(np.interp(level, SUMMARY_LEVELS, summary.height_px))
    stretch = np.exp(rng.normal(0, summary.aspect_log_sd) / 2)
    return width / stretch / PICTURE_PX_PER_CANVAS_PX, height * stretch / PICTURE_PX_PER_CANVAS_PX


def _place(label: str, chest: Chest, room: Layer, reach_px: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return a centre (x, y) inside open lung, distributed as the boxes of `label` are within the lungs.

    `room` is the distance to the nearest border of open lung (canvas px); the best of the tries is taken where none
    leaves `reach_px`.
    """
    summary = BOX_SUMMARIES[label]
    best, best_room = (chest.midline_x, chest.apex_y), -1.0
    for _ in range(_PLACING_TRIES):
        side = SIDES[int(rng.integers(2))]
        half = chest.half_width[0 if side < 0 else 1]
        distance = draw_from_summary(summary.midline_distance_px, rng) / NOMINAL_LUNG_HALF_WIDTH_PX
        x = chest.midline_x + side * half * distance
        # the boxes' y runs from 140 (apex) to about 800 px (costophrenic angle) in an average film
        y = chest.apex_y + chest.height * (draw_from_summary(summary.centre_y_px, rng) - 140) / 660
        here = float(room[int(np.clip(y, 0, room.shape[0] - 1)), int(np.clip(x, 0, room.shape[1] - 1))])
        if here > best_room:
            best, best_room = (x, y), here
        if here >= reach_px:
            break
    return best


def _room(layers: Thickness) -> Layer:
    return np.asarray(cv2.distanceTransform((layers.open_lung > 0.5).astype(np.uint8), cv2.DIST_L2, 3), np.float32)


def _mask_outline(mask: Layer, level: float) -> Points:
    """Return the pixels of `mask` above `level` as points [N, 2]."""
    rows, columns = np.nonzero(mask > level)
    return np.stack([columns, rows], axis=1).astype(np.float64)


def _draw_nodule(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    room = _room(layers)
    lesions = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))):
        width, height = _drawn_size("Nodule", rng)
        centre = _place("Nodule", chest, room, 0.5 * max(width, height), rng)
        outline = wobbly_ellipse(centre, (width / 2, height / 2), 0.05, rng)
        layers.body += fill_outline(outline, 1.4) * np.float32(rng.uniform(0.32, 0.46))
        lesions.append(Lesion("Nodule", outline))
        cv2.circle(room, (int(centre[0]), int(centre[1])), int(max(width, height)), 0.0, -1)
    return lesions


def _draw_mass(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    width, height = _drawn_size("Mass", rng)
    centre = _place("Mass", chest, _room(layers), 0.36 * max(width, height), rng)
    outline = wobbly_ellipse(centre, (width / 2, height / 2), 0.16, rng)
    shape = fill_outline(outline, 2.0)
    layers.body += shape * (np.float32(rng.uniform(0.36, 0.48)) * (1 + np.float32(0.05) * cloud(14, rng)))
    layers.texture *= 1 - 0.7 * shape
    return [Lesion("Mass", outline)]


def _draw_consolidation(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    width, height = _drawn_size("Consolidation", rng)
    centre = _place("Consolidation", chest, _room(layers), 0.30 * min(width, height), rng)
    envelope = fill_outline(wobbly_ellipse(centre, (width / 2, height / 2), 0.2, rng), 9.0)
    patches = np.clip(envelope * 2.6 - 0.75 + 0.34 * cloud(22, rng) + 0.16 * cloud(9, rng), 0, 1)
    side = 0 if centre[0] < chest.midline_x else 1
    patches *= layers.lungs[side] * (envelope > 0.02)
    airways = Strokes()
    start = np.array([chest.midline_x + SIDES[side] * chest.mediastinum_half_width, centre[1] - 0.2 * height])
    for _ in range(5):
        tip = np.array(centre) + rng.uniform(-0.5, 0.5, 2) * np.array([width, height])
        airways.line(bezier(start, (start + tip) / 2 + rng.normal(0, 6, 2), tip), rng.uniform(3, 4.5), 1.0)
    opacity = patches * np.float32(rng.uniform(0.34, 0.46)) * (1 - 0.55 * airways.layer(0.8) * envelope)
    layers.body += opacity.astype(np.float32) * (0.25 + np.float32(0.75) * layers.open_lung)
    layers.texture *= 1 - 0.5 * patches
    return [Lesion("Consolidation", _mask_outline(soften(patches, 3.0).astype(np.float32), 0.35))]


def _draw_effusion(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    """Fill one or both costophrenic angles up to a meniscus that climbs towards the wall."""
    lesions = []
    first = int(rng.integers(2))
    for index in (first, 1 - first)[: 2 if rng.random() < 0.2 else 1]:
        side = SIDES[index]
        _, height = _drawn_size("Effusion", rng)
        height = float(np.clip(height, 62, 0.75 * chest.height))
        wall_x, floor_y = chest.wall(side, 1.0)[0]
        inward = np.linspace(0, 1, 24)
        width = chest.half_width[index] - chest.mediastinum_half_width
        level = rng.uniform(0.42, 0.66)
        span = min(1.0, rng.uniform(0.55, 0.85) + height / 300)
        y = floor_y - height * (level + (1 - level) * (1 - inward) ** 2.2)
        x = wall_x + side * 8 - side * inward * (width * span + 8)
        surface = np.stack([x, y], axis=1)
        bottom = np.array([[x[-1], floor_y + 60], [x[0], floor_y + 60]])
        fluid = fill_outline(np.concatenate([surface, bottom]), 2.0) * layers.lungs[index]
        layers.body += fluid * (0.12 + np.float32(0.88) * layers.open_lung) * np.float32(rng.uniform(0.46, 0.60))
        layers.texture *= 1 - fluid
        lesions.append(Lesion("Effusion", _mask_outline(fluid, 0.4)))
    return lesions


def _draw_pneumothorax(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    """Pull the lung off the wall at its apex and side: a thin bright line, and no vessels beyond it."""
    index = int(rng.integers(2))
    side = SIDES[index]
    summary = BOX_SUMMARIES["Pneumothorax"]
    extent = float(np.clip(draw_from_summary(summary.height_px, rng) / 2 / chest.height + 0.06, 0.26, 0.92))
    depth = float(np.clip(draw_from_summary(summary.width_px, rng) * 0.26, 24, 62))
    t = np.linspace(0, 1, 48) ** 2 * extent
    wall = chest.wall(side, t)
    shape = np.clip((1 - t / extent) / 0.30, 0, 1) ** 0.7
    line = wall.copy()
    line[:, 0] -= side * depth * (0.55 + 0.45 * np.sin(np.pi * np.clip(t / extent, 0, 1))) * shape
    line[:, 1] += depth * rng.uniform(0.7, 1.2) * np.clip(1 - t / (0.6 * extent), 0, 1)
    inner = np.array([[chest.midline_x + side * chest.mediastinum_half_width * 1.15, line[0, 1] + 0.35 * depth]])
    line = np.concatenate([inner, line])
    cap = np.array([[inner[0, 0], chest.apex_y - 12]])
    space = fill_outline(np.concatenate([cap, wall, line[::-1]])) * layers.lungs[index]
    layers.body -= space * np.float32(rng.uniform(0.08, 0.16))
    layers.texture *= 1 - space
    edge = Strokes()
    edge.line(line, 2, 1.0)
    layers.body += edge.layer(0.5) * layers.lungs[index] * np.float32(rng.uniform(0.34, 0.46))
    return [Lesion("Pneumothorax", _mask_outline(space, 0.5))]


def _draw_cardiomegaly(chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    """Give the outline of the heart, which `training.phantoms.anatomy.draw_chest` has drawn large."""
    del layers, rng
    return [Lesion("Cardiomegaly", chest.heart())]


_DRAWINGS: dict[str, Callable[[Chest, Thickness, np.random.Generator], list[Lesion]]] = {
    "Effusion": _draw_effusion,
    "Consolidation": _draw_consolidation,
    "Mass": _draw_mass,
    "Nodule": _draw_nodule,
    "Pneumothorax": _draw_pneumothorax,
    "Cardiomegaly": _draw_cardiomegaly,
}


def draw_lesions(labels: tuple[str, ...], chest: Chest, layers: Thickness, rng: np.random.Generator) -> list[Lesion]:
    """Draw the findings `labels` into `layers` (changed in place) and return every lesion drawn.

    Raises
    ------
    PhantomDatasetError
        One of them is none that can be drawn: the picture would be labelled with what it does not show.
    """
    if unknown := sorted(set(labels) - set(_DRAWINGS)):
        raise PhantomDatasetError(f"{', '.join(unknown)}: cannot be drawn; choose from {', '.join(DRAWN_FINDINGS)}")
    lesions: list[Lesion] = []
    for label, draw in _DRAWINGS.items():
        if label in labels:
            lesions.extend(draw(chest, layers, rng))
    return lesions
