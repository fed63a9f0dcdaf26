"""The model's attention as something to draw: smooth over the radiograph, with a line around its heart.

The network's own map has a few cells per side. Stretched linearly it shows crosses and corners that are the grid's, not
the model's; smoothed by half a cell it shows what was meant and nothing finer than what is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CONTOUR_LEVEL = 0.5
"""Attention at the drawn line, as a part of its maximum."""
SMOOTHING = 0.058
"""Standard deviation of the smoothing as a part of the side: 0.4 of a cell of seven."""
_SIDE_CELLS = 224
_CONTOUR_CELLS = 448
_NEWTON_STEPS = 3
_LOOKS = 100
"""Pixels along the shorter side whose differences tell how steep a smooth map is."""


def smooth(saliency: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the saliency without the corners of its grid.

    Parameters
    ----------
    saliency
        float32 [h, w] in 0..1 over the whole radiograph, any resolution.

    Returns
    -------
    NDArray[np.float32]
        [224, 224] in 0..1, the peak exactly 1; all 0 where the saliency is.
    """
    square = cv2.resize(saliency.astype(np.float32), (_SIDE_CELLS, _SIDE_CELLS), interpolation=cv2.INTER_LINEAR)
    sigma = SMOOTHING * _SIDE_CELLS
    even = cv2.GaussianBlur(np.clip(square, 0, 1), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    peak = float(even.max())
    return np.asarray(even / peak if peak > 0 else even, dtype=np.float32)


def stretch(attention: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Return a smooth attention map [h, w] at the size of a picture, float32 [rows, columns] in 0..1."""
    stretched = cv2.resize(attention, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(stretched, 0, 1, out=stretched), dtype=np.float32)


@dataclass(frozen=True)
class NearLine:
    """The pixels near the line at `CONTOUR_LEVEL`."""

    pixels: NDArray[np.intp]
    """[n]: index into the picture, row by row."""
    distance_px: NDArray[np.float32]
    """[n]: how far each is from the line."""

    def coverage(self, width_px: float) -> NDArray[np.float32]:
        """Return how much of each of these pixels a line of that width covers, float32 [n] in 0..1."""
        return np.asarray(np.clip(0.5 + 0.5 * width_px - self.distance_px, 0, 1), dtype=np.float32)


def near_line(attention: NDArray[np.float32], width_px: float) -> NearLine:
    """Return every pixel that a line of that width at `CONTOUR_LEVEL` covers, though it be a little of it.

    The distance to the level is the difference over the slope: smooth at any angle, and without a frame where the
    region runs out of the picture.
    """
    top, left, bottom, right = _surroundings(attention, width_px)
    inside = attention[top:bottom, left:right]
    across = cv2.Sobel(inside, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(inside, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = cv2.magnitude(across, down)
    np.maximum(slope, 1e-6, out=slope)
    difference = inside - CONTOUR_LEVEL
    np.abs(difference, out=difference)
    # a few pixels in a thousand are near: only theirs are divided; np.nonzero takes ten times as long for two axes
    candidates = np.flatnonzero(difference < 0.51 * (1 + width_px) * slope)
    distance_px = difference.ravel()[candidates] / slope.ravel()[candidates]
    near = distance_px < 0.5 * (1 + width_px)
    row, column = np.divmod(candidates[near], right - left)
    return NearLine((row + top) * attention.shape[1] + column + left, distance_px[near])


def _surroundings(attention: NDArray[np.float32], width_px: float) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of where a line of that width can be, so that not all is filtered for it."""
    step = max(1, min(attention.shape) // _LOOKS)
    looked_at = attention[::step, ::step]
    steepest = max(float(np.abs(np.diff(looked_at, axis=axis)).max(initial=0)) for axis in (0, 1)) / step
    least = CONTOUR_LEVEL - 1.5 * (1 + width_px) * steepest  # half the width, along a diagonal, and twice that
    left, top, columns, rows = cv2.boundingRect((attention > least).view(np.uint8))
    height, width = attention.shape
    return max(0, top - 1), max(0, left - 1), min(height, top + rows + 1), min(width, left + columns + 1)


def contours(attention: NDArray[np.float32], rows: int, columns: int) -> list[NDArray[np.float32]]:
    """Return the closed lines around the attention at `CONTOUR_LEVEL`, the longest first.

    Parameters
    ----------
    attention
        From `smooth`.
    rows, columns
        Size of the radiograph in pixels.

    Returns
    -------
    list[NDArray[np.float32]]
        Each [n, 2], n >= 4, (column, row) with 0, 0 at the upper left corner of the upper left pixel and
        (columns, rows) at the lower right one (PS3.3 C.10.5.1.2); the first point is repeated at the end.
    """
    cells = stretch(attention, _CONTOUR_CELLS, _CONTOUR_CELLS)
    inside = (cells >= CONTOUR_LEVEL).astype(np.uint8)
    found, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lines = []
    for outline in sorted(found, key=len, reverse=True):
        points = _onto_level(cells, outline[:, 0, :].astype(np.float32))
        simple = cv2.approxPolyDP(points.reshape(-1, 1, 2), 0.3, closed=True)[:, 0, :]
        if len(simple) < 3:
            continue
        scaled = (simple + 0.5) * np.array([columns / _CONTOUR_CELLS, rows / _CONTOUR_CELLS])
        closed = np.concatenate([scaled, scaled[:1]])
        lines.append(np.clip(closed, 0, [columns, rows]).astype(np.float32))
    return lines


def _onto_level(cells: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move points (column, row) along the slope onto `CONTOUR_LEVEL`; those on the picture's edge stay on it."""
    last = np.float32(len(cells) - 1)
    across, down = cv2.Sobel(cells, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(cells, cv2.CV_32F, 0, 1, scale=1 / 8)
    free = ~((points <= 0) | (points >= last)).any(axis=1, keepdims=True)
    for _ in range(_NEWTON_STEPS):
        value, slope_x, slope_y = (
            cv2.remap(layer, points[:, :1], points[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for layer in (cells, across, down)
        )
        square = np.maximum(slope_x**2 + slope_y**2, 1e-9)
        step = (CONTOUR_LEVEL - value) * np.concatenate([slope_x, slope_y], axis=1) / square
        points = np.clip(points + np.where(free, np.clip(step, -1, 1), 0), 0, last).astype(np.float32)
    return points
