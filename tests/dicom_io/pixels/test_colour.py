"""Colours in which radiographs are sent: whatever header and markers say of them, a grey picture is itself."""

from __future__ import annotations

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space

from dicom_io.pixels.colour import as_rgb, luma
from dicom_io.pixels.radiograph import read_radiograph

GREY = (drawn_chest(160, 120, 8) * (200 / 255) + np.random.default_rng(6).integers(35, 45, (160, 120))).astype(np.uint8)
RGB = np.dstack([GREY] * 3)
SAMPLES = {"RGB": RGB, "YBR_FULL": np.asarray(convert_color_space(RGB, "RGB", "YBR_FULL"))}
"""The grey picture in each colour space."""
FAMILY = "1.2.840.10008.1.2.4."
Encoder = Callable[[NDArray[np.uint8]], bytes]


def run_lengths(samples: NDArray[np.uint8]) -> bytes:
    """Return the three planes (PS3.5 annex G)."""
    planes = [imagecodecs.packbits_encode(np.ascontiguousarray(samples[..., part]).tobytes()) for part in range(3)]
    planes = [plane + b"\0" * (len(plane) % 2) for plane in planes]
    starts = 64 + np.cumsum([0, *map(len, planes[:2])])
    return struct.pack("<16I", 3, *starts, *[0] * 12) + b"".join(planes)


def jpeg(samples: NDArray[np.uint8]) -> bytes:
    """Return a JPEG of the samples as they are, without a marker that says what they are."""
    stream = bytes(imagecodecs.jpeg8_encode(samples, level=100, colorspace="RGB", outcolorspace="RGB"))
    assert stream[2:4] == b"\xff\xee"  # Adobe
    (length,) = struct.unpack_from(">H", stream, 4)
    bare = stream[:2] + stream[4 + length :]
    for component in (b"R", b"G", b"B"):
        assert component in bare
    return numbered(bare)


def numbered(stream: bytes) -> bytes:
    """Return the JPEG with components 1, 2, 3, which may be anything, instead of R, G and B."""
    changed = bytearray(stream)
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        place = stream.index(marker)
        for number in range(3):
            changed[place + first + step * number] = number + 1
    return bytes(changed)


def marked(samples: NDArray[np.uint8], transform: int) -> bytes:
    """Return the same with Adobe's marker, which says what they are: 0 for RGB, 1 for YCbCr."""
    return b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) + jpeg(samples)[2:]


CODINGS: dict[str, tuple[str, Encoder | None]] = {
    "native": ("1.2.840.10008.1.2.1", None),
    "RLE": ("1.2.840.10008.1.2.5", run_lengths),
    "JPEG": (FAMILY + "50", jpeg),
    "JPEG, marked as RGB": (FAMILY + "50", lambda samples: marked(samples, 0)),
    "JPEG, marked as YCbCr": (FAMILY + "50", lambda samples: marked(samples, 1)),
    "JPEG-LS": (FAMILY + "80", imagecodecs.jpegls_encode),
    "JPEG 2000": (FAMILY + "90", lambda samples: imagecodecs.jpeg2k_encode(samples, level=0, mct=False)),
    "JPEG 2000, colours transformed": (FAMILY + "90", lambda samples: imagecodecs.jpeg2k_encode(samples, level=0)),
}


def image(samples: NDArray[np.uint8], interpretation: str, coding: str) -> Dataset:
    syntax, encode = CODINGS[coding]
    rows, columns, _ = samples.shape
    made = chest_radiograph(
        SamplesPerPixel=3, PhotometricInterpretation=interpretation, PlanarConfiguration=0, Rows=rows, Columns=columns,
        BitsAllocated=8, BitsStored=8, HighBit=7, TransferSyntaxUID=syntax, WindowCenter=None, WindowWidth=None,
        PixelData=samples.tobytes() if encode is None else encapsulate([encode(samples)]),
    )  # fmt: skip
    made["PixelData"].is_undefined_length = encode is not None
    return made


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT"])
@pytest.mark.parametrize("actual", SAMPLES)
def test_a_grey_picture_in_colours_is_itself_whatever_is_said_of_them(actual: str, stated: str, coding: str) -> None:
    pixels = read_radiograph(image(SAMPLES[actual], stated, coding)).pixels
    assert np.abs(pixels.astype(int) - GREY).max() <= (6 if coding.startswith("JPEG,") or coding == "JPEG" else 1)
    assert np.abs(pixels.astype(int) - GREY).mean() < 1


