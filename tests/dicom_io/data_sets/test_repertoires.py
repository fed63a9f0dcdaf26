"""Terms of Specific Character Set (PS3.3 C.12.1.1.2) are read as what they mean; what is none is no codec of Python."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from factories import chest_radiograph
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from reports import report_on

from dicom_io.data_sets.header import parse_header, text
from dicom_io.results.result_file import write_result
from dicom_io.results.structured_report import build_structured_report

PLACE = b"\x08\x00\x05\x00CS" + struct.pack("<H", 10) + b"ISO_IR 192"
NAMED = "Doe^Jane"
NAME_AT = b"\x10\x00\x10\x00PN" + struct.pack("<H", len(NAMED)) + NAMED.encode()
GB_2312 = b"\x1b$)A"
"""What switches to it (PS3.3 table C.12-4)."""


def sent(character_set: str, name: bytes) -> bytes:
    """Return the file of a radiograph in which character set and name stand as these bytes, padded."""
    declared = character_set.encode()
    declared += b" " * (len(declared) % 2)
    name += b" " * (len(name) % 2)
    content = write_result(chest_radiograph(PatientName=NAMED, TransferSyntaxUID=ExplicitVRLittleEndian))
    assert PLACE in content
    assert NAME_AT in content
    content = content.replace(PLACE, PLACE[:6] + struct.pack("<H", len(declared)) + declared)
    return content.replace(NAME_AT, NAME_AT[:6] + struct.pack("<H", len(name)) + name)


def read(character_set: str, name: bytes) -> Dataset:
    content = sent(character_set, name)
    group_at = content.index(b"\x08\x00\x05\x00CS")
    return parse_header(content[group_at:], ExplicitVRLittleEndian)


def result_of(character_set: str, name: bytes) -> Dataset:
    source = dcmread(BytesIO(sent(character_set, name)))
    return dcmread(BytesIO(write_result(build_structured_report([source], report_on(source)))))


GIVEN = [
    ("ISO_IR 203", "Œuvrard^Žofie".encode("iso8859_15"), "Œuvrard^Žofie"),
    ("ISO 2022 IR 6\\ISO 2022 IR 203", b"Muller^\x1b-b" + "Žofie".encode("iso8859_15"), "Muller^Žofie"),
    (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=" + GB_2312 + "张".encode("gb2312") + b"^" + GB_2312 + "小东".encode("gb2312"),
        "Zhang^XiaoDong=张^小东",
    ),
]
"""PS3.3 tables C.12-2 to C.12-4, PS3.5 annex K; pydicom 3.0 reads none of them right."""


@pytest.mark.parametrize(("character_set", "name", "meant"), GIVEN)
def test_a_name_is_read_in_every_character_set_of_the_standard(character_set: str, name: bytes, meant: str) -> None:
    assert text(read(character_set, name), "PatientName") == meant


@pytest.mark.parametrize(("character_set", "name", "meant"), GIVEN)
def test_a_result_says_the_same_name_in_the_same_character_set(character_set: str, name: bytes, meant: str) -> None:
    result = result_of(character_set, name)
    assert str(result.PatientName) == meant
    declared = result.SpecificCharacterSet
    assert (declared if isinstance(declared, str) else "\\".join(declared)) == character_set


MISSPELT = ["ISO_IR_192", "ISO-IR 192", "ISO_IR192", "iso_ir 192", "ISO IR 192", "UTF-8", "utf8", "ISO_IR 192\n"]


@pytest.mark.parametrize("character_set", MISSPELT)
def test_a_misspelt_term_is_read_as_what_it_means_and_written_as_it_is_called(character_set: str) -> None:
    name = "Müller^山".encode()
    assert text(read(character_set, name), "PatientName") == "Müller^山"
    result = result_of(character_set, name)
    assert str(result.PatientName) == "Müller^山"
    assert result.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("character_set", ["ISO-IR 100", "iso_ir_100", "ISO IR 100"])
def test_under_a_misspelt_term_a_name_goes_out_in_the_bytes_it_came_in(character_set: str) -> None:
    result = result_of(character_set, "Müller^Jörg".encode("latin-1"))
    assert result.SpecificCharacterSet == "ISO_IR 100"
    element = result.get_item("PatientName")
    assert element is not None
    assert element.value.rstrip() == "Müller^Jörg".encode("latin-1")


OF_PYTHON = ["hex", "base64", "rot13", "zip", "undefined", "idna", "punycode", "unicode_escape", "utf-16", "cp037"]
"""Codecs that pydicom would use where a sender names them: some make nothing of a name, some make something else."""


@pytest.mark.parametrize("character_set", [*OF_PYTHON, "KLINGON", "x" * 4000])
def test_what_is_no_term_is_no_codec_either(character_set: str) -> None:
    name = "Müller^Jane\\u0041".encode("latin-1")
    assert text(read(character_set, name), "PatientName") == "Müller^Jane\\u0041"
    result = result_of(character_set, "Müller^Jane".encode("latin-1"))
    assert str(result.PatientName) == "Müller^Jane"
    assert result.SpecificCharacterSet == "ISO_IR 192"
