"""Pixel data that contradict their transfer syntax: read as what they are where nothing else is possible."""

from __future__ import annotations

import struct
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.data_sets.header import parse_header
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_frame
from dicom_io.pixels.encapsulation import single_frame
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import read_radiograph

PIXELS = drawn_chest(61, 47) ^ np.random.default_rng(3).integers(0, 16, (61, 47), dtype=np.uint16)
SAMPLES = PIXELS.astype("<u2").tobytes()
FAMILY = "1.2.840.10008.1.2.4."
IMPLICIT, EXPLICIT, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
FRAMED, DEFLATED = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
LABELS = [
    IMPLICIT, EXPLICIT, FRAMED, DEFLATED, RLE,
    *(FAMILY + each for each in ("50", "51", "57", "70", "80", "90", "91", "110", "201", "203")),
]  # fmt: skip


def run_lengths() -> bytes:
    dataset = chest_radiograph(PIXELS)
    dataset.compress(RLE)
    return single_frame(dataset.PixelData)


def deflated() -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(SAMPLES) + compressor.flush()


STREAMS: dict[str, bytes] = {
    "JPEG Lossless": imagecodecs.ljpeg_encode(PIXELS, bitspersample=12),
    "JPEG-LS": imagecodecs.jpegls_encode(PIXELS),
    "JPEG 2000": imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12),
    "HTJ2K": imagecodecs.htj2k_encode(PIXELS),
    "JPEG XL": imagecodecs.jpegxl_encode(PIXELS, lossless=True, usecontainer=True, bitspersample=12),
}
BOXED = imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="jp2", bitspersample=12)
FRAMES = STREAMS | {"RLE": run_lengths(), "uncompressed": SAMPLES}


def image(syntax: str, pixel_data: bytes, *, undefined_length: bool, **keywords: Any) -> Dataset:
    even = pixel_data + b"\0" * (len(pixel_data) % 2)
    made = chest_radiograph(PIXELS, TransferSyntaxUID=syntax, PixelData=even, **keywords)
    made["PixelData"].VR = "OB" if undefined_length else "OW"
    made["PixelData"].is_undefined_length = undefined_length
    return made


def relabelled(path: Path, syntax: str) -> Path:
    """Change the transfer syntax in the head of an explicit little-endian file, and nothing else."""
    raw = path.read_bytes()
    begins_at = 144 + struct.unpack_from("<I", raw, 140)[0]
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    with path.open("wb") as file:
        file.write(raw[:132])
        pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(raw[begins_at:])
    return path


@pytest.mark.parametrize("label", [EXPLICIT, RLE, FAMILY + "50", FAMILY + "90"])
@pytest.mark.parametrize("coding", [*STREAMS, "RLE", "uncompressed"])
def test_a_file_whose_head_names_another_transfer_syntax_is_received_and_read(
    coding: str, label: str, tmp_path: Path
) -> None:
    if coding == "uncompressed":
        made = chest_radiograph(PIXELS)
    else:
        syntax = RLE if coding == "RLE" else FAMILY + "80"
        made = image(syntax, encapsulate([FRAMES[coding]]), undefined_length=True)
    path = relabelled(write_dicom(made, tmp_path / "x.dcm"), label)
    raw = path.read_bytes()
    assert parse_header(raw[144 + struct.unpack_from("<I", raw, 140)[0] :], label).PatientID == "PHANTOM-1"
    frame = decode_frame(read_dicom_file(path))
    np.testing.assert_array_equal(frame.values, PIXELS)
    assert frame.coding == coding


@pytest.mark.parametrize("undefined_length", [True, False])
@pytest.mark.parametrize(
    ("label", "coding"),
    [each for each in product(LABELS, FRAMES) if each != (DEFLATED, "uncompressed")],  # that may be a damaged one
)
def test_a_frame_in_fragments_is_what_it_is_under_every_label(label: str, coding: str, undefined_length: bool) -> None:
    frame = decode_frame(image(label, encapsulate([FRAMES[coding]]), undefined_length=undefined_length))
    np.testing.assert_array_equal(frame.values, PIXELS)
    assert frame.coding == coding


@pytest.mark.parametrize("label", LABELS)
def test_samples_without_fragments_are_samples_under_every_label(label: str) -> None:
    frame = decode_frame(image(label, SAMPLES, undefined_length=False))
    np.testing.assert_array_equal(frame.values, PIXELS)
    assert frame.coding == "uncompressed"


