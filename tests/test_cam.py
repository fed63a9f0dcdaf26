from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.cam import saliency


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
