"""The canvas phantoms are drawn on: outlines, strokes and soft clouds as thickness maps.

All drawing happens in one square canvas of `CANVAS_PX`; a pose then maps it to the 1024 px picture, two picture px per
canvas px on average. Layers are float32 maps of X-ray thickness: they add up, as attenuation does on a logarithmic
film.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CANVAS_PX = 640
"""Side of the canvas; larger than the picture's field so that turned and shifted chests have no cut edges."""

PICTURE_PX_PER_CANVAS_PX = 2.0
"""Average magnification of the pose: sizes in the 1024 px frame are divided by it."""

Layer = NDArray[np.float32]
Points = NDArray[np.float64]

_SUBPIXEL_BITS = 4
_WIDE_BLUR_PX = 6.0


def empty_layer() -> Layer:
    """Return a layer of zeros, float32 [CANVAS_PX, CANVAS_PX]."""
    return np.zeros((CANVAS_PX, CANVAS_PX), np.float32)


def _fixed_point(points: Points) -> NDArray[np.int32]:
    return np.round(np.asarray(points) * (1 << _SUBPIXEL_BITS)).astype(np.int32).reshape(-1, 1, 2)


def fill_outline(points: Points, blur_px: float = 0.0) -> Layer:
    """Fill a closed outline.

    Parameters
    ----------
    points
        Float [N, 2] corners (x, y) in canvas px.
    blur_px
        Standard deviation of the softened border, canvas px.

    Returns
    -------
    Layer
        Float32 [CANVAS_PX, CANVAS_PX], 0 outside, 1 inside.
    """
    if blur_px >= _WIDE_BLUR_PX:
        small = np.zeros((CANVAS_PX // 4, CANVAS_PX // 4), np.uint8)
        cv2.fillPoly(small, [_fixed_point(points / 4)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        soft = cv2.GaussianBlur(small, (0, 0), blur_px / 4).astype(np.float32) * np.float32(1 / 255)
        return np.asarray(cv2.resize(soft, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_LINEAR))
    mask = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    if blur_px > 0:
        reach = 3 * blur_px + 2
        left, top = np.clip(points.min(0) - reach, 0, CANVAS_PX).astype(int)
        right, low = np.clip(points.max(0) + reach, 0, CANVAS_PX).astype(int)
        if right > left and low > top:
            mask[top:low, left:right] = cv2.GaussianBlur(mask[top:low, left:right], (0, 0), blur_px)
    return mask.astype(np.float32) * np.float32(1 / 255)


def soften(layer: NDArray[Any], blur_px: float) -> NDArray[Any]:
    """Blur a layer [H, W] with a Gaussian of `blur_px` deviation, 0 for none; narrow ones with 3 x 3 px only."""
    if blur_px <= 0:
        return layer
    kernel = (3, 3) if blur_px <= 1.2 else (0, 0)
    return np.asarray(cv2.GaussianBlur(layer, kernel, blur_px))


class Strokes:
    """Lines and dots drawn on an 8-bit sheet (OpenCV antialiases only those), read out as a float layer."""

    def __init__(self) -> None:
        self._sheet = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)

    def line(self, points: Points, width_px: float, strength: float) -> None:
        """Draw an open line of `width_px` canvas px through `points` [N, 2] with `strength` 0..1."""
        cv2.polylines(
            self._sheet,
            [_fixed_point(points)],
            False,
            int(np.clip(strength, 0, 1) * 255),
            max(1, round(width_px)),
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )

    def area(self, points: Points, strength: float) -> None:
        """Fill a closed outline [N, 2] with `strength` 0..1."""
        value = int(np.clip(strength, 0, 1) * 255)
        cv2.fillPoly(self._sheet, [_fixed_point(points)], value, cv2.LINE_AA, _SUBPIXEL_BITS)

    def text(self, words: str, origin: tuple[int, int], scale: float, strength: float) -> None:
        """Write `words` with their lower left corner at `origin` (x, y)."""
        cv2.putText(self._sheet, words, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, int(strength * 255), 2, cv2.LINE_AA)

    def layer(self, blur_px: float = 0.0) -> Layer:
        """Return the sheet as float32 0..1 [CANVAS_PX, CANVAS_PX], softened by `blur_px`."""
        return soften(self._sheet, blur_px).astype(np.float32) * np.float32(1 / 255)


def bezier(start: Points, control: Points, end: Points, count: int = 16) -> Points:
    """Return `count` points [count, 2] of a quadratic Bezier curve."""
    t = np.linspace(0, 1, count)[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end)


def wobbly_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], roughness: float, rng: np.random.Generator
) -> Points:
    """Return a closed outline [64, 2]: an ellipse whose radius varies by about `roughness` (a fraction)."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 7):
        radius += roughness * rng.normal() / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    shape = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    shape = 2 * (shape - shape.min(0)) / np.ptp(shape, axis=0) - 1
    return np.asarray(shape * np.array(radii) + np.array(centre))


def cloud(grain_px: float, rng: np.random.Generator) -> Layer:
    """Return smooth noise, float32 [CANVAS_PX, CANVAS_PX], about standard normal, with blobs of `grain_px`."""
    side = max(4, round(CANVAS_PX / grain_px))
    coarse = rng.standard_normal((side, side), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)) * np.float32(1.4)
