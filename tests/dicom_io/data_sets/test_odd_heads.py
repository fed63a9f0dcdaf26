"""Elements whose value representation is none, one of a later edition, or `UN` with a short length (PS3.5 7.1).

Seen in the field: ``??`` with a length of 16 bits, ``RT`` of a CT scanner with one of 16, ``UN`` with one of 16; PS3.5
7.1.2 gives those of later editions one of 32.
"""

from __future__ import annotations

import random
import struct
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from arrivals import encoded
from factories import chest_radiograph, write_dicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from dicom_io.data_sets import element_head
from dicom_io.data_sets.dicom_file import read_dicom_file, read_dicom_header
from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.encoded import MOST_ODD, Odd, spans, with_known_representations
from dicom_io.data_sets.header import parse_header, text
from dicom_io.data_sets.plain_header import plain_header
from dicom_io.pixels.radiograph import read_radiograph

EXPLICIT = "1.2.840.10008.1.2.1"
PRIVATE, PATIENT_ID, PIXELS = (0x0009, 0x1010), (0x0010, 0x0020), (0x7FE0, 0x0010)
SHORT, LONG = "<HH2sH", "<HH2s2xI"
ODD = [(b"??", SHORT), (b"??", LONG), (b"RT", SHORT), (b"ZZ", LONG), (b"  ", SHORT), (b"UN", SHORT)]
"""How a head is written: representation, and layout with its length."""


def element(tag: tuple[int, int], representation: bytes, layout: str, value: bytes) -> bytes:
    return struct.pack(layout, *tag, representation, len(value)) + value


def with_elements(*added: bytes, before: tuple[int, int] = (0x0010, 0x0010)) -> bytes:
    """Return an encoded chest radiograph with these elements before one of its own."""
    whole = encoded(chest_radiograph())
    place = whole.index(struct.pack("<HH", *before))
    return whole[:place] + b"".join(added) + whole[place:]


def rewritten(dataset: Dataset, tag: tuple[int, int], representation: bytes, layout: str) -> bytes:
    """Return the encoded data set with another head before the value of one element."""
    whole = encoded(dataset)
    usual = element(tag, *_usual(whole, tag))
    assert usual in whole
    *_, value = _usual(whole, tag)
    return whole.replace(usual, element(tag, representation, layout, value))


def _usual(whole: bytes, tag: tuple[int, int]) -> tuple[bytes, str, bytes]:
    place = whole.index(struct.pack("<HH", *tag))
    representation = whole[place + 4 : place + 6]
    layout = LONG if representation in element_head.LONG_LENGTH_REPRESENTATIONS else SHORT
    *_, length = struct.unpack_from(layout, whole, place)
    starts = place + struct.calcsize(layout)
    return representation, layout, whole[starts : starts + length]


def as_file(whole: bytes, folder: Path) -> Path:
    """Return a file whose data set is this one."""
    usual = write_dicom(chest_radiograph(), folder / "usual.dcm").read_bytes()
    path = folder / "odd.dcm"
    path.write_bytes(usual[: usual.index(encoded(chest_radiograph())[:8])] + whole)
    return path


@pytest.mark.parametrize(("representation", "layout"), ODD)
@pytest.mark.parametrize("value", [b"", b"A ", b"some words of a device. "])
def test_what_stands_around_an_odd_private_element_is_read(
    representation: bytes, layout: str, value: bytes, tmp_path: Path
) -> None:
    whole = with_elements(element(PRIVATE, representation, layout, value))
    header = parse_header(whole, EXPLICIT)
    usual = chest_radiograph()
    assert text(header, "PatientID") == usual.PatientID
    path = as_file(whole, tmp_path)
    assert text(read_dicom_header(path), "PatientID") == usual.PatientID
    dataset = read_dicom_file(path)
    assert [each.tag for each in dataset] == sorted([*(each.tag for each in usual), Tag(PRIVATE)])
    assert dataset.PixelData == usual.PixelData


@pytest.mark.parametrize(("representation", "layout"), ODD)
def test_an_odd_identity_is_what_it_says(representation: bytes, layout: str, tmp_path: Path) -> None:
    whole = rewritten(chest_radiograph(PatientID="ODD-1 "), PATIENT_ID, representation, layout)
    assert text(parse_header(whole, EXPLICIT), "PatientID") == "ODD-1"
    path = as_file(whole, tmp_path)
    assert read_dicom_file(path).PatientID == "ODD-1"
    assert read_dicom_header(path).PatientID == "ODD-1"


@pytest.mark.parametrize("representation", [b"??", b"UN", b"ZZ"])
def test_pixels_under_an_odd_representation_are_the_same_picture(representation: bytes, tmp_path: Path) -> None:
    dataset = chest_radiograph()
    odd = read_radiograph(as_file(rewritten(dataset, PIXELS, representation, LONG), tmp_path))
    usual = read_radiograph(write_dicom(dataset, tmp_path / "x.dcm"))
    np.testing.assert_array_equal(odd.pixels, usual.pixels)


