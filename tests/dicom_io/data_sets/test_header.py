"""What of an instance is seen when it arrives, before any pixel."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from datetime import date
from pathlib import Path

import pydicom
import pytest
from arrivals import encoded, received
from factories import chest_radiograph
from mutations import sources
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.header import LAST_HEADER_TAG, PARSE_ERRORS, parse_header, text
from dicom_io.data_sets.plain_header import plain_header
from dicom_io.selection.decision import SelectionRules, judge_tags

TODAY = date(2026, 1, 15)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def viewed_only_by_code(**keywords: object) -> Dataset:
    """A chest whose view stands in View Code Sequence (0054,0220) and nowhere else."""
    view = [coded("272479007", "postero-anterior")]
    return chest_radiograph(**{"ViewPosition": None, "PatientOrientation": None, "ViewCodeSequence": view} | keywords)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_a_view_that_only_view_code_sequence_tells_is_seen_when_the_image_arrives(syntax: str) -> None:
    header = received(viewed_only_by_code(TransferSyntaxUID=syntax)).header
    assert judge_tags(header, SelectionRules(), TODAY).disposition == "candidate"


def test_a_view_behind_a_long_report_in_the_same_data_set_is_seen_and_the_report_is_not_read() -> None:
    line = coded("121071", "Finding")
    dataset = viewed_only_by_code(ContentSequence=[line] * 500)
    dataset["ContentSequence"].is_undefined_length = True
    header = received(dataset).header
    assert judge_tags(header, SelectionRules(), TODAY).disposition == "candidate"
    assert "ContentSequence" not in header
    assert "PixelData" not in header


def test_attributes_behind_the_pixels_of_an_icon_do_not_pass_for_those_of_the_image() -> None:
    icon = Dataset()
    icon.ViewCodeSequence = [coded("399067008", "lateral")]
    header = received(viewed_only_by_code(IconImageSequence=[icon])).header
    (view,) = header.ViewCodeSequence
    assert text(view, "CodeValue") == "272479007"


def test_a_data_set_cut_inside_its_view_code_sequence_is_cut_short() -> None:
    whole = encoded(viewed_only_by_code(PixelData=None))
    parse_header(whole, ExplicitVRLittleEndian)
    with pytest.raises(TruncatedDataSetError):
        parse_header(whole[:-4], ExplicitVRLittleEndian)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated"])
def test_a_number_of_a_length_that_it_cannot_have_reads_as_empty(keyword: str) -> None:
    header = received(chest_radiograph()).header
    header[keyword] = RawDataElement(Tag(keyword), "US", 3, b"123", 0, False, True)
    assert text(header, keyword) == ""
    judge_tags(header, SelectionRules(), TODAY)


@pytest.mark.filterwarnings("ignore")  # pydicom warns of escape sequences that nobody knows
def test_text_is_the_same_before_and_after_pydicom_has_looked_at_an_element() -> None:
    draw = random.Random(3)
    pieces = [
        b"CHEST",
        b"PA",
        b"1.2",
        b" ",
        b"\0",
        b"\\",
        b"^",
        b"=",
        b"~",
        b"\x1b$B",
        b"\xe4",
        b"\xd1",
        b"\r\n",
        b"\t",
    ]
    keywords = ("StudyInstanceUID", "Modality", "StudyDate", "StudyTime", "PatientID", "SeriesDescription")
    keywords += ("PatientAge", "StationName", "AccessionNumber", "RetrieveAETitle", "PatientName", "Rows")
    for _ in range(3000):
        keyword, value = draw.choice(keywords), b"".join(draw.choices(pieces, k=draw.randrange(5)))
        tag = Tag(keyword)
        charset = RawDataElement(Tag(0x00080005), "CS", 10, draw.choice([b"ISO_IR 100", b"ISO_IR 13 "]), 0, False, True)
        element = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, draw.random() < 0.8)
        fresh, looked_at = (Dataset({charset.tag: charset, tag: element}) for _ in range(2))
        before = text(fresh, keyword)
        with suppress(*PARSE_ERRORS):
            looked_at[tag]
        assert before == text(looked_at, keyword), (keyword, value)


def outcome(encoded: bytes, syntax: str) -> object:
    """What becomes of a data set: every element as it lies there, or the error."""
    try:
        header = parse_header(encoded, syntax)
    except (NotADataSetError, TruncatedDataSetError) as error:
        return type(error), str(error)
    elements = [(tag, header.get_item(tag, keep_deferred=True)) for tag in header.keys()]  # noqa: SIM118 (iterating makes elements)
    raw = [(tag, element if isinstance(element, RawDataElement) else str(element)) for tag, element in elements]
    return raw, header.original_encoding, header.original_character_set


def both_ways(encoded: bytes, syntax: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, object]:
    """The outcome with and without the short way."""
    ours = outcome(encoded, syntax)
    with monkeypatch.context() as patched:
        patched.setattr("dicom_io.data_sets.header.plain_header", lambda *_: None)
        return ours, outcome(encoded, syntax)


def without_file_meta(path: Path) -> tuple[bytes, str] | None:
    """The data set of a file as it would travel, and its transfer syntax; None where no file meta stands before it."""
    content = path.read_bytes()
    if content[128:140] != b"DICM\x02\0\0\0UL\4\0":
        return None
    (meta_bytes,) = struct.unpack_from("<I", content, 140)
    return content[144 + meta_bytes :], str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))


@pytest.mark.filterwarnings("ignore")  # pydicom warns of values and character sets that cannot be
def test_a_plain_header_is_what_pydicom_reads_of_every_real_file(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = []
    for path in sources():
        found = without_file_meta(path)
        if found is None:
            continue
        ours, theirs = both_ways(*found, monkeypatch)
        assert ours == theirs, path
        plain += [path.name] if plain_header(found[0], LAST_HEADER_TAG) is not None else []
    assert "nema_wg04_RG3_UNCR.dcm" in plain or "RG3_UNCR.dcm" in plain, plain


@pytest.mark.filterwarnings("ignore")  # pydicom warns of values and character sets that cannot be
def test_a_damaged_header_has_the_same_outcome_whoever_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(11)
    views = [coded("272479007", "postero-anterior")]
    whole = encoded(chest_radiograph(ViewCodeSequence=views, RequestAttributesSequence=views, PixelData=b"\0\1" * 8))
    bare = whole[: whole.index(b"\xe0\x7f\x10\x00")]
    odd_character_set = whole.replace(b"CS\x0a\0ISO_IR 192", b"SQ\0\0\0\0\0\0")
    assert odd_character_set != whole
    for _ in range(4000):
        damaged = bytearray(draw.choice([whole, bare, odd_character_set]))
        for _ in range(draw.randrange(4)):
            damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 2, 8, 0x20, 0x41, 0x5C, 0x80, 0xFF])
        cut = bytes(damaged[: draw.choice([len(damaged), len(damaged), draw.randrange(len(damaged) + 1)])])
        ours, theirs = both_ways(cut, ExplicitVRLittleEndian, monkeypatch)
        assert ours == theirs
