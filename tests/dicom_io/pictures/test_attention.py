"""Attention as something to draw: no corners of the grid, a line where it falls to half, coordinates of the source."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_io.pictures import attention
from dicom_io.pictures.attention import CONTOUR_LEVEL, contours, near_line, smooth, stretch
from model.cam import saliency


def cone(rows: int, columns: int, radius: float) -> NDArray[np.float32]:
    """Return attention that falls linearly from 1 in the middle to 0 at `radius` (parts of the side)."""
    y, x = np.mgrid[0:rows, 0:columns]
    distance = np.hypot((y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5)
    return np.asarray(np.clip(1 - distance / radius, 0, 1), dtype=np.float32)


def test_the_corners_of_a_seven_cell_grid_are_gone_and_the_peak_stays() -> None:
    grid = np.zeros((7, 7), np.float32)
    grid[3, 3] = 1.0
    linear = saliency(grid, (224, 224))
    even = smooth(linear)
    assert even[111:113, 111:113].max() == 1.0

    def roundness(attention: NDArray[np.float32]) -> float:
        """Return how far the half line is from the middle along an axis and along a diagonal, as a ratio."""
        straight = np.argmax(attention[112, 112:] < CONTOUR_LEVEL)
        diagonal = np.argmax(np.diagonal(attention)[112:] < CONTOUR_LEVEL) * np.sqrt(2)
        return float(straight / diagonal)

    assert abs(roundness(even) - 1) < 0.08 < abs(roundness(linear) - 1)  # a round spot instead of a diamond


def test_nothing_seen_stays_nothing() -> None:
    empty = smooth(np.zeros((7, 7), np.float32))
    assert not empty.any()
    assert not near_line(stretch(empty, 90, 80), 2.0).pixels.size
    assert contours(empty, 2000, 1500) == []


def test_the_drawn_line_lies_at_half_and_is_as_wide_as_asked() -> None:
    attention = cone(801, 801, 0.4)  # half at 160.2 px from the middle
    near, coverage = near_line(attention, 3.0), np.zeros(attention.shape, np.float32)
    coverage.ravel()[near.pixels] = near.coverage(3.0)
    assert near.pixels.size < 0.01 * coverage.size
    coverage = coverage[400]
    assert coverage.sum() == pytest.approx(2 * 3.0, abs=0.1)  # the row crosses the line twice
    assert np.flatnonzero(coverage == coverage.max()).min() == pytest.approx(400 - 160.2, abs=1.5)


def test_contours_are_in_pixels_of_the_source_and_closed() -> None:
    (line,) = contours(cone(224, 224, 0.4), 2000, 1500)
    assert line.dtype == np.float32
    assert np.array_equal(line[0], line[-1])
    # half of 0.4 of a side: an ellipse of 300 columns and 400 rows around the middle
    distance = np.hypot((line[:, 0] - 750) / 300, (line[:, 1] - 1000) / 400)
    assert np.abs(distance - 1).max() < 0.01


def test_attention_at_the_edge_gives_a_line_inside_the_picture() -> None:
    y, x = np.mgrid[0:224, 0:224] / 224
    corner = np.asarray(np.clip(1 - np.hypot(y, x) / 0.5, 0, 1), dtype=np.float32)
    (line,) = contours(corner, 1000, 800)
    assert line.min() >= 0
    assert line[:, 0].max() <= 800
    assert line[:, 1].max() <= 1000
    assert line.min(axis=0) == pytest.approx([0, 0], abs=2)


def test_two_spots_give_two_lines_the_longer_first() -> None:
    y, x = np.mgrid[0:224, 0:224]
    spots = np.exp(-((x - 60) ** 2 + (y - 60) ** 2) / 800) + 0.9 * np.exp(-((x - 170) ** 2 + (y - 160) ** 2) / 300)
    first, second = contours(spots.astype(np.float32), 224, 224)
    assert first.mean(axis=0) == pytest.approx([60, 60], abs=3)
    assert second.mean(axis=0) == pytest.approx([170, 160], abs=3)


def random_map(seed: int) -> NDArray[np.float32]:
    """Return what a network of seven cells might say, stretched."""
    cells = np.maximum(np.random.default_rng(seed).normal(size=(7, 7)), 0).astype(np.float32)
    return saliency(cells, (224, 224))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("size", [(870, 819), (300, 220), (90, 80)])
def test_the_line_is_the_same_where_the_whole_picture_is_looked_at(
    seed: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stretched = stretch(smooth(random_map(seed)), *size)
    found = near_line(stretched, 4.0)
    monkeypatch.setattr(attention, "_surroundings", lambda picture, width_px: (0, 0, *picture.shape))
    everywhere = near_line(stretched, 4.0)
    assert found.pixels.size
    assert np.array_equal(found.pixels, everywhere.pixels)
    # the processor's wide and narrow instructions may round the last bit otherwise
    np.testing.assert_allclose(found.distance_px, everywhere.distance_px, rtol=1e-5, atol=1e-5)
