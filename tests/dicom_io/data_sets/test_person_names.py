"""Two spellings of one person's name are told from the names of two persons."""

from __future__ import annotations

import time

import pytest
from factories import chest_radiograph

from dicom_io.data_sets.header import text
from dicom_io.data_sets.person_names import names_agree

ONE_PERSON = [
    ("DOE^JOHN", "Doe^John"),
    ("Doe^John", "Doe^John^^^"),
    ("Doe^John", "  Doe ^ John "),
    ("Doe^John", ""),
    ("Doe^John", "^^^^"),
    ("Doe^John", "Doe"),
    ("Doe^John", "Doe^John^Fitzgerald"),
    ("Doe^John Fitzgerald", "Doe^John^Fitzgerald"),
    ("Doe^John^F", "Doe^John^Fitzgerald"),
    ("Doe^J.", "Doe^John"),
    ("Doe^John", "Doe^John^^Dr.^PhD"),
    ("Doe^John^^Prof.", "Doe^John^^Dr."),
    ("DOE JOHN", "Doe^John"),
    ("DOE, JOHN", "Doe^John"),
    ("John^Doe", "Doe^John"),
    ("Van der Berg^Jan", "VANDERBERG^JAN"),
    ("O'Brien^Ann", "OBRIEN^ANN"),
    ("O\u2019Brien^Ann", "O Brien^Ann"),
    ("Smith-Jones^Ann", "Smith^Ann"),
    ("M\u00fcller^J\u00f6rg", "MUELLER^JOERG"),
    ("M\u00fcller^J\u00f6rg", "Muller^Jorg"),
    ("M\u00fcller^J\u00f6rg", "Mu\u0308ller^Jo\u0308rg"),
    ("M\u00fcller^J\u00f6rg", "M?ller^J?rg"),
    ("M\u00fcller^J\u00f6rg", "M\ufffd\ufffdller^J\ufffd\ufffdrg"),
    ("M\u00fcller^J\u00f6rg", "M\u00c3\u00bcller^J\u00c3\u00b6rg"),
    ("S\u00f8rensen^S\u00f8ren", "Soerensen^Soeren"),
    ("Stra\u00dfer^Ida", "STRASSER^IDA"),
    ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046", "Yamada^Tarou"),
    ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "=\u5c71\u7530^\u592a\u90ce"),
    ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "Yamada^Taro=\u5c71\u7530^\u592a\u90ce"),
    ("\u5c71\u7530^\u592a\u90ce", "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
    ("\uff94\uff8f\uff80\uff9e^\uff80\uff9b\uff73", "==\u30e4\u30de\u30c0^\u30bf\u30ed\u30a6"),
    ("==\u3084\u307e\u3060^\u305f\u308d\u3046", "==\u30e4\u30de\u30c0^\u30bf\u30ed\u30a6"),
    ("\u041f\u0435\u0442\u0440\u043e\u0432^\u0418\u0432\u0430\u043d", "PETROV^IVAN"),
]
TWO_PERSONS = [
    ("\u0930\u093e\u092e", "\u0930\u0940\u092e"),
    ("Doe^John", "Doe^Jane"),
    ("Doe^John", "Roe^John"),
    ("Doe^John", "Smith^Ann"),
    ("Doe^John^Albert", "Doe^John^Fitzgerald"),
    ("Doe^A", "Doe^B"),
    ("Doe^Baby 1", "Doe^Baby 2"),
    ("Bauer^Ida", "Baur^Ida"),
    ("M?ller^Ida", "Maier^Ida"),
    ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", "Yamada^Tarou=\u5c71\u7530^\u82b1\u5b50"),
    ("\u738b^\u660e", "\u738b^\u660e\u534e"),
    ("\u738b^\u660e", "\u674e^\u660e"),
    (
        "\u041f\u0435\u0442\u0440\u043e\u0432^\u0418\u0432\u0430\u043d",
        "\u041f\u0435\u0442\u0440\u043e\u0432^\u041e\u043b\u0435\u0433",
    ),
]


@pytest.mark.parametrize(("one", "other"), ONE_PERSON)
def test_spellings_of_one_name_agree(one: str, other: str) -> None:
    assert names_agree(one, other)
    assert names_agree(other, one)


@pytest.mark.parametrize(("one", "other"), TWO_PERSONS)
def test_names_of_two_persons_do_not_agree(one: str, other: str) -> None:
    assert not names_agree(one, other)
    assert not names_agree(other, one)


@pytest.mark.parametrize("character_set", ["ISO_IR 192", "ISO_IR 100", "ISO_IR 101"])
def test_the_character_set_of_an_image_makes_no_other_name(character_set: str) -> None:
    german = chest_radiograph(SpecificCharacterSet=character_set, PatientName="M\u00fcller^J\u00f6rg")
    assert names_agree(text(german, "PatientName"), "M\u00dcLLER^J\u00d6RG")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A " * 1000, "B " * 1000),
        ("A?" * 1000, "AB" * 1000),
        ("^".join("ab" * 500), "^".join("ba" * 500)),
        ("=" * 2000, "^" * 2000),
    ],
)
def test_names_beyond_measure_take_no_time(one: str, other: str) -> None:
    began = time.process_time()
    names_agree(one, other)
    assert time.process_time() - began < 0.1