@pytest.mark.parametrize("coding", STREAMS)
@pytest.mark.parametrize("label", LABELS)
def test_a_code_stream_without_fragments_is_one_under_every_label(label: str, coding: str) -> None:
    assert len(STREAMS[coding]) < len(SAMPLES)
    frame = decode_frame(image(label, STREAMS[coding], undefined_length=False))
    np.testing.assert_array_equal(frame.values, PIXELS)
    assert frame.coding == coding


@pytest.mark.parametrize("label", [EXPLICIT, RLE, FAMILY + "90"])
def test_a_jp2_file_is_one_under_every_label(label: str) -> None:
    frame = decode_frame(image(label, encapsulate([BOXED]), undefined_length=True))
    np.testing.assert_array_equal(frame.values, PIXELS)


def test_samples_that_begin_as_an_item_or_a_code_stream_are_samples() -> None:
    for start in (b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe0\0\0\0\0", b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51"):
        samples = start + SAMPLES[len(start) :]
        for tail in (b"", bytes(300)):
            values = decode_frame(
                image(EXPLICIT, samples + tail, undefined_length=False, BitsStored=16, HighBit=15)
            ).values
            assert values.astype("<u2").tobytes() == samples


def test_a_frame_in_fragments_longer_than_the_samples_is_not_shown_as_samples() -> None:
    """Noise compresses to no less than itself: its length alone would let it pass for samples with a tail."""
    noise = np.random.default_rng(5).integers(0, 65536, PIXELS.shape, dtype=np.uint16)
    data = encapsulate([imagecodecs.jpegls_encode(noise)])
    assert len(SAMPLES) < len(data) < 2 * len(SAMPLES)
    values = decode_frame(image(EXPLICIT, data, undefined_length=False, BitsStored=16, HighBit=15)).values
    np.testing.assert_array_equal(values, noise)


@pytest.mark.parametrize("decoding", list(Decoding))
@pytest.mark.parametrize("label", [FAMILY + "90", FAMILY + "201"])
@pytest.mark.parametrize("coding", FRAMES)
def test_the_picture_is_that_of_the_plain_file_however_it_is_decoded(
    coding: str, label: str, decoding: Decoding
) -> None:
    plain = read_radiograph(chest_radiograph(PIXELS))
    found = read_radiograph(image(label, encapsulate([FRAMES[coding]]), undefined_length=True), decoding)
    np.testing.assert_array_equal(found.pixels, plain.pixels)
    assert found.pixel_sha256 == plain.pixel_sha256


REFUSED: dict[str, tuple[str, bytes, bool]] = {
    "samples under a private syntax": ("1.2.826.0.1.3680043.9.1", SAMPLES, False),
    "samples in fragments under a private syntax": ("1.2.826.0.1.3680043.9.1", encapsulate([SAMPLES]), True),
    "a deflated frame under a native syntax": (EXPLICIT, encapsulate([deflated()]), True),
    "a deflated frame under RLE": (RLE, encapsulate([deflated()]), True),
    "a deflated frame under JPEG": (FAMILY + "70", encapsulate([deflated()]), True),
    "samples that are cut short, under JPEG": (FAMILY + "70", SAMPLES[:-2], False),
    "samples that are too long, under JPEG": (FAMILY + "70", SAMPLES + bytes(4), False),
    "samples in fragments that are cut short": (EXPLICIT, encapsulate([SAMPLES[:-2]]), True),
    "a code stream that is cut short, under a native syntax": (EXPLICIT, encapsulate([STREAMS["JPEG-LS"][:-90]]), True),
    "run lengths that are cut short, under JPEG": (FAMILY + "70", encapsulate([FRAMES["RLE"][:-90]]), True),
    "fragments that reach beyond the end": (EXPLICIT, encapsulate([STREAMS["JPEG-LS"]])[:-90], True),
}


@pytest.mark.parametrize(("label", "pixel_data", "undefined_length"), REFUSED.values(), ids=REFUSED)
def test_what_may_be_anything_is_refused(label: str, pixel_data: bytes, undefined_length: bool) -> None:
    with pytest.raises(UndecodableError) as caught:
        decode_frame(image(label, pixel_data, undefined_length=undefined_length))
    assert caught.value.reason_code is ReasonCode.UNDECODABLE


def test_the_order_of_bytes_is_that_of_the_label_where_samples_stand_alone() -> None:
    swapped = image("1.2.840.10008.1.2.2", PIXELS.astype(">u2").tobytes(), undefined_length=False)
    np.testing.assert_array_equal(decode_frame(swapped).values, PIXELS)
