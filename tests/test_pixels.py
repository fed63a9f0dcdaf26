"""The pixel path, against formulas of PS3.3 by hand, the independent oracle and the manifest where they are here."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import warnings

import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, computed_radiograph
from pydicom.dataset import Dataset
from samples import public_sample, shared

from dicom_io.pixels import UndecodableError, read_radiograph
from dicom_io.reasons import ReasonCode

RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)


def grey(**keywords: object) -> np.ndarray:
    return read_radiograph(chest_radiograph(RAMP, **keywords)).pixels.ravel()


def test_a_linear_window_follows_the_formula():
    # PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5), here c 2048, w 1001
    expected = np.clip((RAMP.ravel() - 2047.5) / 1000 + 0.5, 0, 1)
    np.testing.assert_array_equal(grey(WindowCenter="2048", WindowWidth="1001"), np.rint(expected * 255))


def test_exact_and_sigmoid_windows_follow_theirs():
    x = RAMP.ravel().astype(float)
    exact = grey(WindowCenter="2048", WindowWidth="1000", VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_array_equal(exact, np.rint(np.clip((x - 2048) / 1000 + 0.5, 0, 1) * 255))
    sigmoid = grey(WindowCenter="2048", WindowWidth="1000", VOILUTFunction="SIGMOID")
    np.testing.assert_array_equal(sigmoid, np.rint(255 / (1 + np.exp(-4 * (x - 2048) / 1000))))


def test_the_first_of_several_windows_counts():
    several = grey(WindowCenter=["1000", "3000"], WindowWidth=["500", "100"])
    np.testing.assert_array_equal(several, grey(WindowCenter="1000", WindowWidth="500"))


def test_slope_and_intercept_come_before_the_window():
    shifted = grey(RescaleIntercept="-1000", RescaleSlope="2", WindowCenter="1000", WindowWidth="1001")
    expected = np.clip((RAMP.ravel() * 2.0 - 1000 - 999.5) / 1000 + 0.5, 0, 1)
    np.testing.assert_array_equal(shifted, np.rint(expected * 255))


@pytest.mark.parametrize(
    ("interpretation", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_bones_are_bright_in_all_six_combinations(interpretation, shape, inverted):
    pixels = grey(PhotometricInterpretation=interpretation, PresentationLUTShape=shape)
    assert (pixels[0] > pixels[-1]) == inverted
    np.testing.assert_array_equal(pixels, 255 - grey() if inverted else grey())


@pytest.mark.parametrize(
    "keywords",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowWidth": "0"},
        {"WindowWidth": "-5"},
        {"VOILUTFunction": "CURVED"},
        {"WindowCenter": ""},
    ],
)
def test_without_a_usable_window_percentiles_are_taken_and_flagged(keywords):
    radiograph = read_radiograph(chest_radiograph(RAMP, **keywords))
    assert radiograph.voi_fallback
    low, high = np.percentile(RAMP, (0.5, 99.5))
    expected = np.rint(np.clip((RAMP - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(radiograph.pixels, expected)


def test_padding_is_black_also_in_inverted_images_and_outside_the_percentiles():
    values = RAMP.copy()
    values[:8] = 0
    dataset = computed_radiograph(pixels=values, WindowCenter=None, WindowWidth=None, PixelPaddingValue=0)
    radiograph = read_radiograph(dataset)
    assert (radiograph.pixels[:8] == 0).all()
    low, high = np.percentile(values[8:], (0.5, 99.5))
    expected = np.rint((1 - np.clip((values[8:] - low) / (high - low), 0, 1)) * 255)
    np.testing.assert_array_equal(radiograph.pixels[8:], expected)


def test_a_padding_range_is_black():
    pixels = grey(PixelPaddingValue=100, PixelPaddingRangeLimit=200, WindowCenter="50", WindowWidth="2")
    assert (pixels[100:201] == 0).all()
    assert (pixels[201:] == 255).all()


def test_a_voi_lut_wins_over_the_window():
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = (np.arange(4096) // 16).astype("<u2").tobytes()
    pixels = grey(VOILUTSequence=[table], WindowCenter="1", WindowWidth="1")
    np.testing.assert_array_equal(pixels, RAMP.ravel() // 16)


def test_signed_values_are_signed():
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    keywords = {"PixelRepresentation": 1, "WindowCenter": "0", "WindowWidth": "4096"}
    radiograph = read_radiograph(chest_radiograph(signed.view(np.uint16), **keywords))
    np.testing.assert_array_equal(radiograph.pixels.ravel(), grey(WindowCenter="2048", WindowWidth="4096"))
    assert radiograph.pixel_sha256 == hashlib.sha256(signed.astype("<i2").tobytes()).hexdigest()


def test_colour_becomes_luma():
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 0], rgb[0, 1], rgb[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    dataset = chest_radiograph(
        np.zeros((2, 2), np.uint16), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=rgb.tobytes(), WindowCenter="127.5", WindowWidth="256",
    )  # fmt: skip
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, [[76, 150], [29, 0]])  # ITU-R BT.601


def test_the_hash_is_of_the_stored_values():
    radiograph = read_radiograph(chest_radiograph(RAMP))
    assert radiograph.pixel_sha256 == hashlib.sha256(RAMP.astype("<u2").tobytes()).hexdigest()
    assert (radiograph.rows, radiograph.columns) == (64, 64)


@pytest.mark.filterwarnings("ignore:End of file reached before delimiter")  # pydicom on the third
@pytest.mark.parametrize("data", [b"", b"no dicom", bytes(128) + b"DICM" + b"\xff" * 50])
def test_a_file_that_is_no_dicom_is_undecodable(tmp_path, data):
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    with pytest.raises(UndecodableError):
        read_radiograph(path)


def test_the_public_chest_reads_the_same_in_both_syntaxes():
    plain, jpeg2000 = (read_radiograph(public_sample(f"RG1_{kind}.dcm")) for kind in ("UNCR", "J2KR"))
    np.testing.assert_array_equal(plain.pixels, jpeg2000.pixels)
    assert plain.pixel_sha256 == jpeg2000.pixel_sha256
    assert not plain.voi_fallback
    rows, columns = plain.pixels.shape
    spine, corner = plain.pixels[rows // 2, columns // 2], plain.pixels[rows // 3, columns // 4]
    assert spine > corner  # bones bright, although the file is MONOCHROME1


def test_fixtures_stay_within_one_grey_level_of_the_oracle():
    spec = importlib.util.spec_from_file_location("pixel_oracle", shared("tools/pixel_oracle.py"))
    assert spec is not None and spec.loader is not None
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    paths = sorted(shared("data/examples/inputs").glob("*.dcm"))
    assert paths
    for path in paths:
        if path.stem == "cr_highbit15":
            with pytest.raises(UndecodableError) as caught:
                read_radiograph(path)
            assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = oracle.to_u8(pydicom.dcmread(path)).astype(int)
        assert np.abs(expected - read_radiograph(path).pixels).max() <= 1, path.name


def test_real_files_decode_to_the_hashes_of_the_manifest():
    with shared("data/dicom_manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["pixel_sha256"]]
    for row in rows:
        assert read_radiograph(shared("data/dicom") / row["file"]).pixel_sha256 == row["pixel_sha256"], row["file"]


def test_the_twelve_bit_extended_leg_decodes_too():
    lossy = read_radiograph(shared("data/dicom/nema_wg04_RG3_JPLY.dcm")).pixels.astype(int)
    plain = read_radiograph(public_sample("RG3_UNCR.dcm")).pixels.astype(int)
    assert np.abs(lossy - plain).mean() < 3  # JPEG, lossy


def test_every_lossless_syntax_of_one_image_is_the_same_image():
    folder = shared("data/examples/transfer_syntaxes")
    names = ("imp", "be", "defl", "rle", "p14", "sv1", "jls", "j2k")
    assert len({read_radiograph(folder / f"{name}.dcm").pixel_sha256 for name in names}) == 1