@pytest.mark.parametrize("coding", ["native", "RLE", "JPEG-LS", "JPEG 2000"])
@pytest.mark.parametrize("actual", SAMPLES)
def test_a_few_coloured_letters_do_not_change_that(actual: str, coding: str) -> None:
    lettered = RGB.copy()
    lettered[5:15, 5:60] = (255, 220, 0)
    samples = lettered if actual == "RGB" else np.asarray(convert_color_space(lettered, "RGB", "YBR_FULL"))
    for stated in SAMPLES:
        pixels = read_radiograph(image(samples, stated, coding)).pixels.astype(int)
        assert np.abs(pixels[20:] - GREY[20:]).max() <= 1
        assert np.abs(pixels[5:15, 5:60] - 205).max() <= 2  # the luma of yellow


@pytest.mark.parametrize("luma_first", [False, True])
@pytest.mark.parametrize(
    "samples",
    [
        np.random.default_rng(4).integers(0, 256, (200, 200, 3), np.uint8),
        np.full((90, 90, 3), 128, np.uint8),
        np.dstack([GREY, GREY // 2, 255 - GREY]),
        np.dstack([GREY, GREY, np.where(np.arange(120) < 50, 255 - GREY, GREY)]),
    ],
    ids=["noise", "one grey", "colours", "colours in a part"],
)
def test_colours_are_what_is_said_of_them(samples: NDArray[np.uint8], luma_first: bool) -> None:
    expected = convert_color_space(samples, "YBR_FULL", "RGB") if luma_first else samples
    np.testing.assert_array_equal(as_rgb(samples, luma_first=luma_first), expected)


def test_a_picture_unpacked_from_a_jpeg_still_said_to_have_half_its_colours() -> None:
    """YBR_FULL_422 has two bytes a pixel (PS3.3 C.7.6.3.1.2); three were left there."""
    colours = np.random.default_rng(7).integers(60, 190, (40, 60, 3), np.uint8).repeat(4, 0).repeat(2, 1)
    ybr = np.asarray(convert_color_space(colours, "RGB", "YBR_FULL"))
    pixels = read_radiograph(image(ybr, "YBR_FULL_422", "native")).pixels.astype(int)
    assert np.abs(pixels - luma(colours)).max() <= 2


@pytest.mark.parametrize("stated", [0, 1])
@pytest.mark.parametrize("actual", [0, 1])
@pytest.mark.parametrize("space", SAMPLES)
def test_a_grey_picture_stands_plane_by_plane_or_not_whatever_is_said(space: str, actual: int, stated: int) -> None:
    dataset = image(SAMPLES[space], space, "native")
    dataset.PlanarConfiguration = stated
    if actual:
        dataset.PixelData = np.moveaxis(SAMPLES[space], -1, 0).tobytes()
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, GREY)


@pytest.mark.parametrize("stated", [0, 1])
def test_colours_stand_as_is_said(stated: int) -> None:
    samples = np.dstack([GREY, GREY // 2, 255 - GREY])
    dataset = image(samples, "RGB", "native")
    dataset.PlanarConfiguration = stated
    expected = samples if stated == 0 else np.moveaxis(samples.reshape(3, *GREY.shape), 0, -1)
    np.testing.assert_array_equal(read_radiograph(dataset).pixels, luma(expected))
