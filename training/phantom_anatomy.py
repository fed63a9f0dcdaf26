"""Normal anatomy of the chest phantom: its geometry and its thickness layers.

A side is -1 for the viewer's left (the patient's right) and +1 for the viewer's right. Lengths are canvas px (see
`training.phantom_canvas`). Proportions are plain anatomy drawn by eye, not measured from any film.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.phantom_canvas import CANVAS_PX, Layer, Points, Strokes, bezier, fill_outline

SIDES = (-1, 1)

_DOME_U = (0.0, 0.06, 0.18, 0.42, 0.65, 0.85, 1.0)
_DOME_Y = (0.0, 0.42, 0.72, 0.97, 1.0, 0.92, 0.78)


@dataclass(frozen=True)
class Chest:
    """Geometry of one chest.

    Attributes
    ----------
    midline_x, apex_y, height
        Spine and highest point of the lungs; `height` runs down to the costophrenic angles.
    half_width
        Inner half-width of the chest, right then left side.
    dome_rise, base_shift
        Height of each diaphragm dome over its angle, and how far each angle is raised.
    mediastinum_half_width
        Half-width of the central shadow over the heart.
    cardiothoracic_ratio
        Heart width over inner chest width (normal below 0.5).
    heart_offset, heart_aspect, heart_tilt
        Where the heart lies: share of its width on the patient's left of the midline, height over width, radians.
    anteroposterior
        True for an AP (bedside) film.
    """

    midline_x: float
    apex_y: float
    height: float
    half_width: tuple[float, float]
    dome_rise: tuple[float, float]
    base_shift: tuple[float, float]
    mediastinum_half_width: float
    cardiothoracic_ratio: float
    heart_offset: float
    heart_aspect: float
    heart_tilt: float
    anteroposterior: bool

    def _of(self, pair: tuple[float, float], side: int) -> float:
        return pair[0] if side < 0 else pair[1]

    def angle_y(self, side: int) -> float:
        """Return the y of the costophrenic angle of one side."""
        return self.apex_y + self.height - self._of(self.base_shift, side)

    def wall(self, side: int, t: Points | float) -> Points:
        """Return points [N, 2] of the inner chest wall; `t` runs from 0 (apex) to 1 (costophrenic angle)."""
        t = np.atleast_1d(np.asarray(t, np.float64))
        bulge = np.sqrt(1 - np.clip(1 - t, 0, 1) ** 3)
        out = (0.42 + 0.58 * bulge) * self._of(self.half_width, side)
        return np.stack([self.midline_x + side * out, self.apex_y + t * (self.angle_y(side) - self.apex_y)], axis=1)

    def dome(self, side: int, count: int = 24) -> Points:
        """Return points [count, 2] of the diaphragm from the costophrenic angle to the midline."""
        u = np.linspace(0, 1, count)
        width, medial = self._of(self.half_width, side), self.mediastinum_half_width
        x = self.midline_x + side * (width - u * (width - medial))
        return np.stack([x, self.angle_y(side) - self._of(self.dome_rise, side) * np.interp(u, _DOME_U, _DOME_Y)], 1)

    def lung(self, side: int) -> Points:
        """Return the closed outline [N, 2] of one lung."""
        medial = self.midline_x + side * self.mediastinum_half_width
        dome = self.dome(side)
        back = np.array([
            [medial, dome[-1, 1]], [medial, self.apex_y + 0.25 * self.height],
            [medial + side * 4, self.apex_y + 0.12 * self.height],
            [self.midline_x + side * 0.30 * self._of(self.half_width, side), self.apex_y + 0.03 * self.height],
        ])
        return np.concatenate([self.wall(side, np.linspace(0, 1, 48) ** 2), dome, back])

    def heart(self) -> Points:
        """Return the closed outline [64, 2] of the heart; its width is `cardiothoracic_ratio` of the chest's."""
        width = self.cardiothoracic_ratio * sum(self.half_width)
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        shape = np.stack([np.cos(angle), 0.72 * np.sin(angle)], 1)
        turn = np.array([[np.cos(self.heart_tilt), np.sin(self.heart_tilt)],
                         [-np.sin(self.heart_tilt), np.cos(self.heart_tilt)]])
        shape = shape @ turn
        shape = (shape - shape.min(0)) / np.ptp(shape, axis=0)
        left = self.midline_x - (1 - self.heart_offset) * width
        low = max(self.dome(-1)[-1, 1], self.dome(1)[-1, 1]) + 8
        height = self.heart_aspect * width
        return np.asarray(np.array([left, low - height]) + shape * np.array([width, height]))


