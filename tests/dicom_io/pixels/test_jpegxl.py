"""JPEG XL: every sample of a lossless stream, every byte of a recompressed JPEG, and nothing of a damaged one."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from samples import public_sample

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.code_streams import decode_code_stream
from dicom_io.pixels.decoding import decode_frame, decode_stored_values
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.jpegxl_stream import read_jpegxl
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.radiograph import read_radiograph

FAMILY = "1.2.840.10008.1.2.4."
LOSSLESS, RECOMPRESSION, ANY = FAMILY + "110", FAMILY + "111", FAMILY + "112"
PIXELS = drawn_chest(61, 47)
BYTES = (PIXELS >> 4).astype(np.uint8)
COLOURS = {
    "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
    "BitsStored": 8, "HighBit": 7,
}  # fmt: skip


def stream(pixels: NDArray[np.generic], bits: int, **options: object) -> bytes:
    """Return a lossless stream of samples of so many bits, unless the options say otherwise."""
    grey = {"photometric": "gray"} if pixels.ndim == 2 else {}
    return bytes(imagecodecs.jpegxl_encode(pixels, **{"lossless": True, "bitspersample": bits} | grey | options))


def image(frame: bytes, pixels: NDArray[np.generic], bits: int, syntax: str = LOSSLESS, **keywords: object) -> Dataset:
    allocated = 8 if bits <= 8 else 16
    layout = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1, "TransferSyntaxUID": syntax}
    rows, columns = pixels.shape[:2]
    dataset = chest_radiograph(
        PIXELS, **layout | {"Rows": rows, "Columns": columns, "PixelData": encapsulate([frame])} | keywords
    )
    dataset["PixelData"].is_undefined_length = True
    return dataset


def refusal(dataset: Dataset) -> ReasonCode:
    with pytest.raises(UndecodableError) as caught:
        decode_frame(dataset)
    return caught.value.reason_code


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(2, 16),
    rows=st.integers(1, 70),
    columns=st.integers(2, 70),
    seed=st.integers(0, 2**32 - 1),
    effort=st.integers(1, 7),
    container=st.booleans(),
    signed=st.booleans(),
)
def test_a_lossless_stream_gives_every_sample_back(
    bits: int, rows: int, columns: int, seed: int, effort: int, container: bool, signed: bool
) -> None:
    codes = (
        np.random.default_rng(seed).integers(0, 1 << bits, (rows, columns)).astype(np.uint8 if bits <= 8 else np.uint16)
    )
    frame = stream(codes, bits, effort=effort, usecontainer=container)
    dataset = image(frame, codes, bits, PixelRepresentation=int(signed))
    found = decode_frame(dataset)
    np.testing.assert_array_equal(found.values, codes)
    assert found.coding == "JPEG XL"


@pytest.mark.parametrize("size", [(8, 8), (48, 64), (256, 256), (61, 47), (90, 108), (1, 600), (520, 8200)])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_header_says_the_size_and_the_bits_that_were_encoded(size: tuple[int, int], bits: int) -> None:
    layout = PixelLayout(*size, 1, 16, bits, False, "MONOCHROME2")
    codes = np.zeros(size, np.uint8 if bits == 8 else np.uint16)
    found = read_jpegxl(stream(codes, bits), layout)
    assert (found.rows, found.columns, found.components, found.precision) == (*size, 1, bits)
    assert not found.perceptual


def test_a_real_radiograph_is_the_same_in_jpeg_xl() -> None:
    plain = read_dicom_file(public_sample("RG3_UNCR.dcm"))
    values = decode_stored_values(plain)
    packed = read_dicom_file(public_sample("RG3_UNCR.dcm"))
    packed.file_meta.TransferSyntaxUID = LOSSLESS
    packed.PixelData = encapsulate([stream(values, int(plain.BitsStored))])
    packed["PixelData"].is_undefined_length = True
    for decoding in Decoding:
        found, expected = read_radiograph(packed, decoding), read_radiograph(plain)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.pixel_sha256 == expected.pixel_sha256


def test_fewer_bits_in_the_stream_than_stored_keep_their_sign() -> None:
    values = PIXELS.astype(np.int16) - 2048
    dataset = image(stream(values.view(np.uint16) & 0x0FFF, 12), values, 16, PixelRepresentation=1)
    np.testing.assert_array_equal(decode_stored_values(dataset).view(np.int16), values)


def test_colours_come_back() -> None:
    colours = np.random.default_rng(2).integers(0, 256, (61, 47, 3), np.uint8)
    np.testing.assert_array_equal(decode_stored_values(image(stream(colours, 8), colours, 8, **COLOURS)), colours)


@pytest.mark.parametrize("interpretation", ["RGB", "XYB"])
def test_lossy_colours_are_nearly_those_that_were_encoded(interpretation: str) -> None:
    colours = np.stack([BYTES, BYTES // 2, 255 - BYTES], axis=-1)
    frame = stream(colours, 8, lossless=False, distance=0.5)
    dataset = image(frame, colours, 8, ANY, **COLOURS | {"PhotometricInterpretation": interpretation})
    assert np.abs(decode_stored_values(dataset).astype(int) - colours).mean() < 3


def test_a_lossy_stream_is_nearly_what_was_encoded() -> None:
    frame = stream(PIXELS, 12, lossless=False, distance=0.5)
    layout = PixelLayout(61, 47, 1, 16, 12, False, "MONOCHROME2")
    assert read_jpegxl(frame, layout).perceptual
    values = decode_stored_values(image(frame, PIXELS, 12, ANY)).astype(int)
    assert np.abs(values - PIXELS).mean() < 0.01 * 4095


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("grey", [True, False])
def test_a_recompressed_jpeg_is_the_jpeg(grey: bool, subsampling: str) -> None:
    pixels = BYTES if grey else np.stack([BYTES, BYTES // 2, 255 - BYTES], axis=-1)
    jpeg = bytes(imagecodecs.jpeg8_encode(pixels, level=80, **{} if grey else {"subsampling": subsampling}))
    colours = {} if grey else COLOURS | {"PhotometricInterpretation": "YBR_FULL_422"}
    frame = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True))
    for syntax in (RECOMPRESSION, ANY):
        values = decode_stored_values(image(frame, pixels, 8, syntax, **colours))
        expected = decode_stored_values(image(jpeg, pixels, 8, FAMILY + "50", **colours))
        np.testing.assert_array_equal(values, expected)


def test_colours_of_a_jpeg_that_cannot_be_had_back_are_refused() -> None:
    """Whether libjxl has turned them into RGB, the frame says; taken for RGB, greys would lose their contrast."""
    jpeg = bytes(imagecodecs.jpeg8_encode(np.stack([BYTES] * 3, axis=-1), level=80))
    frame = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True)).replace(b"jbrd", b"free")
    dataset = image(frame, BYTES, 8, RECOMPRESSION, **COLOURS | {"PhotometricInterpretation": "YBR_FULL_422"})
    assert refusal(dataset) is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", FAMILY + "90", FAMILY + "50"])
def test_xyb_is_a_colour_space_of_jpeg_xl_alone(syntax: str) -> None:
    colours = np.stack([BYTES] * 3, axis=-1)
    dataset = chest_radiograph(BYTES, **COLOURS | {"PixelData": colours.tobytes() + b"\0"})
    if syntax.startswith(FAMILY):
        encode = imagecodecs.jpeg2k_encode if syntax.endswith("90") else imagecodecs.jpeg8_encode
        dataset = image(bytes(encode(colours)), colours, 8, syntax, **COLOURS)
    elif syntax.endswith(".5"):
        dataset.compress(syntax, encoding_plugin="pydicom")
    assert decode_stored_values(dataset).shape == (61, 47, 3)
    dataset.PhotometricInterpretation = "XYB"
    assert refusal(dataset) in (ReasonCode.UNSUPPORTED_PIXELS, ReasonCode.UNDECODABLE)


def test_lossy_values_with_a_sign_are_refused() -> None:
    frame = stream(PIXELS, 12, lossless=False, distance=0.5)
    assert refusal(image(frame, PIXELS, 12, ANY, PixelRepresentation=1)) is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("bits", [8, 10])
def test_a_picture_of_more_bits_than_it_says_is_not_read(bits: int) -> None:
    down, across = np.ogrid[:300, :200]
    waves = np.rint(2048 + 1900 * np.sin(across / 40) * np.cos(down / 30)).astype(np.uint16)
    for options in ({}, {"lossless": False, "distance": 0.3}):
        dataset = image(stream(waves, 12, **options), waves, bits, ANY, BitsAllocated=16)
        assert refusal(dataset) is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize(
    "keywords",
    [{"Rows": 60}, {"Columns": 48}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, COLOURS],
)
def test_a_stream_that_holds_something_else_than_the_header_says_is_refused(keywords: dict[str, object]) -> None:
    assert refusal(image(stream(PIXELS, 12), PIXELS, 12, **keywords)) is ReasonCode.UNDECODABLE


def test_several_frames_further_channels_and_floats_are_refused() -> None:
    odd = {
        "frames": imagecodecs.jpegxl_encode(np.stack([PIXELS] * 2), lossless=True, photometric="gray"),
        "alpha": imagecodecs.jpegxl_encode(np.stack([PIXELS] * 2, axis=-1), lossless=True),
        "floats": imagecodecs.jpegxl_encode(PIXELS.astype(np.float16) / 4096, lossless=True, photometric="gray"),
    }
    for frame in odd.values():
        assert refusal(image(bytes(frame), PIXELS, 16, ANY)) is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_cut_stream_is_undecodable_wherever_it_was_cut(lossless: bool, container: bool) -> None:
    options = {"usecontainer": container} if lossless else {"usecontainer": container, "lossless": False}
    frame = stream(PIXELS, 12, **options)
    whole = decode_frame(image(frame, PIXELS, 12)).values
    for length in (*range(2, 60), *range(60, len(frame), 37), len(frame) - 1):
        for tail in (b"", bytes(2048)):
            cut = image(frame[:length] + tail, PIXELS, 12)
            try:
                values = decode_frame(cut).values
            except UndecodableError as error:
                assert error.reason_code is ReasonCode.UNDECODABLE
            else:  # libjxl 0.12 needs nothing of the last byte, if any other follows
                assert tail and length == len(frame) - 1
                np.testing.assert_array_equal(values, whole)


@pytest.mark.parametrize("replacement", [bytes(32), b"\x55" * 32, bytes(range(32))])
@pytest.mark.parametrize("options", [{}, {"lossless": False, "distance": 0.3}])
def test_a_damaged_stream_is_undecodable(options: dict[str, object], replacement: bytes) -> None:
    noisy = PIXELS ^ np.random.default_rng(3).integers(0, 16, PIXELS.shape, dtype=np.uint16)
    frame = stream(noisy, 12, **options)
    half = len(frame) // 2
    damaged = frame[:half] + replacement + frame[half + len(replacement) :]
    assert refusal(image(damaged, noisy, 12, ANY)) is ReasonCode.UNDECODABLE


def test_a_jpeg_out_of_jpeg_xl_is_bounded() -> None:
    """Two megabytes of comments in a few bytes: no more is unpacked than twice the picture and a megabyte."""
    jpeg = bytes(imagecodecs.jpeg8_encode(BYTES, level=80))
    comments = b"".join(b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000) for _ in range(35))
    frame = bytes(imagecodecs.jpegxl_encode_jpeg(jpeg[:2] + comments + jpeg[2:], usecontainer=True))
    assert len(frame) < 3000
    assert refusal(image(frame, BYTES, 8, RECOMPRESSION)) is ReasonCode.UNDECODABLE


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x40jxlc\xff\x0a"]),
    st.binary(),
)
def test_no_bytes_leave_the_decoder_but_by_name(start: bytes, rest: bytes) -> None:
    layout = PixelLayout(7, 9, 1, 16, 12, False, "MONOCHROME2")
    with pytest.raises(UndecodableError):
        decode_code_stream(start + rest, layout)
