"""Normal anatomy of the chest phantom as layers of X-ray thickness: soft tissue, lungs, vessels and bones."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.phantoms.anatomy import SIDES, Chest
from training.phantoms.canvas import CANVAS_PX, Layer, Points, Strokes, bezier, fill_outline


@dataclass
class Thickness:
    """Layers of one phantom, float32 [CANVAS_PX, CANVAS_PX]: lesions change them before they are added up.

    Attributes
    ----------
    body
        Everything but the lungs' own texture and the bones.
    lungs
        0..1, aerated lung of each side (right, left).
    open_lung
        0..1, lung not hidden by heart and central shadow: where lesions are seen.
    texture
        Vessels and grain inside the lungs.
    bones
        Ribs, clavicles, spine, shoulder blades.
    """

    body: Layer
    lungs: tuple[Layer, Layer]
    open_lung: Layer
    texture: Layer
    bones: Layer


def _body_outline(chest: Chest, flank: float) -> Points:
    """Return the skin's outline [N, 2]: neck, shoulders and arms, flanks."""
    half = max(chest.half_width)
    top = chest.apex_y
    right = np.array(
        [
            [0.30 * half, 0],
            [0.33 * half, top - 50],
            [0.62 * half, top - 22],
            [1.25 * half, top - 2],
            [1.62 * half, top + 40],
            [1.75 * half, top + 130],
            [1.66 * half, top + 240],
        ]
    )
    lower = np.array([[half + flank, top + 200], [half + flank + 3, top + 330], [half + flank + 10, CANVAS_PX]])
    outline = np.concatenate([right, lower])
    mirrored = outline[::-1] * np.array([-1, 1])
    return np.asarray(np.concatenate([outline, mirrored]) + np.array([chest.midline_x, 0]))


def _abdomen_outline(chest: Chest) -> Points:
    right, left = chest.dome(-1), chest.dome(1)
    bottom = np.array(
        [[chest.midline_x + 2 * chest.half_width[1], CANVAS_PX], [chest.midline_x - 2 * chest.half_width[0], CANVAS_PX]]
    )
    flank_left = left[0] + np.array([[60, 50]])
    flank_right = right[0] + np.array([[-60, 50]])
    return np.concatenate([right, left[::-1], flank_left, bottom, flank_right])


def _body(chest: Chest, heart: Layer, lungs: Layer, rng: np.random.Generator) -> Layer:
    body = fill_outline(_body_outline(chest, rng.uniform(14, 52)), rng.uniform(3, 7))
    tissue = rng.uniform(0.80, 1.0)
    layer = body * np.float32(tissue)
    half = chest.mediastinum_half_width * rng.uniform(0.95, 1.1)
    column = np.array([[-half * 0.8, 0], [half * 0.8, 0], [half, CANVAS_PX], [-half, CANVAS_PX]])
    central = fill_outline(column + np.array([chest.midline_x, 0]), 4) * np.float32(rng.uniform(0.15, 0.28))
    layer -= lungs * (1 - np.float32(rng.uniform(0.70, 0.95)) * heart) * np.float32(rng.uniform(0.50, 0.66))
    abdomen = fill_outline(_abdomen_outline(chest), 1.2) * np.float32(rng.uniform(0.10, 0.26))
    layer += np.maximum(np.maximum(abdomen, central), heart * np.float32(rng.uniform(0.08, 0.24)))
    knob = (chest.midline_x + half * 0.9, chest.apex_y + 0.27 * chest.height)
    angle = np.linspace(0, 2 * np.pi, 24)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(12, 22) + np.array(knob)
    layer += fill_outline(circle, 2.0) * np.float32(rng.uniform(0.10, 0.22))
    airway = np.array([[chest.midline_x, 0], [chest.midline_x + rng.normal(0, 5), chest.apex_y + 0.3 * chest.height]])
    windpipe = Strokes()
    windpipe.line(airway, rng.uniform(12, 17), 1.0)
    layer -= windpipe.layer(2.0) * np.float32(rng.uniform(0.10, 0.20))
    return layer


def _ribs(chest: Chest, rng: np.random.Generator) -> Layer:
    """Return the rib cage: posterior ribs with bright cortical edges and fainter anterior ones."""
    posterior, anterior = Strokes(), Strokes()
    spacing = chest.height / rng.uniform(8.6, 10.0)
    width = rng.uniform(8, 12)
    drop = rng.uniform(0.2, 0.9) * spacing
    for side in SIDES:
        start_y = chest.apex_y - 0.5 * spacing + rng.normal(0, 3)
        for rib in range(11):
            y = start_y + rib * spacing
            t = np.clip((y + drop - chest.apex_y) / chest.height, 0.02, 1.15)
            wall = chest.wall(side, float(t))[0] + np.array([side * 3, 0])
            wall[1] = y + drop * 1.2
            begin = np.array([chest.midline_x + side * 10, y])
            curve = bezier(begin, np.array([(begin[0] + 2 * wall[0]) / 3, y - 0.45 * spacing]), wall)
            posterior.line(curve, width, 1.0)
            posterior.line(curve, width - 4, 0.62)
            if 1 <= rib <= 8:
                end = np.array([chest.midline_x + side * 0.42 * max(chest.half_width), wall[1] + 2.1 * spacing])
                curve = bezier(wall, np.array([wall[0] - side * 6, wall[1] + 1.4 * spacing]), end)
                anterior.line(curve, width + 2, 1.0)
                anterior.line(curve, width - 3, 0.55)
    strength = rng.uniform(0.07, 0.17)
    return posterior.layer(0.8) * np.float32(strength) + anterior.layer(1.0) * np.float32(strength * 0.55)