def test_odd_elements_in_a_row_are_read_alike() -> None:
    row = [element((0x0009, 0x1010 + number), b"??", SHORT, b"x" * (2 * number)) for number in range(100)]
    header = parse_header(with_elements(*row), EXPLICIT)
    assert text(header, "PatientID") == chest_radiograph().PatientID


def test_whatever_heads_are_odd_each_element_is_read_as_what_it_says_or_nothing_is() -> None:
    draw, dataset = random.Random(3), chest_radiograph(PixelData=b"\0\1" * 40)
    usual = encoded(dataset)
    values = {int(tag): _usual(usual, (tag.group, tag.element)) for tag in dataset.keys()}  # noqa: SIM118 (iterating makes elements)
    read = 0
    for _ in range(1000):
        odd = dict.fromkeys(draw.sample(sorted(values), draw.choice([1, 1, 2, 4])))
        whole = b"".join(
            element((tag >> 16, tag & 0xFFFF), *(draw.choice(ODD) if tag in odd else usual_head), value)
            for tag, (*usual_head, value) in sorted(values.items())
        )
        noted: list[Odd] = []
        try:
            for _span in spans(whole, implicit=False, little_endian=True, odd=noted):
                pass
        except (NotADataSetError, TruncatedDataSetError):
            continue  # neighbours that are odd each in its own way
        found = read_dataset(BytesIO(with_known_representations(whole, noted)), False, True)
        as_read = {int(tag): found.get_item(tag).value or b"" for tag in found.keys()}  # noqa: SIM118
        assert as_read == {tag: value for tag, (*_, value) in values.items()}
        read += 1
    assert read > 800


def test_an_odd_element_in_an_item_of_undefined_length_hides_nothing() -> None:
    item = element((0x0008, 0x0100), b"??", SHORT, b"CODE") + element((0x0008, 0x0104), b"LO", SHORT, b"WORD")
    sequence = struct.pack("<HH2s2xI", 0x0008, 0x2218, b"SQ", 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    sequence += item + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    header = parse_header(with_elements(sequence, before=(0x0010, 0x0010)), EXPLICIT)
    (region,) = header.AnatomicRegionSequence
    assert (region.CodeValue, region.CodeMeaning) == ("CODE", "WORD")
    assert text(header, "PatientID") == chest_radiograph().PatientID


def test_the_short_way_of_reading_leaves_reserved_bytes_that_are_not_zero_to_the_long_one() -> None:
    whole = with_elements(element(PRIVATE, b"UN", SHORT, b"\2\0\0\0abcd"))
    assert plain_header(whole, 0x0040FFFF) is None
    assert text(parse_header(whole, EXPLICIT), "PatientID") == chest_radiograph().PatientID


def test_reserved_bytes_of_junk_before_a_length_of_32_bits_do_no_harm() -> None:
    value = b"some words of a device. "
    whole = with_elements(struct.pack("<HH2sHI", *PRIVATE, b"UN", 7, len(value)) + value)
    assert text(parse_header(whole, EXPLICIT), "PatientID") == chest_radiograph().PatientID


def test_what_can_be_read_in_two_ways_is_not_guessed() -> None:
    """As a length of 16 bits, 0, an element LO of 4 bytes follows; as one of 32, 14 bytes of a value do."""
    inner = struct.pack("<HH2sH", 0x000E, 0x0010, b"LO", 4) + b"abcd"
    ambiguous = struct.pack("<HH2sH", *PRIVATE, b"??", 0) + inner
    (as_long,) = struct.unpack_from("<I", ambiguous, 8)
    filled = ambiguous + element((0x000F, 0x0010), b"UT", LONG, b" " * (as_long - len(inner) + 4 - 12))
    with pytest.raises(NotADataSetError, match="more than one way"):
        parse_header(with_elements(filled), EXPLICIT)


@pytest.mark.parametrize("missing", [1, 2, 9])
def test_an_odd_element_that_is_cut_short_is_refused(missing: int) -> None:
    whole = encoded(chest_radiograph(PixelData=None)) + element((0x7FE1, 0x1010), b"??", SHORT, b"12345678")
    assert text(parse_header(whole, EXPLICIT), "PatientID") == chest_radiograph().PatientID
    with pytest.raises((TruncatedDataSetError, NotADataSetError)):
        parse_header(whole[:-missing], EXPLICIT)


def test_an_object_of_odd_elements_alone_costs_little() -> None:
    row = [element((0x0009, number), b"??", SHORT, b"") for number in range(MOST_ODD + 1)]
    began = time.process_time()
    with pytest.raises(NotADataSetError, match="no known value representation"):
        parse_header(with_elements(*row), EXPLICIT)
    assert time.process_time() - began < 10
