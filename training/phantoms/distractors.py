"""Things on a film that are no finding: devices, clothes, soft tissue and skin folds.

They are drawn independently of the findings, so that no model can learn a finding from the drain beside it, and each
imitates the brightness (not the shape) of some finding.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.phantoms.anatomy import SIDES, Chest
from training.phantoms.canvas import CANVAS_PX, Points, Strokes, bezier, fill_outline, wobbly_ellipse
from training.phantoms.layers import Thickness


def _draw_breasts(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    sag = rng.uniform(0.62, 0.86)
    size = rng.uniform(0.42, 0.62)
    strength = rng.uniform(0.06, 0.24)
    for side in SIDES:
        half = chest.half_width[0 if side < 0 else 1]
        centre = (chest.midline_x + side * half * rng.uniform(0.62, 0.78), chest.apex_y + chest.height * sag)
        radii = (half * size, chest.height * rng.uniform(0.20, 0.32))
        shape = fill_outline(wobbly_ellipse(centre, radii, 0.04, rng), rng.uniform(2.5, 7))
        upper = np.clip((np.arange(CANVAS_PX) - (centre[1] - radii[1])) / (1.3 * radii[1]), 0, 1).astype(np.float32)
        layers.body += shape * upper[:, None] * np.float32(strength * rng.uniform(0.75, 1.25))


def _draw_nipples(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    height = chest.apex_y + chest.height * rng.uniform(0.70, 0.86)
    strength = rng.uniform(0.06, 0.13)
    for side in SIDES:
        centre = (chest.midline_x + side * chest.half_width[0] * rng.uniform(0.6, 0.68), height + rng.normal(0, 4))
        radius = rng.uniform(8, 12)
        layers.body += fill_outline(wobbly_ellipse(centre, (radius, radius), 0.03, rng), 2.5) * np.float32(strength)


def _draw_hila(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    for side in SIDES:
        centre = (
            chest.midline_x + side * chest.mediastinum_half_width * rng.uniform(0.9, 1.2),
            chest.apex_y + chest.height * rng.uniform(0.40, 0.50),
        )
        radii = (rng.uniform(12, 24), rng.uniform(22, 42))
        layers.body += fill_outline(wobbly_ellipse(centre, radii, 0.25, rng), 6) * np.float32(rng.uniform(0.04, 0.20))


def _draw_skin_folds(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    """Draw a fold: a one-sided edge that runs past the lung's border, with vessels on both of its sides."""
    side = SIDES[int(rng.integers(2))]
    half = chest.half_width[0]
    top = np.array([chest.midline_x + side * half * rng.uniform(0.5, 0.8), chest.apex_y - rng.uniform(30, 70)])
    low = np.array(
        [chest.midline_x + side * half * rng.uniform(0.75, 1.15), chest.apex_y + chest.height * rng.uniform(0.5, 1)]
    )
    curve = bezier(top, (top + low) / 2 + np.array([side * rng.uniform(-14, 30), 0]), low)
    shade = np.concatenate([curve, curve[::-1] - np.array([side * rng.uniform(16, 40), 0])])
    layers.body += fill_outline(shade, 4.0) * np.float32(rng.uniform(0.05, 0.12))
    edge = Strokes()
    edge.line(curve, rng.uniform(2, 4), 1.0)
    layers.body += edge.layer(1.2) * np.float32(rng.uniform(0.03, 0.09))