def draw_chest(rng: np.random.Generator, *, cardiomegaly: bool, anteroposterior: bool) -> Chest:
    """Draw the geometry of a chest: build, breath, asymmetry and heart vary widely and independently of findings."""
    build = rng.uniform(145, 205)
    skew = rng.normal(0, 0.035)
    breath = rng.uniform(270, 375) - (22 if anteroposterior else 0)
    raised = [float(abs(rng.normal(0, 14)) + (rng.uniform(20, 85) if rng.random() < 0.25 else 0)) for _ in SIDES]
    ratio = rng.uniform(0.575, 0.69) if cardiomegaly else rng.uniform(0.38, 0.485)
    return Chest(
        midline_x=CANVAS_PX / 2 + rng.normal(0, 6),
        apex_y=CANVAS_PX / 2 - breath / 2 + rng.normal(0, 10),
        height=breath,
        half_width=(build * (1 + skew), build * (1 - skew)),
        dome_rise=(rng.uniform(34, 72), rng.uniform(30, 66)),
        base_shift=(raised[0], raised[1]),
        mediastinum_half_width=build * rng.uniform(0.15, 0.25),
        cardiothoracic_ratio=ratio,
        heart_offset=rng.uniform(0.54, 0.74),
        heart_aspect=rng.uniform(0.68, 0.92),
        heart_tilt=rng.uniform(0.35, 0.85),
        anteroposterior=anteroposterior,
    )


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
    right = np.array([[0.30 * half, 0], [0.33 * half, top - 50], [0.62 * half, top - 22], [1.25 * half, top - 2],
                      [1.62 * half, top + 40], [1.75 * half, top + 130], [1.66 * half, top + 240]])
    lower = np.array([[half + flank, top + 200], [half + flank + 3, top + 330], [half + flank + 10, CANVAS_PX]])
    outline = np.concatenate([right, lower])
    mirrored = outline[::-1] * np.array([-1, 1])
    return np.asarray(np.concatenate([outline, mirrored]) + np.array([chest.midline_x, 0]))


def _abdomen_outline(chest: Chest) -> Points:
    right, left = chest.dome(-1), chest.dome(1)
    bottom = np.array([[chest.midline_x + 2 * chest.half_width[1], CANVAS_PX],
                       [chest.midline_x - 2 * chest.half_width[0], CANVAS_PX]])
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
        wing = np.array([[0, 10], [side * 52, -4], [side * 46, 40], [side * 10, 128], [-side * 22, 90], [-side * 26, 40]])
        blade.area(wing + np.array([x, chest.apex_y]), 0.7)
    strength = rng.uniform(0.10, 0.20)
    return bones.layer(1.0) * np.float32(strength) + blade.layer(1.5) * np.float32(rng.uniform(0.04, 0.12))


def _vessels(chest: Chest, rng: np.random.Generator) -> Layer:
    """Return the branching vessels of both lungs, strongest at the hila."""
    sheet = Strokes()
    for side in SIDES:
        hilum = np.array([chest.midline_x + side * chest.mediastinum_half_width * 1.1,
                          chest.apex_y + 0.45 * chest.height])
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
    grain = rng.standard_normal((CANVAS_PX // 2, CANVAS_PX // 2), dtype=np.float32)
    grain = cv2.resize(grain, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_LINEAR)
    texture = _vessels(chest, rng) * np.float32(rng.uniform(0.13, 0.24)) + grain * np.float32(rng.uniform(0.008, 0.02))
    open_lung = both * (1 - heart)
    bones = _ribs(chest, rng) * (0.4 + np.float32(0.6) * both) + _spine_and_shoulders(chest, rng)
    return Thickness(body, lungs, open_lung, texture * (both * (1 - np.float32(0.75) * heart)), bones)

