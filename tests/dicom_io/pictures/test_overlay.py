"""The drawn picture: anatomy stays visible, colour lies where the model looked, texts fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from reports import report_on, source_radiograph
from samples import public_sample

from dicom_io.pictures.attention import near_line, smooth, stretch
from dicom_io.pictures.overlay import Caption, Film, caption_of, coloured, draw_overlay
from dicom_io.pictures.tint import tinted
from dicom_io.pixels.radiograph import read_radiograph

CAPTION = Caption("STAT  Pneumothorax 91 %", "phantom-densenet121 0.1.0+weights.3f9c1a7e, threshold 50 %", True)


def grey_radiograph(rows: int, columns: int) -> NDArray[np.uint8]:
    return np.full((rows, columns), 100, np.uint8)


def hot_corner() -> NDArray[np.float32]:
    saliency = np.zeros((7, 7), np.float32)
    saliency[1, 5] = 1.0
    return saliency


@pytest.mark.parametrize(
    ("shape", "long_side"),
    [((1024, 1024), 1024), ((2500, 2048), 1024), ((600, 1500), 1024), ((900, 380), 1024), ((256, 256), 1024)],
)
def test_every_shape_fits_and_small_ones_are_enlarged(shape: tuple[int, int], long_side: int) -> None:
    picture = draw_overlay(Film(grey_radiograph(*shape)), hot_corner(), CAPTION)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert 768 <= max(picture.shape) <= long_side
    assert picture.shape[1] >= 512


def test_colour_lies_where_the_model_looked_and_nowhere_else() -> None:
    picture = draw_overlay(Film(grey_radiograph(800, 800)), hot_corner(), CAPTION).astype(int)
    coloured = np.ptp(picture, axis=2) > 40
    image = coloured[200:900]  # between banner and legend
    half = image.shape[1] // 2
    assert image[: len(image) // 2, half:].any()
    assert not image[len(image) // 2 :].any()
    assert not image[:, :half].any()


def test_anatomy_shines_through_the_hottest_spot() -> None:
    hot = np.ones((7, 7), np.float32)
    dark, bright = (
        draw_overlay(Film(np.full((1024, 1024), grey, np.uint8)), hot, CAPTION)[500, 400].astype(int)
        for grey in (40, 200)
    )
    assert (bright - dark).mean() > 0.7 * (200 - 40)


def test_a_small_shadow_is_still_seen_in_the_middle_of_the_attention() -> None:
    radiograph = grey_radiograph(1024, 1024)
    radiograph[500:524, 500:524] = 112  # a nodule of 24 px, 5 % brighter than its surroundings
    hot = np.ones((7, 7), np.float32)
    with_nodule, without = (
        draw_overlay(Film(picture), hot, CAPTION).astype(int) for picture in (radiograph, grey_radiograph(1024, 1024))
    )
    difference = (with_nodule - without).sum(axis=2)
    assert difference.max() > 0.7 * 3 * 12
    assert 14 <= np.sqrt((difference > 18).sum()) <= 24  # about 24 px scaled to the picture


def test_without_saliency_the_radiograph_stays_grey() -> None:
    picture = draw_overlay(Film(grey_radiograph(800, 800)), np.zeros((7, 7), np.float32), CAPTION)
    assert np.all(picture[300:700] == 100)


def test_a_demonstration_is_marked_in_the_picture_and_takes_room_for_it() -> None:
    saliency = np.zeros((7, 7), np.float32)
    plain = Caption(CAPTION.headline, CAPTION.model, demonstration=False)
    with_notice, without = (draw_overlay(Film(grey_radiograph(800, 800)), saliency, text) for text in (CAPTION, plain))
    amber = [int(((picture[..., 0] > 200) & (picture[..., 2] < 120)).sum()) for picture in (with_notice, without)]
    assert amber[0] > 1.5 * amber[1] > 0


def test_the_caption_names_finding_percent_and_model_but_no_patient() -> None:
    source = source_radiograph()
    report = report_on(source)
    caption = caption_of(report, report.flagged[0])
    assert caption.headline == "STAT  Pneumothorax 91 %"
    assert caption.model == "phantom-densenet121 0.1.0+weights.3f9c1a7e, threshold 50 %"
    assert str(source.PatientName) not in f"{caption}"


def test_the_same_picture_is_drawn_twice() -> None:
    first, second = (draw_overlay(Film(grey_radiograph(300, 200)), hot_corner(), CAPTION) for _ in range(2))
    assert np.array_equal(first, second)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        draw_overlay(Film(np.zeros((10, 10), np.float32)), hot_corner(), CAPTION)  # type: ignore[arg-type]


def test_where_the_model_points_nowhere_the_legend_says_so_instead_of_showing_a_scale() -> None:
    pointing, nowhere = (
        draw_overlay(Film(grey_radiograph(800, 800)), saliency, CAPTION)
        for saliency in (hot_corner(), np.zeros((7, 7), np.float32))
    )
    assert np.ptp(pointing[-70:].astype(int), axis=2).max() > 60  # the orange end of the scale
    assert np.ptp(nowhere[-70:].astype(int), axis=2).max() == 0


def test_a_caption_too_long_for_a_narrow_picture_is_cut_and_not_spilled() -> None:
    long = Caption("STAT  " + "Pleural Thickening " * 9, "a-model-with-a-name " * 12, demonstration=True)
    picture = draw_overlay(Film(grey_radiograph(900, 300)), hot_corner(), long)
    assert not picture[:100, -4:].any()


def test_no_letter_stands_on_the_radiograph() -> None:
    dark = np.zeros((800, 800), np.uint8)
    picture = draw_overlay(Film(dark), np.zeros((7, 7), np.float32), CAPTION)
    written = np.flatnonzero(picture.any(axis=(1, 2)))
    banner_end = max(row for row in written if row < 300)
    legend_start = min(row for row in written if row > 300)
    assert legend_start - banner_end >= 800 * 0.9  # the whole radiograph lies between them


@pytest.mark.parametrize(
    ("height", "mean_levels", "most_levels"), [(1500, 0.25, 12), (870, 0.35, 16), (600, 0.35, 12), (430, 0.35, 12)]
)
def test_a_film_is_scaled_nearly_as_by_a_filter_that_leaves_nothing_out(
    height: int, mean_levels: float, most_levels: int
) -> None:
    pixels = read_radiograph(public_sample("RG1_J2KI.dcm")).pixels
    width = round(height * pixels.shape[1] / pixels.shape[0])
    expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    scaled = Film(pixels).scaled(height, width)
    difference = np.abs(scaled.astype(int) - np.asarray(expected))
    assert scaled.shape == (height, width)
    assert difference.mean() < mean_levels
    assert difference.max() < most_levels  # at letters and edges of collimation


@pytest.mark.parametrize("side", [1954, 1955, 1957, 3001])
@pytest.mark.parametrize("scaled_side", [400, 600, 870, 901])
def test_scaling_moves_nothing_whatever_the_size(side: int, scaled_side: int) -> None:
    for edge in (side // 4, side - side // 5):
        rise = np.clip((np.arange(side) + 0.5 - edge) / 20 + 0.5, 0, 1)  # to half at the edge
        step = np.tile(np.rint(200 * rise).astype(np.uint8), (side, 1))
        expected = (side - edge) / side * scaled_side
        for moved in (Film(step), Film(np.ascontiguousarray(step.T))):
            bright = moved.scaled(scaled_side, scaled_side).sum() / 200 / scaled_side
            assert bright == pytest.approx(expected, abs=0.05)


def test_the_line_has_its_own_colour_on_a_dark_casing_over_the_tinted_radiograph() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (300, 260), dtype=np.uint8)
    attention = smooth(hot_corner())
    stretched = stretch(attention, *grey.shape)
    near = near_line(stretched, 4.0)
    under = tinted(grey, stretched).reshape(-1, 3)
    expected = under.astype(np.float64)
    for pixel, casing, line in zip(near.pixels, near.coverage(4.0), near.coverage(1.4), strict=True):
        dark = (1 - 0.45 * casing) * expected[pixel]  # under black
        expected[pixel] = line * np.array([255, 222, 173]) + (1 - line) * dark
    drawn = coloured(grey, attention).reshape(-1, 3)
    elsewhere = np.delete(np.arange(grey.size), near.pixels)
    assert np.array_equal(drawn[elsewhere], under[elsewhere])
    assert np.abs(drawn[near.pixels] - expected[near.pixels]).max() <= 1  # rounded after the casing and after the line
    covered = near.pixels[near.coverage(1.4) == 1]
    assert covered.size
    assert (drawn[covered] == (255, 222, 173)).all()
