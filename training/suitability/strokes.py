"""Strokes that decoys are drawn with: rods, bones, blocks, ellipses, clouds, each as a sheet of X-ray thickness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

DECOY_PX = 128

Sheet = NDArray[np.float32]
"""X-ray thickness, float32 [DECOY_PX, DECOY_PX], about 0..3; bones add to the flesh around them."""
Points = NDArray[np.float64]
"""Places (x, y) in px of the sheet, [2] or [N, 2]."""

_SUBPIXEL_BITS = 4


def at(x: float, y: float) -> Points:
    """Return a place or a shift."""
    return np.array([x, y], np.float64)


def blank() -> Sheet:
    """Return an empty sheet."""
    return np.zeros((DECOY_PX, DECOY_PX), np.float32)


def direction(angle: float) -> Points:
    """Return the unit vector (x, y) at this angle from straight down, rad."""
    return np.array([np.sin(angle), np.cos(angle)])


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32).reshape(-1, 1, 2)


def _soft(sheet: Sheet, blur: float) -> Sheet:
    return sheet if blur < 0.3 else np.asarray(cv2.GaussianBlur(sheet, (0, 0), blur), np.float32)


def filled(outline: Points, blur: float) -> Sheet:
    """Return a filled outline, softened by ``blur`` px."""
    sheet = np.zeros((DECOY_PX, DECOY_PX), np.uint8)
    cv2.fillPoly(sheet, [_fixed(outline)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _soft(sheet.astype(np.float32) / np.float32(255), blur)


def line(points: Points, width: float, blur: float) -> Sheet:
    """Return an open line."""
    sheet = np.zeros((DECOY_PX, DECOY_PX), np.uint8)
    cv2.polylines(sheet, [_fixed(points)], False, 255, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL_BITS)
    return _soft(sheet.astype(np.float32) / np.float32(255), blur)


def letters(centre: Points, rng: np.random.Generator) -> Sheet:
    """Return some letters near a place."""
    sheet = np.zeros((DECOY_PX, DECOY_PX), np.uint8)
    letters = "".join(map(chr, rng.integers(48, 91, 8)))
    place = (int(centre[0]) - 40, int(centre[1]))
    cv2.putText(sheet, letters, place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 1), 255, 1, cv2.LINE_AA)
    return sheet.astype(np.float32) / np.float32(255)


def ellipse(centre: Points, radii: tuple[float, ...], turn_degrees: float, blur: float) -> Sheet:
    """Return a filled ellipse."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    turn = np.deg2rad(turn_degrees)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    outline = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    return filled(outline + centre, blur)


def block(centre: Points, half_width: float, half_height: float) -> Sheet:
    """Return a filled upright rectangle."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]
    return filled(corners + centre, 1.0)


def taper(start: Points, end: Points, start_width: float, end_width: float, blur: float) -> Sheet:
    """Return a rod between two points (x, y) whose width changes along it."""
    across = np.array([-(end - start)[1], (end - start)[0]])
    across = across / max(1e-6, float(np.hypot(*across)))
    corners = [
        start + across * start_width / 2,
        end + across * end_width / 2,
        end - across * end_width / 2,
        start - across * start_width / 2,
    ]
    return filled(np.array(corners), blur)


def bone(start: Points, end: Points, width: float, rng: np.random.Generator) -> Sheet:
    """Return a rod with a bright rim and broader ends."""
    shaft = taper(start, end, width, width, blur=0.7)
    marrow = taper(start, end, width * 0.45, width * 0.45, blur=0.7)
    ends = sum(ellipse(place, (width * 0.75, width * 0.6), 0, blur=0.8) for place in (start, end))
    strength = np.float32(rng.uniform(0.5, 1.2))
    return np.asarray((np.maximum(shaft, ends) - marrow * np.float32(0.4)) * strength, np.float32)


def noise(rng: np.random.Generator, grain: float) -> Sheet:
    """Return smooth noise, about standard normal, with blobs of ``grain`` px."""
    side = max(2, round(DECOY_PX / grain))
    coarse = rng.standard_normal((side, side), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (DECOY_PX, DECOY_PX), interpolation=cv2.INTER_CUBIC), np.float32)
