from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.cam import over_whole_picture, saliency
from model.views import WHOLE, Window


def noise_map(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(7, 7)).astype(np.float32)


def test_saliency_equals_pillows_bilinear_interpolation() -> None:
    cells = noise_map()
    expected = np.clip(np.asarray(Image.fromarray(cells).resize((380, 500), Image.Resampling.BILINEAR)), 0, None)
    np.testing.assert_allclose(saliency(cells, (500, 380)), expected / expected.max(), atol=1e-5)


def test_the_peak_is_one_and_lies_at_the_strongest_cell() -> None:
    cells = np.zeros((7, 7), np.float32)
    cells[2, 5] = 3.0
    found = saliency(cells, (700, 700))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert found.max() == 1.0
    assert (abs(row - 250), abs(column - 550)) <= (1, 1)  # centre of cell (2, 5): (k + 0.5) * 100 px


@pytest.mark.parametrize("cells", [np.zeros((7, 7), np.float32), np.full((7, 7), -2.0, np.float32)])
def test_a_map_without_evidence_for_the_finding_is_dark_everywhere(cells: np.ndarray) -> None:
    assert not saliency(cells, (64, 48)).any()


@pytest.mark.parametrize("shape", [(2500, 2048), (7, 7), (5, 3), (1, 1)])
def test_values_stay_within_zero_and_one_at_any_size(shape: tuple[int, int]) -> None:
    found = saliency(noise_map(1), shape)
    assert found.shape == shape and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1


def test_a_view_of_the_whole_picture_keeps_the_networks_own_cells() -> None:
    maps = np.random.default_rng(2).normal(size=(1, 14, 7, 7)).astype(np.float32)
    assert np.array_equal(over_whole_picture(maps, (WHOLE,)), maps[0])


def looked_up(cells: np.ndarray, window: Window, x: float, y: float) -> float:
    """What one view says of a place of the whole picture: linear between its cell centres, by numpy's own function."""
    across, down = (x - window.left) / (window.right - window.left), (y - window.top) / (window.bottom - window.top)
    if window.mirrored:
        across = 1 - across
    centres = (np.arange(7) + 0.5) / 7
    return float(np.interp(down, centres, [np.interp(across, centres, row) for row in cells]))


def test_crops_are_laid_where_they_were_cut_and_averaged_where_they_overlap() -> None:
    windows = (Window(0, 0, 0.6, 0.5), Window(0.25, 0.1, 0.85, 0.9, mirrored=True))
    maps = np.random.default_rng(3).normal(size=(2, 14, 7, 7)).astype(np.float32)
    found = over_whole_picture(maps, windows)
    assert found.shape == (14, 28, 28) and found.dtype == np.float32
    for row in range(28):
        for column in range(28):
            x, y = (column + 0.5) / 28, (row + 0.5) / 28
            shown = [i for i, w in enumerate(windows) if w.left <= x < w.right and w.top <= y < w.bottom]
            expected = [looked_up(maps[i, 4], windows[i], x, y) for i in shown]
            assert found[4, row, column] == pytest.approx(np.mean(expected) if shown else 0, abs=1e-5)


def test_a_finding_at_the_left_of_a_mirrored_view_is_at_the_right_of_the_picture() -> None:
    maps = np.zeros((1, 14, 7, 7), np.float32)
    maps[0, 0, 3, 0] = 1
    found = over_whole_picture(maps, (Window(0, 0, 1, 1, mirrored=True),))[0]
    assert np.unravel_index(found.argmax(), found.shape)[1] >= 24  # the last of 7 cells is the last 4 of 28
