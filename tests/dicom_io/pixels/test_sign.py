"""Pixel Representation that contradicts the samples is seen by the picture's jumps, and no other picture is refused."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from samples import public_sample, shared

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import read_radiograph

_DOWN, _ACROSS = np.mgrid[:400, :300]
WAVES = 0.5 + 0.45 * np.sin(_ACROSS / 30) * np.cos(_DOWN / 40) + np.random.default_rng(1).normal(0, 0.004, (400, 300))
"""A picture from 0 to 1 that goes through most of its grey levels, without edges."""
BITS = [10, 12, 15, 16]


def image(codes: NDArray[np.int64], bits: int, *, signed: bool, extended: bool = True) -> Dataset:
    """Return an image of these values, whose sign goes up to the highest bit of the word, or of Bits Stored."""
    words = (codes & ((1 << (16 if extended else bits)) - 1)).astype("<u2")
    return chest_radiograph(words, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))


def refusal(dataset: Dataset) -> str:
    with pytest.raises(UndecodableError) as caught:
        decode_frame(dataset)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS
    return str(caught.value)


@pytest.mark.parametrize("bits", BITS)
def test_samples_without_a_sign_that_are_said_to_have_one_are_refused(bits: int) -> None:
    codes = np.rint(WAVES * ((1 << bits) - 1)).astype(np.int64)
    why = refusal(image(codes, bits, signed=True))
    assert ("PixelRepresentation 1" if bits == 16 else "goes on above") in why
    decode_frame(image(codes, bits, signed=False))


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("middle", [0.5, 0.2, 0.1])
@pytest.mark.parametrize("bits", BITS)
def test_samples_with_a_sign_that_are_said_to_have_none_are_refused(bits: int, middle: float, extended: bool) -> None:
    codes = np.rint((WAVES - middle) * ((1 << (bits - 1)) - 1)).astype(np.int64)
    assert "PixelRepresentation 0" in refusal(image(codes, bits, signed=False, extended=extended))
    decode_frame(image(codes, bits, signed=True, extended=extended))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("blurred", [False, True])
def test_white_letters_on_a_black_border_tear_no_picture(signed: bool, blurred: bool) -> None:
    """Though the picture itself has only the lower half of the values, which would tell that all is in order."""
    codes = np.rint(np.tile(WAVES, (3, 3)) * 1800).astype(np.int64) + 100
    codes[:, :200] = 0
    for left in range(20, 180, 10):
        codes[40:60, left : left + 5] = 4095
    if blurred:
        noise = np.random.default_rng(5).integers(0, 40, codes.shape)
        codes = np.where(codes == 0, noise, np.where(codes == 4095, 4095 - noise, codes))
    decode_frame(image(codes - 2048 * signed, 12, signed=signed))


@pytest.mark.parametrize("signed", [False, True])
def test_noise_is_no_torn_picture(signed: bool) -> None:
    decode_frame(image(np.random.default_rng(3).integers(0, 4096, (400, 300)), 12, signed=signed))


@pytest.mark.parametrize("signed", [False, True])
def test_a_drawn_chest_with_hard_edges_over_the_whole_range_is_read(signed: bool) -> None:
    codes = drawn_chest(400, 300).astype(np.int64) - 2048 * signed
    decode_frame(image(codes, 12, signed=signed))


def test_half_the_resolution_does_not_hide_a_torn_picture() -> None:
    rows, columns = np.mgrid[:1900, :1800]
    codes = np.rint(600 * np.sin(columns / 90) * np.cos(rows / 70)).astype(np.int64) & 0xFFF
    frame = imagecodecs.jpeg2k_encode(
        codes.astype(np.uint16), level=0, reversible=True, codecformat="j2k", bitspersample=12
    )
    dataset = image(codes, 12, signed=False)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    for decoding in Decoding:
        with pytest.raises(UndecodableError, match="PixelRepresentation 0"):
            read_radiograph(dataset, decoding)


CHESTS = ["gdcm_cr_mono1_10_chest_evle", "nema_wg04_rg1_cr_chest_pa_jpegls_near_mono1_15bit"]


@pytest.mark.parametrize("percentile", [50, 90])
@pytest.mark.parametrize("name", CHESTS)
def test_a_real_chest_with_a_sign_is_read_and_refused_without_it(name: str, percentile: int) -> None:
    frame = decode_frame(pydicom.dcmread(shared(f"data/dicom/{name}.dcm")))
    bits = frame.layout.bits_stored
    codes = frame.values.astype(np.int64)
    codes -= int(np.percentile(codes, percentile))
    decode_frame(image(codes, bits + 1, signed=True))
    assert "PixelRepresentation 0" in refusal(image(codes, bits + 1, signed=False))


def test_the_public_chest_without_a_sign_is_read_and_refused_with_one() -> None:
    values = decode_frame(pydicom.dcmread(public_sample("RG1_UNCR.dcm"))).values.astype(np.int64)
    decode_frame(image(values * 2, 16, signed=False))
    assert "PixelRepresentation 1" in refusal(image(values * 2, 16, signed=True))
