"""Encapsulated Uncompressed and Deflated Image Frame Compression (PS3.5 A.4.11, A.4.13): plain samples in items."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame, decode_stored_values
from dicom_io.pixels.radiograph import read_radiograph

UNCOMPRESSED, DEFLATED = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
PIXELS = drawn_chest(61, 47)


def as_it_is(samples: bytes) -> bytes:
    return samples


def deflated(samples: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(samples) + compressor.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {UNCOMPRESSED: as_it_is, DEFLATED: deflated}


def image(syntax: str, samples: bytes, **keywords: object) -> Dataset:
    """Return an image of `PIXELS`' size whose one fragment holds these bytes as they are."""
    keywords = {"TransferSyntaxUID": syntax, "PixelData": encapsulate([samples])} | keywords
    dataset = chest_radiograph(PIXELS, **keywords)
    dataset["PixelData"].is_undefined_length = True
    return dataset


@pytest.mark.parametrize(("syntax", "encode"), CODINGS.items(), ids=CODINGS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_sample_comes_back(syntax: str, encode: Callable[[bytes], bytes], bits: int, signed: bool) -> None:
    layout = {"BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits, "HighBit": bits - 1}
    values = drawn_chest(61, 47, bits).astype(np.int32) - signed * (1 << (bits - 1))
    words = values.astype("<i2" if bits > 8 else "i1")
    dataset = image(syntax, encode(words.tobytes()), PixelRepresentation=int(signed), **layout)
    np.testing.assert_array_equal(decode_stored_values(dataset), values & ((1 << bits) - 1))


@pytest.mark.parametrize(("syntax", "encode"), CODINGS.items(), ids=CODINGS)
def test_the_picture_is_that_of_the_plain_file(syntax: str, encode: Callable[[bytes], bytes]) -> None:
    plain = chest_radiograph(PIXELS)
    found = read_radiograph(image(syntax, encode(plain.PixelData)))
    np.testing.assert_array_equal(found.pixels, read_radiograph(plain).pixels)
    assert found.pixel_sha256 == read_radiograph(plain).pixel_sha256


@pytest.mark.parametrize(("syntax", "encode"), CODINGS.items(), ids=CODINGS)
@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_those_of_the_plain_file(
    syntax: str, encode: Callable[[bytes], bytes], interpretation: str, planar: int
) -> None:
    samples = np.random.default_rng(3).integers(0, 256, 61 * 47 * 3, np.uint8).tobytes()
    colours = {
        "SamplesPerPixel": 3, "PhotometricInterpretation": interpretation, "PlanarConfiguration": planar,
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Rows": 61, "Columns": 47,
    }  # fmt: skip
    plain = chest_radiograph(PIXELS, PixelData=samples + b"\0", **colours)
    values = decode_stored_values(image(syntax, encode(samples), **colours))
    assert values.shape == (61, 47, 3)
    np.testing.assert_array_equal(values, decode_stored_values(plain))


@pytest.mark.parametrize(("syntax", "encode"), CODINGS.items(), ids=CODINGS)
def test_the_extended_offset_table_is_not_needed(syntax: str, encode: Callable[[bytes], bytes]) -> None:
    frame = encode(PIXELS.tobytes())
    data, offsets, lengths = encapsulate_extended([frame + bytes(len(frame) % 2)])
    dataset = image(
        syntax,
        b"\0\0",
        PixelData=data,
        ExtendedOffsetTable=offsets[:4] + b"\xff" * 4,
        ExtendedOffsetTableLengths=lengths,
    )
    np.testing.assert_array_equal(decode_stored_values(dataset), PIXELS)


def refusal(dataset: Dataset) -> ReasonCode:
    with pytest.raises(UndecodableError) as caught:
        decode_stored_values(dataset)
    return caught.value.reason_code


@pytest.mark.parametrize(("syntax", "encode"), CODINGS.items(), ids=CODINGS)
def test_a_frame_that_is_too_small_is_refused(syntax: str, encode: Callable[[bytes], bytes]) -> None:
    assert refusal(image(syntax, encode(PIXELS.tobytes()[:-2]))) is ReasonCode.UNDECODABLE


def test_a_fragment_with_two_frames_is_refused() -> None:
    assert refusal(image(UNCOMPRESSED, PIXELS.tobytes() * 2 + bytes(2))) is ReasonCode.UNSUPPORTED_PIXELS


def test_a_deflated_frame_may_be_padded_but_holds_nothing_else() -> None:
    """What it inflates to is the only sign of damage."""
    samples = PIXELS.tobytes()
    np.testing.assert_array_equal(decode_stored_values(image(DEFLATED, deflated(samples + b"\0") + bytes(9))), PIXELS)
    for frame in (deflated(samples + bytes(2)), deflated(samples) + b"\1"):
        assert refusal(image(DEFLATED, frame)) is ReasonCode.UNDECODABLE


@pytest.mark.parametrize("lost_bytes", [1, 8, 300])
def test_a_deflated_frame_that_is_cut_short_is_refused(lost_bytes: int) -> None:
    noise = np.random.default_rng(4).integers(0, 4096, PIXELS.shape, np.uint16).tobytes()
    assert refusal(image(DEFLATED, deflated(noise)[:-lost_bytes])) is ReasonCode.UNDECODABLE


def test_bytes_that_are_no_deflate_stream_are_refused() -> None:
    assert refusal(image(DEFLATED, b"\xff" * 400)) is ReasonCode.UNDECODABLE


def test_what_a_frame_inflates_to_is_bounded() -> None:
    """A gigabyte of zeros in one megabyte: no more than the picture is inflated of it."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1024)) + compressor.flush()
    tracemalloc.start()
    assert refusal(image(DEFLATED, bomb)) is ReasonCode.UNDECODABLE
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 64 << 20


@pytest.mark.parametrize("syntax", CODINGS)
def test_the_coding_is_named(syntax: str) -> None:
    frame = decode_frame(image(syntax, CODINGS[syntax](PIXELS.tobytes())))
    assert frame.coding == {UNCOMPRESSED: "uncompressed", DEFLATED: "deflated"}[syntax]
