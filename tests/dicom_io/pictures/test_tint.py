"""The colour over a radiograph: even to the eye, and every shadow still told from its neighbours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_io.pictures.tint import FLOOR, tint_table, tinted

FLOOR_STEP = int(255 * FLOOR)


def cielab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return CIELAB of sRGB colours, by OpenCV: another space than the one the colours were made in."""
    flat = rgb.reshape(1, -1, 3).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB), dtype=np.float32).reshape(*rgb.shape)


def test_up_to_the_floor_the_radiograph_is_untouched() -> None:
    greys = np.arange(256, dtype=np.uint8)[np.newaxis]
    for attention in (0.0, FLOOR - 0.005):
        picture = tinted(greys, np.full(greys.shape, attention, np.float32))
        assert np.array_equal(picture, np.repeat(greys[..., np.newaxis], 3, axis=2))


def test_no_two_greys_of_the_radiograph_swap_places_or_fall_together_under_the_strongest_colour() -> None:
    lightness = cielab(tint_table())[..., 0]
    for attention in (128, 192, 255):
        assert (np.diff(lightness[attention][::2]) > 0).all()  # two grey levels apart: 8 bits round single ones away


def test_three_quarters_of_the_contrast_stay_under_the_strongest_colour() -> None:
    lightness = cielab(tint_table())[..., 0]
    for dark, bright in ((10, 60), (40, 120), (100, 180), (150, 240)):
        kept = (lightness[255][bright] - lightness[255][dark]) / (lightness[0][bright] - lightness[0][dark])
        assert kept > 0.75


def test_equal_steps_of_attention_look_equal_on_lung_and_on_soft_tissue() -> None:
    for grey in (90, 128, 170, 200):
        colours = cielab(tint_table())[FLOOR_STEP::25, grey]
        steps = np.linalg.norm(np.diff(colours, axis=0), axis=1)
        assert steps.max() < 1.7 * steps.min()  # jet, hot and inferno blended at one half: 5 to 13


def test_the_strongest_colour_is_seen_on_lung_and_on_bone_and_does_not_brighten_the_room() -> None:
    lab = cielab(tint_table())
    for grey in (20, 60, 128, 200, 240):
        assert np.hypot(*lab[255, grey, 1:]) > 10  # a just noticeable difference is about 2.3
    assert lab[255, :, 0].mean() <= lab[0, :, 0].mean() + 2


def test_every_pixel_has_the_colour_of_its_grey_and_its_attention() -> None:
    rng = np.random.default_rng(2)
    grey, attention = rng.integers(0, 256, (90, 70), dtype=np.uint8), rng.random((90, 70), np.float32)
    steps = np.rint(255 * attention.astype(np.float64)).astype(int)
    assert np.array_equal(tinted(grey, attention), tint_table()[steps, grey])
