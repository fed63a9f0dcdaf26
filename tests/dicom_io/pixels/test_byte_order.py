"""Words whose bytes stand the wrong way round are put right, and no other words are touched."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from samples import public_sample, shared

from dicom_io.pixels.byte_order import in_right_order
from dicom_io.pixels.decoding import decode_frame
from dicom_io.pixels.pixel_layout import read_layout
from dicom_io.pixels.radiograph import read_radiograph

_DOWN, _ACROSS = np.mgrid[:300, :200]
WAVES = 0.5 + 0.45 * np.sin(_ACROSS / 30) * np.cos(_DOWN / 40) + np.random.default_rng(1).normal(0, 0.004, (300, 200))
EXPLICIT, BIG_ENDIAN, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"


def image(words: NDArray[np.uint16], bits: int, **keywords: Any) -> Dataset:
    return chest_radiograph(words, **{"BitsStored": bits, "HighBit": bits - 1} | keywords)


def codes(bits: int, *, signed: bool = False) -> NDArray[np.uint16]:
    values = np.rint(WAVES * ((1 << bits) - 1)).astype(np.int32) - signed * (1 << (bits - 1))
    return (values & 0xFFFF).astype(np.uint16)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
def test_a_picture_with_its_bytes_swapped_is_put_right(bits: int, signed: bool) -> None:
    layout = {"PixelRepresentation": int(signed)}
    plain = decode_frame(image(codes(bits, signed=signed), bits, **layout))
    swapped = decode_frame(image(codes(bits, signed=signed).byteswap(), bits, **layout))
    np.testing.assert_array_equal(swapped.values, plain.values)


def test_so_it_is_in_every_coding_that_knows_bytes() -> None:
    words = codes(12)
    big = image(words, 12, TransferSyntaxUID=BIG_ENDIAN)  # its words stand in little endian
    planes = [imagecodecs.packbits_encode((words >> shift).astype(np.uint8).tobytes()) for shift in (0, 8)]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(planes[0])
    run_lengths = image(
        words, 12, TransferSyntaxUID=RLE, PixelData=encapsulate([header.tobytes() + b"".join(planes)])
    )  # the lower byte first
    framed = image(
        words, 12, TransferSyntaxUID="1.2.840.10008.1.2.1.98", PixelData=encapsulate([words.byteswap().tobytes()])
    )
    for dataset in (big, run_lengths, framed):
        np.testing.assert_array_equal(decode_frame(dataset).values, words)


def untouched(words: NDArray[np.uint16], bits: int, **keywords: Any) -> None:
    layout = read_layout(image(words, bits, **keywords))
    assert in_right_order(words, layout) is words


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [8, 12, 15, 16])
def test_other_words_are_left_as_they_are(bits: int, signed: int) -> None:
    random = np.random.default_rng(2)
    highest = (1 << bits) - 1
    for words in (
        codes(bits),
        codes(bits, signed=True),
        codes(8) << (7 if signed else 8),
        drawn_chest(300, 200, bits),
        random.integers(0, highest, (300, 200)).astype(np.uint16),
        np.full((300, 200), highest, np.uint16),
        np.zeros((1, 1), np.uint16),
        codes(bits) | 0x8000,
        (codes(bits).astype(np.int32) + random.integers(-highest // 8, highest // 8, (300, 200))).clip(0, highest)
        .astype(np.uint16),
    ):  # fmt: skip
        untouched(words, bits, PixelRepresentation=signed)
    untouched(codes(16).byteswap(), 16, PhotometricInterpretation="PALETTE COLOR")


@pytest.mark.parametrize("name", ["RG1_UNCR", "RG3_UNCR", "MR2_UNCR"])
def test_real_pictures_are_read_with_their_bytes_swapped_and_as_they_are(name: str) -> None:
    dataset = pydicom.dcmread(public_sample(f"{name}.dcm"))
    plain = read_radiograph(dataset)
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    assert read_radiograph(dataset).pixel_sha256 == plain.pixel_sha256


def test_a_real_chest_of_ten_bits_too() -> None:
    dataset = pydicom.dcmread(shared("data/dicom/gdcm_cr_mono1_10_chest_evle.dcm"))
    plain = read_radiograph(dataset)
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    assert read_radiograph(dataset).pixel_sha256 == plain.pixel_sha256


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 300)])
@pytest.mark.parametrize("bits", [12, 16])
def test_a_picture_of_one_column_or_row_is_left_alone(bits: int, shape: tuple[int, int]) -> None:
    """It has no neighbours in a row, or few rows; its words are all in the upper half of their range, or above it."""
    words = np.random.default_rng(8).integers(0x8000, 0x10000, shape, np.uint16)
    np.testing.assert_array_equal(in_right_order(words, read_layout(image(words, bits))), words)
