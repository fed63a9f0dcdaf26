"""Items are counted before they are decoded: the same in every syntax, and without following them."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from factories import chest_radiograph, write_dicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from ups_clients import dataset

from dicom_io.associations import client as association_client
from dicom_io.associations import server as association_server
from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.header import parse_header
from dicom_io.data_sets.nesting import TooManyItemsError, require_few_items
from dicom_io.data_sets.rejection_reading import UnreadableNoteError, read_rejection_note
from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION

SYNTAXES = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
ITEM = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
UNDEFINED_SEQUENCE = b"\x40\x00\x21\x40\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


def nested(depth: int) -> Dataset:
    """Return a data set with a sequence whose item has one, and so on."""
    made = dataset(PatientID="P-1")
    for _ in range(depth):
        made = dataset(PatientID="P-1", InputInformationSequence=[made])
    return made


def encoded(made: Dataset, implicit: bool, little_endian: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little_endian
    write_dataset(buffer, made)
    return buffer.getvalue()


def is_refused(content: bytes, implicit: bool, little_endian: bool, **limits: Any) -> bool:
    try:
        require_few_items(content, SYNTAXES[implicit, little_endian], **{"most_items": 10, "deepest": 4} | limits)
    except TooManyItemsError:
        return True
    return False


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_items_and_levels_are_counted(syntax: tuple[bool, bool], undefined: bool) -> None:
    for made, refused in (
        (dataset(PatientID="P-1"), False),
        (dataset(InputInformationSequence=[dataset(PatientID="1")] * 10), False),
        (dataset(InputInformationSequence=[dataset(PatientID="1")] * 11), True),
        (dataset(InputInformationSequence=[Dataset()] * 6, ReferencedRequestSequence=[Dataset()] * 5), True),
        (nested(4), False),
        (nested(5), True),
    ):
        for element in made.iterall():
            element.is_undefined_length = undefined and element.VR == "SQ"
        assert is_refused(encoded(made, *syntax), *syntax) == refused


@pytest.mark.parametrize(("depth", "refused"), [(1, False), (50, False), (64, False), (65, True)])
def test_sequences_of_undefined_length_may_be_nested_as_deep_as_the_conformance_statement_says(
    depth: int, refused: bool
) -> None:
    sequence = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + sequence + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        head = struct.pack("<HH2s2xI", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF)
        sequence = head + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    whole = encoded(dataset(PatientID="P-1"), False, True) + sequence
    whole = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"DX" + whole
    if refused:
        with pytest.raises((NotADataSetError, TruncatedDataSetError), match="nested deeper than 64"):
            parse_header(whole, ExplicitVRLittleEndian)
    else:
        header = parse_header(whole, ExplicitVRLittleEndian)
        assert header.PatientID == "P-1"
        assert len(header.RequestAttributesSequence) == 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_text_that_looks_like_an_item_is_none(syntax: tuple[bool, bool]) -> None:
    made = dataset(PatientID="P-1", TextValue="\u00fe" * 40)
    assert not is_refused(encoded(made, *syntax), *syntax)


@pytest.mark.parametrize("sequence", [0x00081032, 0x00400275, 0x00540220])
@pytest.mark.parametrize("stated", [True, False])
def test_a_header_with_items_beyond_measure_is_not_read(sequence: int, stated: bool) -> None:
    head = b"\x08\x00\x18\x00\x06\x00\x00\x001.2.3\0"
    items = ITEM * 500_000
    tag = struct.pack("<HH", sequence >> 16, sequence & 0xFFFF)
    length, end = (len(items), b"") if stated else (0xFFFFFFFF, b"\xfe\xff\xdd\xe0\0\0\0\0")
    began = time.process_time()
    with pytest.raises(NotADataSetError, match=r"^(?=.{1,64}$).*more than 20000 items"):  # an Error Comment holds 64
        parse_header(head + tag + struct.pack("<I", length) + items + end, ImplicitVRLittleEndian)
    assert time.process_time() - began < 5


def test_a_header_with_many_items_is_read() -> None:
    made = dataset(SOPInstanceUID="1.2.3", ReferencedSeriesSequence=[dataset(SeriesInstanceUID="1.2.4")] * 15_000)
    header = parse_header(encoded(made, True, True), ImplicitVRLittleEndian)
    assert len(header.ReferencedSeriesSequence) == 15_000


@pytest.mark.parametrize(("items", "refused"), [(1_000, False), (100_001, True)])
def test_a_rejection_note_with_items_beyond_measure_is_not_read(items: int, refused: bool, tmp_path: Path) -> None:
    title = dataset(CodeValue="113001", CodingSchemeDesignator="DCM", CodeMeaning="Rejected for Quality Reasons")
    note = chest_radiograph(SOPClassUID=KEY_OBJECT_SELECTION, PixelData=None, ConceptNameCodeSequence=[title])
    path = write_dicom(note, tmp_path / "note.dcm")
    content = b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<I", items * len(ITEM)) + ITEM * items
    path.write_bytes(path.read_bytes() + content)
    if refused:
        with pytest.raises(UnreadableNoteError, match="more than 100000 items"):
            read_rejection_note(path)
    else:
        assert read_rejection_note(path) is not None


def test_nothing_is_decoded_for_a_log_that_nobody_reads() -> None:
    """pynetdicom decoded each query to log it, before it could be refused: a million items took more than a minute."""
    assert association_server._config.LOG_REQUEST_IDENTIFIERS is False
    assert association_client._config.LOG_RESPONSE_IDENTIFIERS is False


def test_a_megabyte_of_levels_is_refused_at_once() -> None:
    began = time.process_time()
    assert is_refused(UNDEFINED_SEQUENCE * 65536, True, True)
    assert is_refused(ITEM * 131072, True, True, most_items=10_000)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\x08\x00\x05\x00OB\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0" * 9])
def test_what_is_no_data_set_is_left_to_who_decodes_it(content: bytes) -> None:
    assert not is_refused(content, False, True)
