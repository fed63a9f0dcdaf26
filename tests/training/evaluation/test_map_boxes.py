"""Boxes from maps drawn by hand, whose regions are known to the pixel."""

from __future__ import annotations

import numpy as np
import pytest

from model.cam import saliency
from training.evaluation.map_boxes import Rectangle, boxes_of, heat_field, iobb, iou, peak_box


def _field(*regions: tuple[slice, slice, float]) -> np.ndarray:
    """A field of 256 x 256 with rectangles of one value each; one of its pixels is 4 px of the boxes' frame."""
    field = np.zeros((256, 256), np.float32)
    for rows, columns, value in regions:
        field[rows, columns] = value
    return field


def test_each_isolated_region_above_sixty_and_above_one_hundred_and_eighty_gives_a_box() -> None:
    field = _field(
        (slice(10, 30), slice(40, 100), 100),  # above 60 only
        (slice(15, 20), slice(50, 60), 255),  # inside it, above 180 too
        (slice(200, 210), slice(0, 5), 61),  # apart, above 60 only
        (slice(100, 110), slice(100, 110), 60),  # exactly 60 is not above it
    )
    assert boxes_of(field) == [
        Rectangle(160, 40, 240, 80),
        Rectangle(0, 800, 20, 40),
        Rectangle(200, 60, 40, 20),
    ]


def test_regions_that_touch_at_a_corner_are_one() -> None:
    field = _field((slice(0, 10), slice(0, 10), 200), (slice(10, 20), slice(10, 20), 200))
    assert boxes_of(field) == [Rectangle(0, 0, 80, 80)] * 2  # once for each threshold


def test_the_box_of_the_peak_is_its_region_above_one_hundred_and_eighty() -> None:
    field = _field((slice(0, 50), slice(0, 50), 200), (slice(100, 110), slice(200, 220), 255))
    assert peak_box(field) == Rectangle(800, 400, 80, 40)
    assert peak_box(np.zeros((256, 256), np.float32)) is None


def test_a_map_is_stretched_to_0_and_255_and_lies_as_the_shown_one() -> None:
    class_map = np.random.default_rng(1).normal(0, 3, (7, 7)).astype(np.float32)
    field = heat_field(class_map)
    assert (float(field.min()), float(field.max())) == (0.0, pytest.approx(255, abs=1e-3))
    shown = saliency(class_map - class_map.min() + 1, (256, 256))  # nothing below 0, so nothing is cut
    assert field == pytest.approx((shown - shown.min()) / (shown.max() - shown.min()) * 255, abs=0.01)


def test_a_flat_map_gives_no_box() -> None:
    assert boxes_of(heat_field(np.full((7, 7), 3.0))) == []


def test_one_hot_cell_gives_the_boxes_that_interpolation_says() -> None:
    """Cell (3, 3) of 7 alone: from its centre, at pixel 127.5, the value falls by 255 over 256 / 7 = 36.57 pixels.

    It is above 60 up to 36.57 * (1 - 60/255) = 27.97 pixels from there: pixels 100 to 155, and above 180 up to 10.76
    pixels: 117 to 138 (pixel k has its centre at k). In the middle row and column, that is; so are the boxes.
    """
    class_map = np.zeros((7, 7))
    class_map[3, 3] = 1
    large, small = boxes_of(heat_field(class_map))
    assert large == Rectangle(100 * 4, 100 * 4, 56 * 4, 56 * 4)
    assert small == Rectangle(117 * 4, 117 * 4, 22 * 4, 22 * 4)


def test_iou_and_iobb_by_hand() -> None:
    """A box of 100 x 50 and one of 100 x 100 that covers half of it: 2500 in common."""
    detected, truth = Rectangle(0, 0, 100, 50), Rectangle(50, 0, 100, 100)
    assert iou(detected, truth) == 2500 / (5000 + 10000 - 2500)
    assert iobb(detected, truth) == 0.5
    assert iou(detected, Rectangle(100, 0, 10, 10)) == 0
