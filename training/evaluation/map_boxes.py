"""From a class activation map to boxes, as Wang et al. (CVPR 2017, section 4.2) do it.

The map is stretched over the picture and its values to 0..255; regions above 60 and regions above 180 are found
separately, and every isolated region of either gives one box.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import BOX_FRAME_PX

THRESHOLDS = (60, 180)
"""Of Wang et al., on the scale of 0..255."""
FIELD_PX = 256
"""Side of the stretched map. One of its pixels is 4 px of the boxes' frame, a 36th of a cell of a 7 x 7 map."""
_DIAGONAL_TOO = 8
"""Pixels that touch at a corner are one region; the paper does not say."""


@dataclass(frozen=True)
class Rectangle:
    """A box in px of the 1024 x 1024 frame."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float

    @property
    def area(self) -> float:
        """Return the area in px²."""
        return self.width_px * self.height_px

    @property
    def centre(self) -> tuple[float, float]:
        """Return x and y in px."""
        return self.left_px + self.width_px / 2, self.top_px + self.height_px / 2

    def holds(self, x_px: float, y_px: float) -> bool:
        """Return whether a point lies inside."""
        return 0 <= x_px - self.left_px < self.width_px and 0 <= y_px - self.top_px < self.height_px

    def overlap(self, other: Rectangle) -> float:
        """Return the area in common, px²."""
        width = min(self.left_px + self.width_px, other.left_px + other.width_px) - max(self.left_px, other.left_px)
        height = min(self.top_px + self.height_px, other.top_px + other.height_px) - max(self.top_px, other.top_px)
        return max(width, 0.0) * max(height, 0.0)


def iou(detected: Rectangle, truth: Rectangle) -> float:
    """Return intersection over union, 0..1."""
    common = detected.overlap(truth)
    return common / (detected.area + truth.area - common)


def iobb(detected: Rectangle, truth: Rectangle) -> float:
    """Return intersection over the area of the detected box, 0..1."""
    return detected.overlap(truth) / detected.area


def heat_field(class_map: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a class map stretched over the picture with values 0..255, its lowest 0 and its highest 255.

    Parameters
    ----------
    class_map
        [h, w], any values; bilinear between cell centres, as the picture shown to a reader (``model.cam``).

    Returns
    -------
    float32 [256, 256]; all 0 where the map is flat, so that it gives no box.
    """
    size = (FIELD_PX, FIELD_PX)
    field = cv2.resize(np.ascontiguousarray(class_map, np.float32), size, interpolation=cv2.INTER_LINEAR)
    low, high = float(field.min()), float(field.max())
    if high <= low:
        return np.zeros(size, np.float32)
    stretched: NDArray[np.float32] = ((field - low) * (255 / (high - low))).astype(np.float32)
    return stretched


def boxes_of(field: NDArray[np.float32]) -> list[Rectangle]:
    """Return a box around every isolated region of a field [S, S] above each threshold, in px of the 1024 frame."""
    return [box for threshold in THRESHOLDS for box in _regions(field, threshold)]


def peak_box(field: NDArray[np.float32]) -> Rectangle | None:
    """Return the box of the region of a field [S, S] above the higher threshold that holds the peak; None if flat."""
    if not field.any():
        return None
    row, column = np.unravel_index(int(field.argmax()), field.shape)
    _, numbers = cv2.connectedComponents(_above(field, THRESHOLDS[-1]), connectivity=_DIAGONAL_TOO)
    region = numbers == numbers[row, column]
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return _rectangle(float(columns[0]), float(rows[0]), len(columns), len(rows), BOX_FRAME_PX / field.shape[0])


def _regions(field: NDArray[np.float32], threshold: int) -> list[Rectangle]:
    count, _, statistics, _ = cv2.connectedComponentsWithStats(_above(field, threshold), connectivity=_DIAGONAL_TOO)
    scale = BOX_FRAME_PX / field.shape[0]
    corners = statistics[1:count, :4].tolist()  # the first region is the background
    return [_rectangle(left, top, width, height, scale) for left, top, width, height in corners]


def _above(field: NDArray[np.float32], threshold: int) -> NDArray[np.uint8]:
    return (field > threshold).astype(np.uint8)


def _rectangle(left: float, top: float, width: float, height: float, scale: float) -> Rectangle:
    return Rectangle(left * scale, top * scale, width * scale, height * scale)
