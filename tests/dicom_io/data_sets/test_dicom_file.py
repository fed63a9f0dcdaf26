"""Files into memory: whole, bounded, and in every transfer syntax."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pydicom
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_io.data_sets import dicom_file
from dicom_io.data_sets.dicom_file import parse_dicom, read_dicom_file, read_dicom_header, read_hashed
from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.radiograph import read_radiograph

SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]


def refusal(path: Path) -> ReasonCode:
    with pytest.raises(UndecodableError) as caught:
        read_radiograph(path)
    return caught.value.reason_code


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_file_reads_as_it_was_written(syntax: str, tmp_path: Path) -> None:
    written = chest_radiograph(TransferSyntaxUID=syntax)
    dataset = read_dicom_file(write_dicom(written, tmp_path / "x.dcm"))
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert dataset.filename == str(tmp_path / "x.dcm")
    assert [element for element in dataset if element.tag != 0x7FE00010] == [
        element for element in written if element.tag != 0x7FE00010
    ]
    assert dataset.PixelData == written.PixelData


@pytest.mark.parametrize("syntax", [*SYNTAXES, "1.2.840.10008.1.2.5"])
@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_undecodable(syntax: str, part: float, tmp_path: Path) -> None:
    dataset = chest_radiograph()
    if syntax.endswith(".5"):
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = type(dataset.file_meta.TransferSyntaxUID)(syntax)
    path = write_dicom(dataset, tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert refusal(path) is ReasonCode.UNDECODABLE


def test_a_file_that_is_not_there_is_no_question_of_decoding(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_dicom_file(tmp_path / "nowhere.dcm")


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3_000_001])
def test_a_file_is_hashed_as_it_is_read(size: int, tmp_path: Path) -> None:
    written = os.urandom(size)
    (tmp_path / "x.dcm").write_bytes(written)
    assert read_hashed(tmp_path / "x.dcm") == (written, hashlib.sha256(written).hexdigest())


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"abc" * 1000)
    before = os.fstat

    def grows(descriptor: int) -> os.stat_result:
        found = before(descriptor)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(dicom_file.os, "fstat", grows)
    assert read_hashed(path) == (b"abc" * 1000, hashlib.sha256(b"abc" * 1000).hexdigest())


def test_a_file_too_large_is_not_hashed(tmp_path: Path) -> None:
    with (tmp_path / "x.dcm").open("wb") as file:
        file.truncate(dicom_file.MAXIMUM_FILE_BYTES + 1)
    with pytest.raises(UndecodableError) as caught:
        read_hashed(tmp_path / "x.dcm")
    assert caught.value.reason_code is ReasonCode.TOO_LARGE


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pixel_data_are_a_view_of_the_file_and_the_same_as_pydicoms(syntax: str, tmp_path: Path) -> None:
    path = write_dicom(chest_radiograph(TransferSyntaxUID=syntax), tmp_path / "x.dcm")
    pixel_data, theirs = parse_dicom(path.read_bytes()).PixelData, pydicom.dcmread(path).PixelData
    assert isinstance(pixel_data, memoryview) and isinstance(theirs, bytes)
    assert bytes(pixel_data) == theirs


def test_what_stands_behind_the_pixel_data_is_read_and_of_two_the_last_counts(tmp_path: Path) -> None:
    dataset = chest_radiograph()
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * len(dataset.PixelData))
    path = write_dicom(dataset, tmp_path / "x.dcm")
    raw = path.read_bytes()
    found = parse_dicom(raw)
    assert found[0xFFFCFFFC].value == b"\0" * len(dataset.PixelData)
    at = raw.index(b"\xe0\x7f\x10\x00OW")
    end = at + 12 + len(dataset.PixelData)
    twice = raw[:end] + raw[at : at + 12] + b"\1" * len(dataset.PixelData) + raw[end:]
    assert bytes(parse_dicom(twice).PixelData) == b"\1" * len(dataset.PixelData)


def test_a_file_larger_than_any_radiograph_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    with path.open("wb") as file:
        file.truncate(dicom_file.MAXIMUM_FILE_BYTES + 1)  # sparse: takes no room
    assert refusal(path) is ReasonCode.TOO_LARGE


def test_a_deflated_file_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "MAXIMUM_FILE_BYTES", 1 << 20)
    path = write_dicom(
        chest_radiograph(drawn_chest(), TransferSyntaxUID=DeflatedExplicitVRLittleEndian), tmp_path / "x.dcm"
    )
    raw = path.read_bytes()
    start = raw.index(zlib_start(raw))
    packer = zlib.compressobj(wbits=-15)
    path.write_bytes(raw[:start] + packer.compress(bytes(4 << 20)) + packer.flush())
    assert path.stat().st_size < 1 << 20
    assert refusal(path) is ReasonCode.TOO_LARGE


def zlib_start(raw: bytes) -> bytes:
    """Return the first bytes of the deflated data set: what follows the file meta group by its length element."""
    length = int.from_bytes(raw[140:144], "little")  # (0002,0000) UL stands at 132
    return raw[144 + length :][:16]


def before_pixels(dataset: pydicom.Dataset) -> list[pydicom.DataElement]:
    return [element for element in dataset if element.tag < 0x7FE00000]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("first_bytes", [1 << 9, 700, 1 << 26])
def test_a_header_is_all_before_the_pixels_however_much_is_read_first(
    syntax: str, first_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_file, "_READ_FIRST_BYTES", first_bytes)
    written = chest_radiograph(TransferSyntaxUID=syntax)
    header = read_dicom_header(write_dicom(written, tmp_path / "x.dcm"))
    assert [*header] == before_pixels(written)
    assert header.file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize("first_bytes", [1 << 9, 1 << 26])
def test_a_header_that_ends_early_is_none(first_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file, "_READ_FIRST_BYTES", first_bytes)
    path = write_dicom(chest_radiograph(), tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes()[:701])
    with pytest.raises(TruncatedDataSetError):
        read_dicom_header(path)
    path.write_bytes(b"")
    with pytest.raises(NotADataSetError):
        read_dicom_header(path)


READ_WHILE_THE_FILE_GOES = """
import os, sys
from pathlib import Path
from dicom_io.data_sets import dicom_file
path = Path(sys.argv[1])
whole = dicom_file._file_meta
def cut_then_read(head):
    os.truncate(path, 0)
    return whole(head)
dicom_file._file_meta = cut_then_read
print(dicom_file.read_dicom_header(path).PatientID)
"""


def test_a_file_that_its_disk_loses_while_its_header_is_read_ends_no_process(tmp_path: Path) -> None:
    """A page that the system cannot give ends a process that has mapped the file (SIGBUS): cut short, or a bad disk."""
    written = chest_radiograph()
    path = write_dicom(written, tmp_path / "x.dcm")
    run = subprocess.run(
        [sys.executable, "-c", READ_WHILE_THE_FILE_GOES, str(path)], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout.strip()) == (0, written.PatientID), run.stderr