def _spine_and_shoulders(chest: Chest, rng: np.random.Generator) -> Layer:
    bones = Strokes()
    step = chest.height / rng.uniform(11, 13)
    for y in np.arange(20, CANVAS_PX, step):
        box = np.array([[-15, 0], [15, 0], [13, step * 0.5], [15, step * 0.82], [-15, step * 0.82], [-13, step * 0.5]])
        bones.area(box + np.array([chest.midline_x, y]), 0.75)
    blade = Strokes()
    lateral = rng.uniform(1.0, 1.12) if chest.anteroposterior else rng.uniform(1.12, 1.3)
    turn = rng.normal(0, 0.12)
    for side in SIDES:
        half = max(chest.half_width)
        inner = np.array([chest.midline_x + side * 0.12 * half, chest.apex_y + rng.uniform(12, 40)])
        outer = np.array([chest.midline_x + side * 1.2 * half, chest.apex_y + rng.uniform(-22, 12) + turn * side * 40])
        middle = (inner + outer) / 2 + np.array([0, rng.uniform(-14, 10)])
        curve = bezier(inner, middle, outer)
        bones.line(curve, 12, 1.0)
        bones.line(curve, 7, 0.7)
        x = chest.midline_x + side * half * lateral * rng.uniform(0.94, 1.04)
        wing = np.array([[0, 10], [52, -4], [46, 40], [10, 128], [-22, 90], [-26, 40]]) * np.array([side, 1])
        blade.area(wing + np.array([x, chest.apex_y]), 0.7)
    strength = rng.uniform(0.10, 0.20)
    return bones.layer(1.0) * np.float32(strength) + blade.layer(1.5) * np.float32(rng.uniform(0.04, 0.12))


def _vessels(chest: Chest, rng: np.random.Generator) -> Layer:
    """Return the branching vessels of both lungs, strongest at the hila."""
    sheet = Strokes()
    for side in SIDES:
        hilum = np.array(
            [chest.midline_x + side * chest.mediastinum_half_width * 1.1, chest.apex_y + 0.45 * chest.height]
        )
        for _ in range(int(rng.integers(8, 13))):
            heading = rng.uniform(-1.45, 1.45)
            _branch(sheet, hilum, heading, side, rng.uniform(3.0, 5.0), chest.height * 0.17, rng)
    return sheet.layer()


def _branch(
    sheet: Strokes, start: Points, heading: float, side: int, width: float, length: float, rng: np.random.Generator
) -> None:
    if width < 1.3:
        return
    length *= rng.uniform(0.75, 1.2)
    tip = start + length * np.array([side * np.cos(heading), np.sin(heading)])
    bend = (start + tip) / 2 + rng.normal(0, length * 0.08, 2)
    sheet.line(bezier(start, bend, tip, 6), width, 0.30 + 0.14 * width)
    for turn in (rng.uniform(0.1, 0.5), -rng.uniform(0.1, 0.5)):
        _branch(sheet, tip, heading + turn, side, width * 0.66, length * 0.80, rng)


def draw_anatomy(chest: Chest, rng: np.random.Generator) -> Thickness:
    """Draw the normal anatomy of `chest` as thickness layers."""
    lungs = (fill_outline(chest.lung(-1)), fill_outline(chest.lung(1)))
    both = np.maximum(lungs[0], lungs[1])
    heart = fill_outline(chest.heart(), 1.6)
    body = _body(chest, heart, both, rng)
    coarse = rng.standard_normal((CANVAS_PX // 2, CANVAS_PX // 2), dtype=np.float32)
    grain = np.asarray(cv2.resize(coarse, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_LINEAR), np.float32)
    texture = _vessels(chest, rng) * np.float32(rng.uniform(0.13, 0.24)) + grain * np.float32(rng.uniform(0.008, 0.02))
    open_lung = both * (1 - heart)
    bones = _ribs(chest, rng) * (0.4 + np.float32(0.6) * both) + _spine_and_shoulders(chest, rng)
    return Thickness(body, lungs, open_lung, texture * (both * (1 - np.float32(0.75) * heart)), bones)
