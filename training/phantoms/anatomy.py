"""Geometry of the chest phantom: chest wall, lungs, diaphragm and heart as outlines.

A side is -1 for the viewer's left (the patient's right) and +1 for the viewer's right. Lengths are canvas px (see
`training.phantoms.canvas`). Proportions are plain anatomy drawn by eye, not measured from any film.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.phantoms.canvas import CANVAS_PX, Points

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

    def dome(self, side: int) -> Points:
        """Return points [24, 2] of the diaphragm from the costophrenic angle to the midline."""
        u = np.linspace(0, 1, 24)
        width, medial = self._of(self.half_width, side), self.mediastinum_half_width
        x = self.midline_x + side * (width - u * (width - medial))
        return np.stack([x, self.angle_y(side) - self._of(self.dome_rise, side) * np.interp(u, _DOME_U, _DOME_Y)], 1)

    def lung(self, side: int) -> Points:
        """Return the closed outline [N, 2] of one lung."""
        medial = self.midline_x + side * self.mediastinum_half_width
        dome = self.dome(side)
        back = np.array(
            [
                [medial, dome[-1, 1]],
                [medial, self.apex_y + 0.25 * self.height],
                [medial + side * 4, self.apex_y + 0.12 * self.height],
                [self.midline_x + side * 0.30 * self._of(self.half_width, side), self.apex_y + 0.03 * self.height],
            ]
        )
        return np.concatenate([self.wall(side, np.linspace(0, 1, 48) ** 2), dome, back])

    def heart(self) -> Points:
        """Return the closed outline [64, 2] of the heart; its width is `cardiothoracic_ratio` of the chest's."""
        width = self.cardiothoracic_ratio * sum(self.half_width)
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        shape = np.stack([np.cos(angle), 0.72 * np.sin(angle)], 1)
        turn = np.array(
            [[np.cos(self.heart_tilt), np.sin(self.heart_tilt)], [-np.sin(self.heart_tilt), np.cos(self.heart_tilt)]]
        )
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