def _draw_patches(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    """Shift the brightness of broad regions (scatter, muscle, grid cut-off), so that brightness says little."""
    for side, strength in ((4, rng.uniform(0.02, 0.09)), (8, rng.uniform(0.02, 0.07))):
        field = cv2.resize(
            rng.standard_normal((side, side), dtype=np.float32), (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC
        )
        layers.body += field * np.float32(strength)
    for lung in layers.lungs:
        layers.body += lung * np.float32(rng.normal(0, 0.07))
    for _ in range(int(rng.integers(0, 4))):
        centre = (
            chest.midline_x + rng.uniform(-1.1, 1.1) * chest.half_width[0],
            chest.apex_y + rng.uniform(0.0, 1.1) * chest.height,
        )
        pad = wobbly_ellipse(centre, (rng.uniform(30, 90), rng.uniform(30, 90)), 0.15, rng)
        layers.body += fill_outline(pad, rng.uniform(16, 28)) * np.float32(rng.uniform(0.06, 0.22))


def _draw_gastric_bubble(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    centre = (chest.midline_x + chest.half_width[1] * rng.uniform(0.35, 0.65), chest.angle_y(1) + rng.uniform(-4, 40))
    shape = wobbly_ellipse(centre, (rng.uniform(16, 44), rng.uniform(12, 30)), 0.15, rng)
    layers.body -= fill_outline(shape, 2.0) * np.float32(rng.uniform(0.15, 0.40))


def _wander(start: Points, end: Points, spread: float, rng: np.random.Generator) -> Points:
    middle = (start + end) / 2 + rng.normal(0, spread, 2)
    return bezier(start, middle, end, 24)


def _draw_leads(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    metal, wire = Strokes(), Strokes()
    for _ in range(int(rng.integers(2, 6))):
        spot = np.array(
            [
                chest.midline_x + rng.uniform(-1.1, 1.1) * chest.half_width[0],
                chest.apex_y + rng.uniform(0.02, 1.0) * chest.height,
            ]
        )
        radius = rng.uniform(4, 6)
        metal.area(wobbly_ellipse((spot[0], spot[1]), (radius, radius), 0.0, rng), 1.0)
        edge = np.array([rng.choice([10.0, CANVAS_PX - 10.0]), spot[1] + rng.uniform(-150, 200)])
        wire.line(_wander(spot, edge, 60, rng), 2, 1.0)
    layers.body += metal.layer(0.6) * np.float32(rng.uniform(0.6, 0.9))
    layers.body += wire.layer(0.6) * np.float32(rng.uniform(0.12, 0.35))


def _draw_pacemaker(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    side = 1 if rng.random() < 0.8 else -1
    can = (chest.midline_x + side * chest.half_width[1] * rng.uniform(0.75, 1.05), chest.apex_y + rng.uniform(55, 110))
    box = Strokes()
    box.area(wobbly_ellipse(can, (rng.uniform(24, 34), rng.uniform(22, 30)), 0.06, rng), 1.0)
    entry = np.array([chest.midline_x + 12, chest.apex_y + 60])
    tip = np.array([chest.midline_x + rng.uniform(10, 70), chest.apex_y + chest.height * rng.uniform(0.72, 0.9)])
    lead = Strokes()
    lead.line(_wander(np.array(can), entry, 20, rng), 2, 1.0)
    lead.line(_wander(entry, tip, 40, rng), 2, 1.0)
    layers.body += box.layer(0.8) * np.float32(rng.uniform(0.6, 0.9))
    layers.body += lead.layer(0.5) * np.float32(rng.uniform(0.35, 0.6))


def _draw_tubes(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    sheet = Strokes()
    x, top = chest.midline_x, chest.apex_y
    if rng.random() < 0.5:
        sheet.line(_wander(np.array([x, 0.0]), np.array([x, top + rng.uniform(50, 90)]), 6, rng), 5, 0.6)
    if rng.random() < 0.5:
        low = np.array([x + rng.uniform(20, 70), chest.angle_y(1) + rng.uniform(0, 60)])
        sheet.line(_wander(np.array([x + 4, 0.0]), low, 16, rng), 3, 0.8)
    if rng.random() < 0.6:
        side = SIDES[int(rng.integers(2))]
        entry = np.array([x + side * chest.half_width[0] * rng.uniform(0.3, 1.1), top + rng.uniform(-30, 40)])
        sheet.line(_wander(entry, np.array([x - 14, top + rng.uniform(90, 190)]), 30, rng), 2, 0.9)
    if rng.random() < 0.25:
        side = SIDES[int(rng.integers(2))]
        entry = np.array([x + side * chest.half_width[0] * 1.3, top + chest.height * rng.uniform(0.5, 0.9)])
        tip = np.array(
            [x + side * chest.half_width[0] * rng.uniform(0.4, 0.8), top + chest.height * rng.uniform(0.1, 0.8)]
        )
        sheet.line(_wander(entry, tip, 30, rng), 6, 0.7)
    layers.body += sheet.layer(0.7) * np.float32(rng.uniform(0.2, 0.4))


def _draw_marker(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    sheet = Strokes()
    right = rng.random() < 0.5
    corner = (int(rng.uniform(95, 130)) if right else int(rng.uniform(500, 535)), int(rng.uniform(90, 190)))
    sheet.text("R" if right else "L", corner, rng.uniform(0.7, 1.1), 1.0)
    if chest.anteroposterior and rng.random() < 0.5:
        sheet.text(str(rng.choice(["PORTABLE", "AP", "SUPINE"])), (corner[0] - 15, corner[1] + 25), 0.4, 1.0)
    layers.body += sheet.layer(0.5) * np.float32(0.9)


def draw_distractors(chest: Chest, layers: Thickness, rng: np.random.Generator) -> None:
    """Draw a random choice of distractors into `layers` (changed in place); bedside films carry more devices."""
    bedside = chest.anteroposterior
    for chance, draw in (
        (0.5, _draw_breasts),
        (0.25, _draw_nipples),
        (0.8, _draw_hila),
        (0.35, _draw_skin_folds),
        (1.0, _draw_patches),
        (0.4, _draw_gastric_bubble),
        (0.55 if bedside else 0.15, _draw_leads),
        (0.12, _draw_pacemaker),
        (0.5 if bedside else 0.15, _draw_tubes),
        (0.8, _draw_marker),
    ):
        if rng.random() < chance:
            draw(chest, layers, rng)
