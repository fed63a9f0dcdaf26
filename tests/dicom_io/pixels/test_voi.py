"""A window or VOI LUT that shows nothing of a picture is passed over; one that shows it never is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from factories import chest_radiograph
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from samples import public_sample

from dicom_io.pixels.radiograph import Radiograph, read_radiograph
from dicom_io.pixels.sampling import PIXELS, evenly_taken

_DOWN, _ACROSS = np.mgrid[:300, :200]
CHEST = np.rint(
    2000 + 1200 * np.sin(_ACROSS / 30) * np.cos(_DOWN / 40) + np.random.default_rng(2).normal(0, 15, (300, 200))
).astype(np.uint16)
"""Values from 750 to 3250, of 12 bits."""
GOOD = ("2000", "3000")


def shown(center: Any, width: Any, pixels: NDArray[np.uint16] = CHEST, **keywords: Any) -> Radiograph:
    return read_radiograph(chest_radiograph(pixels, WindowCenter=center, WindowWidth=width, **keywords))


def voi_of(radiograph: Radiograph) -> str:
    assert radiograph.grey_scale is not None
    return radiograph.grey_scale.voi


def lut(entries: NDArray[np.int64]) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries), 0, 12]
    item.LUTData = entries.astype("<u2").tobytes()
    return [item]


NOTHING = {
    "all is white": ("100", "200"),
    "all is black": ("30000", "2000"),
    "all but a few pixels are white": ("700", "200"),
    "there are two levels": ("2000", "1"),
    "all is one grey": ("2000", "1000000"),
    "all is nearly one grey": ("2000", "24000"),
    "hardly anything is neither black nor white": ("2000", "40"),
    "a window of floating point": ("0.5", "1"),
}


@pytest.mark.parametrize(("center", "width"), NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("inverse", [False, True])
def test_a_window_that_shows_nothing_is_passed_over_for_percentiles(center: str, width: str, inverse: bool) -> None:
    shape = {"PresentationLUTShape": "INVERSE" if inverse else "IDENTITY"}
    without = shown(None, None, **shape)
    passed_over = shown(center, width, **shape)
    assert passed_over.voi_fallback
    np.testing.assert_array_equal(passed_over.pixels, without.pixels)
    assert passed_over.pixels.std() > 40


def test_the_next_window_is_taken_and_named() -> None:
    second = shown(["30000", GOOD[0]], ["2000", GOOD[1]])
    np.testing.assert_array_equal(second.pixels, shown(*GOOD).pixels)
    assert voi_of(second) == "window no. 2 2000 / 3000 LINEAR"
    assert not second.voi_fallback
    assert voi_of(shown([GOOD[0], "100"], [GOOD[1], "200"])) == "window 2000 / 3000 LINEAR"


@pytest.mark.parametrize(
    "entries", [np.zeros(4096, np.int64), np.full(4096, 4095), np.arange(4096) // 512, np.arange(4096) > 2000]
)
def test_a_voi_lut_that_shows_nothing_is_passed_over_for_the_next_or_a_window(entries: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(shown(*GOOD, VOILUTSequence=lut(entries)).pixels, shown(*GOOD).pixels)
    both = shown(*GOOD, VOILUTSequence=lut(entries) + lut(4095 - np.arange(4096)))
    assert voi_of(both) == "LUT no. 2 of 4096 entries"
    np.testing.assert_array_equal(both.pixels, np.rint((4095 - CHEST.astype(int)) / 4095 * 255))


def test_a_window_that_does_not_know_of_the_rescaling_is_passed_over() -> None:
    """It is meant for stored values; rescaled ones all lie below it."""
    assert shown("2000", "500", RescaleIntercept="-5000").voi_fallback
    assert not shown("-3000", "3000", RescaleIntercept="-5000").voi_fallback


@pytest.mark.parametrize(("center", "width"), [("2000", "200"), ("2000", "12000"), ("1500", "1000"), ("3000", "1500")])
def test_a_window_that_shows_a_part_or_little_contrast_is_the_one_that_was_asked_for(center: str, width: str) -> None:
    radiograph = shown(center, width)
    assert voi_of(radiograph) == f"window {center} / {width} LINEAR"


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("border", [0, 4095])
def test_a_small_field_in_a_wide_border_keeps_its_window(share: float, border: int) -> None:
    field = np.full((1200, 800), border, np.uint16)
    rows, columns = int(1200 * share**0.5), int(800 * share**0.5)
    field[100 : 100 + rows, 50 : 50 + columns] = np.resize(CHEST, (rows, columns))
    assert voi_of(shown(*GOOD, pixels=field)) == "window 2000 / 3000 LINEAR"


@pytest.mark.parametrize("intercept", ["0", "-2000"])
@pytest.mark.parametrize("noise", [0, 1, 5, 20, 80])
def test_a_blank_picture_is_not_made_to_show_its_noise(noise: int, intercept: str) -> None:
    blank = np.rint(np.random.default_rng(1).normal(2000, noise, (300, 200))).astype(np.uint16)
    center = str(2048 + int(intercept))
    assert not shown(center, "4096", pixels=blank, RescaleIntercept=intercept).voi_fallback


def test_eight_bits_whose_window_shows_nothing_are_shown_as_they_are() -> None:
    layout = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": (CHEST >> 4).astype(np.uint8).tobytes()}
    radiograph = shown("2048", "4096", **layout)
    np.testing.assert_array_equal(radiograph.pixels, CHEST >> 4)
    assert voi_of(radiograph) == "all of 8 bits"


@pytest.mark.parametrize("name", ["RG1_UNCR", "RG3_UNCR"])
@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_a_real_picture_keeps_a_window_half_or_twice_as_wide_as_its_own(name: str, factor: float) -> None:
    dataset = pydicom.dcmread(public_sample(f"{name}.dcm"))
    dataset.WindowWidth = str(float(dataset.WindowWidth) * factor)
    assert voi_of(read_radiograph(dataset)).startswith("window ")


def test_padding_has_no_part_in_whether_a_window_shows_something() -> None:
    """Nearly all of the frame is padding that the window shows as black; the rest of it is white."""
    frame = np.zeros((600, 400), np.uint16)
    frame[:100, :200] = CHEST[:100]
    assert shown("100", "200", pixels=frame, PixelPaddingValue=0).voi_fallback


@pytest.mark.parametrize(("value", "limit"), [(0, 4095), (4095, 0), (700, 3400)])
def test_padding_that_would_leave_no_picture_is_none(value: int, limit: int) -> None:
    padded = shown(*GOOD, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    np.testing.assert_array_equal(padded.pixels, shown(*GOOD).pixels)
    assert padded.grey_scale is not None and padded.grey_scale.padding is None


def test_padding_that_leaves_a_small_picture_is_padding() -> None:
    frame = np.zeros((1200, 800), np.uint16)
    frame[:150, :100] = CHEST[:150, :100]
    padded = shown(*GOOD, pixels=frame, PixelPaddingValue=0, PresentationLUTShape="INVERSE")
    assert not padded.pixels[200:].any()


@pytest.mark.parametrize("shape", [(1,), (70_000,), (1, 1), (300, 250), (1000, 4000), (3000, 2500), (500, 400, 3)])
def test_pixels_are_taken_evenly_and_few_of_many(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    taken = evenly_taken(values)
    pixels = int(np.prod(shape[:2]))
    assert taken.shape[1:] == shape[2:]
    assert min(pixels, PIXELS) <= len(taken) <= 4 * PIXELS
    assert taken.max() >= 0.95 * values.max()
