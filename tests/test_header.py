"""What of an instance is seen when it arrives, before any pixel."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import date

import pytest
from arrivals import encoded, received
from factories import chest_radiograph
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

from dicom_io.encoded import TruncatedDataSetError
from dicom_io.header import PARSE_ERRORS, parse_header, text
from dicom_io.selection import SelectionRules, judge_tags

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
