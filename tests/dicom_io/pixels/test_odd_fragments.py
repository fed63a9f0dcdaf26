"""Encapsulated fragments of odd length, which PS3.5 A.4 forbids and many write: with a byte behind them or none."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.data_sets.element_head import TruncatedDataSetError
from dicom_io.data_sets.header import parse_header
from dicom_io.foundation.reasons import UndecodableError
from dicom_io.pixels.decoding import decode_stored_values
from dicom_io.pixels.encapsulation import single_frame

SYNTAX = "1.2.840.10008.1.2.4.80"
PIXELS = drawn_chest(61, 47)
STREAM = bytes(imagecodecs.jpegls_encode(PIXELS))
STREAM += bytes(1 - len(STREAM) % 2)
HALF = len(STREAM) // 2 | 1
END = b"\xfe\xff\xdd\xe0" + bytes(4)
UNDEFINED = 0xFFFFFFFF


def item(value: bytes, behind: bytes = b"") -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value + behind


ODD = {
    "one": item(b"") + item(STREAM) + END,
    "one, padded": item(b"") + item(STREAM, b"\0") + END,
    "one, padded with another byte": item(b"") + item(STREAM, b"\xff") + END,
    "one, padded as the next item begins": item(b"") + item(STREAM, b"\xfe") + END,
    "two": item(b"") + item(STREAM[:HALF]) + item(STREAM[HALF:]) + END,
    "two, the first padded": item(b"") + item(STREAM[:HALF], b"\0") + item(STREAM[HALF:]) + END,
    "no offset table": item(STREAM, b"\0") + END,
}


def file_with(pixel_data: bytes, path: Path, length: int = UNDEFINED) -> Path:
    """Write a file whose last element but one is Pixel Data with this value and length, byte for byte."""
    raw = write_dicom(chest_radiograph(PIXELS, PixelData=b"\0\0"), path).read_bytes()
    plain = struct.pack("<HH", 0x7FE0, 0x0010)
    raw = raw[: raw.rindex(plain)] + plain + b"OB\0\0" + struct.pack("<I", length) + pixel_data
    uncompressed, compressed = b"1.2.840.10008.1.2.1\0", SYNTAX.encode()
    raw = raw.replace(b"UI" + struct.pack("<H", 20) + uncompressed, b"UI" + struct.pack("<H", 22) + compressed, 1)
    raw = raw[:140] + struct.pack("<I", struct.unpack_from("<I", raw, 140)[0] + 2) + raw[144:]
    path.write_bytes(raw + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 4) + bytes(4))
    return path


@pytest.mark.parametrize("pixel_data", ODD.values(), ids=ODD)
def test_fragments_of_odd_length_are_decoded(pixel_data: bytes, tmp_path: Path) -> None:
    assert len(STREAM) % 2 == 1
    for length in (UNDEFINED, len(pixel_data)):
        path = file_with(pixel_data, tmp_path / "odd.dcm", length)
        dataset = read_dicom_file(path)
        assert (0xFFFC, 0xFFFC) in dataset  # what follows is read where it stands
        np.testing.assert_array_equal(decode_stored_values(dataset), PIXELS)


@pytest.mark.parametrize("pixel_data", ODD.values(), ids=ODD)
def test_an_object_with_fragments_of_odd_length_is_received(pixel_data: bytes, tmp_path: Path) -> None:
    raw = file_with(pixel_data, tmp_path / "odd.dcm").read_bytes()
    data_set = raw[144 + struct.unpack_from("<I", raw, 140)[0] :]
    assert parse_header(data_set, SYNTAX).PatientID == "PHANTOM-1"


@pytest.mark.parametrize("behind", [b"\0\0", b"\0\0\0"])
def test_more_than_one_byte_behind_a_fragment_is_damage(behind: bytes, tmp_path: Path) -> None:
    pixel_data = item(b"") + item(STREAM, behind) + END
    with pytest.raises(UndecodableError):
        single_frame(pixel_data)
    raw = file_with(pixel_data, tmp_path / "odd.dcm").read_bytes()
    with pytest.raises(TruncatedDataSetError):
        parse_header(raw[144 + struct.unpack_from("<I", raw, 140)[0] :], SYNTAX)


def test_a_byte_behind_a_fragment_of_even_length_is_damage() -> None:
    with pytest.raises(UndecodableError):
        single_frame(item(b"") + item(STREAM + b"\0", b"\0") + END)
