"""High Bit says where in a word a sample ends (PS3.5 8.1.1); values that do not lie there are no picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from renderers import installed, rendered

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame
from dicom_io.pixels.radiograph import read_radiograph

PLACES = [(12, 15), (12, 14), (10, 13), (8, 15), (15, 15)]
"""Bits Stored and High Bit."""


def samples(bits: int, *, signed: bool = False) -> NDArray[np.uint16]:
    """Return a drawn chest over the whole range of stored values, as words with the sample at the bottom."""
    values = drawn_chest(64, 48, bits).astype(np.int32)
    values.ravel()[:2] = 0, (1 << bits) - 1
    if signed:
        values = (values - (1 << (bits - 1))) & ((1 << bits) - 1)
    return values.astype(np.uint16)


def image(words: NDArray[np.uint16], bits: int, high_bit: int, **keywords: Any) -> Dataset:
    """Return a radiograph whose words are these, little-endian unless the transfer syntax says otherwise."""
    order = ">" if keywords.get("TransferSyntaxUID") == ExplicitVRBigEndian else "<"
    window = {"WindowCenter": str(1 << (bits - 1)), "WindowWidth": str(1 << bits)}
    made = chest_radiograph(words, **{"BitsStored": bits, "HighBit": high_bit, **window, **keywords})
    made.PixelData = keywords.get("PixelData", words.astype(f"{order}u2").tobytes())
    made["PixelData"].VR = "OW"
    return made


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high_bit"), PLACES)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_sample_is_read_where_high_bit_says_that_it_lies(
    bits: int, high_bit: int, signed: bool, syntax: str, tmp_path: Path
) -> None:
    words, lowest = samples(bits, signed=signed), high_bit + 1 - bits
    window = {"WindowCenter": "0"} if signed else {}
    layout = {"PixelRepresentation": int(signed), "TransferSyntaxUID": syntax, **window}
    plain = read_radiograph(write_dicom(image(words, bits, bits - 1, **layout), tmp_path / "plain.dcm"))
    moved = read_radiograph(write_dicom(image(words << lowest, bits, high_bit, **layout), tmp_path / "moved.dcm"))
    assert plain.pixels.std() > 20
    assert np.array_equal(moved.pixels, plain.pixels)
    assert moved.pixel_sha256 == plain.pixel_sha256


def test_run_lengths_are_read_the_same_way() -> None:
    words = samples(12)
    encoded = encapsulate([run_lengths(words << 4)])
    moved = image(words, 12, 15, TransferSyntaxUID="1.2.840.10008.1.2.5", PixelData=encoded)
    assert np.array_equal(decode_frame(moved).values, words)


def run_lengths(words: NDArray[np.uint16]) -> bytes:
    """Return both byte planes of these words, the upper first (PS3.5 annex G)."""
    planes = [imagecodecs.packbits_encode((words >> shift).astype(np.uint8).tobytes()) for shift in (8, 0)]
    planes = [plane + b"\0" * (len(plane) % 2) for plane in planes]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(planes[0])
    return header.tobytes() + b"".join(planes)


def test_an_overlay_in_a_bit_below_or_above_the_sample_is_no_part_of_it() -> None:
    words = samples(12)
    overlays = Dataset()
    for group, bit in ((0x6000, 0), (0x6002, 15)):
        overlays.add_new((group, 0x0100), "US", 16)
        overlays.add_new((group, 0x0102), "US", bit)
    drawn = ((np.indices(words.shape).sum(0) // 5) % 2).astype(np.uint16)
    moved = image((words << 3) | drawn | (drawn << 15), 12, 14)
    moved.update(overlays)
    assert np.array_equal(decode_frame(moved).values, words)


WRONG: list[tuple[str, Dataset]] = [
    ("the values lie at the bottom", image(samples(12), 12, 15)),
    ("something lies below the sample", image((samples(12) << 4) | 5, 12, 15)),
    ("the sample would begin below the word", image(samples(12), 12, 10)),
    ("the sample would end above the word", image(samples(12) << 4, 12, 16)),
    (
        "a code stream has no place for it",
        image(
            samples(12), 12, 15, TransferSyntaxUID=JPEGLosslessSV1,
            PixelData=encapsulate([imagecodecs.ljpeg_encode(samples(12) << 4, bitspersample=16)]),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize("made", [made for _, made in WRONG], ids=[why for why, _ in WRONG])
def test_where_the_values_do_not_lie_there_the_picture_is_refused(made: Dataset) -> None:
    with pytest.raises(UndecodableError, match=f"HighBit {made.HighBit}") as caught:
        read_radiograph(made)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def test_a_picture_that_goes_on_above_high_bit_is_refused_as_one_above_its_stored_bits_is() -> None:
    slope = np.tile(np.linspace(0, 8191, 96).astype(np.uint16), (64, 1))  # 13 bits
    for high_bit, lowest in ((11, 0), (14, 3)):
        with pytest.raises(UndecodableError, match="goes on above its 12 stored bits") as caught:
            read_radiograph(image(slope << lowest, 12, high_bit))
        assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def test_dcmtk_renders_the_same(tmp_path: Path) -> None:
    if not installed():
        pytest.skip("dcmtk is not installed")
    path = write_dicom(image(samples(12) << 4, 12, 15), tmp_path / "moved.dcm")
    radiograph = read_radiograph(path)
    _, theirs = rendered(path, radiograph, tmp_path)
    assert np.abs(radiograph.pixels.astype(int) - theirs).max() <= 1
