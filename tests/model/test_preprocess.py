from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.preprocess import normalise, resize_uint8, to_uint8_224


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(2500, 2048), (300, 900), (224, 224), (31, 17), (1, 1)])
def test_the_picture_equals_pillows_own_result_every_time(shape: tuple[int, int]) -> None:
    pixels = noise(shape)
    expected = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.array_equal(to_uint8_224(pixels), expected)
    assert np.array_equal(to_uint8_224(pixels), to_uint8_224(pixels.copy()))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((2240, 2240), np.uint8)
    stripes[::2] = 200  # without antialiasing every output row would be 0 or 200
    inner = to_uint8_224(stripes)[2:-2]
    assert inner.min() >= 95 and inner.max() <= 105


def test_memory_layout_does_not_change_the_picture() -> None:
    pixels = noise((400, 300))
    assert np.array_equal(to_uint8_224(np.asfortranarray(pixels)), to_uint8_224(pixels))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    assert np.array_equal(to_uint8_224(noise((224, 224))), noise((224, 224)))


def test_black_and_white_normalise_to_the_documented_numbers() -> None:
    tensor = normalise(np.array([[[0, 255]]], np.uint8))
    assert tensor.shape == (1, 1, 1, 2) and tensor.dtype == np.float32
    np.testing.assert_allclose(tensor.ravel(), [-0.449 / 0.226, 0.551 / 0.226], rtol=1e-6)  # (x - mean) / std by hand


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_anything_but_a_grey_byte_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        resize_uint8(pixels, 224)


def test_normalise_refuses_a_picture_without_batch_axis() -> None:
    with pytest.raises(ValueError, match="uint8"):
        normalise(np.zeros((4, 4), np.uint8))
