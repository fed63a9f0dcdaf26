"""Items are counted before they are decoded: the same in every syntax, and without following them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from ups_clients import dataset

from dicom_io.nesting import TooManyItemsError, require_few_items

SYNTAXES = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
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


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_text_that_looks_like_an_item_is_none(syntax: tuple[bool, bool]) -> None:
    made = dataset(PatientID="P-1", TextValue="\u00fe" * 40)
    assert not is_refused(encoded(made, *syntax), *syntax)


def test_a_megabyte_of_levels_is_refused_at_once() -> None:
    began = time.process_time()
    assert is_refused(UNDEFINED_SEQUENCE * 65536, True, True)
    assert is_refused(b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 131072, True, True, most_items=10_000)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\x08\x00\x05\x00OB\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0" * 9])
def test_what_is_no_data_set_is_left_to_who_decodes_it(content: bytes) -> None:
    assert not is_refused(content, False, True)
