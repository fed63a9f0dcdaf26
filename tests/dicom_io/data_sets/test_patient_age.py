"""How old a patient was, from whatever the sender wrote."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime

import pytest
from factories import chest_radiograph
from hypothesis import given
from hypothesis import strategies as st

from dicom_io.data_sets.patient_age import LONGEST_LIFE_YEARS, dicom_date, patient_age_years, study_age_days

TODAY = date(2026, 1, 15)


@pytest.mark.parametrize(
    ("age", "born", "studied", "expected"),
    [
        ("017Y", "19500101", "20260115", 17),  # the stated age is the one at the study
        ("17Y", None, "20260115", 17),
        ("030M", None, "20260115", 2.5),
        ("010D", None, "20260115", 10 / 365.25),
        ("", "20080116", "20260115", 17),
        ("", "20080115", "20260115", 18),
        (None, "19600101", "20260115", 66),
        (None, "1960.01.01", "20260115", 66),  # the old form of dates, with dots
        ("60", None, "20260115", None),
        ("999Y", "19600101", "20260115", 66),
        ("", "unknown", "20260115", None),
        ("", "20300101", "20260115", None),
        ("", "18500101", "20260115", None),  # a placeholder, not a birth date
        ("", "20100101", "", 16),  # no adult today, so none at the study either
        ("", "20000101", "", None),  # an adult today; at the study, who knows
    ],
)
def test_age_comes_from_the_age_or_the_dates(
    age: str | None, born: str | None, studied: str, expected: float | None
) -> None:
    header = chest_radiograph(PatientAge=age, PatientBirthDate=born, StudyDate=studied)
    assert patient_age_years(header, TODAY) == expected


@given(st.dates(date(1900, 1, 1), TODAY), st.dates(date(1900, 1, 1), TODAY))
def test_an_age_from_dates_grows_by_one_on_each_birthday(born: date, studied: date) -> None:
    header = chest_radiograph(PatientAge=None, PatientBirthDate=f"{born:%Y%m%d}", StudyDate=f"{studied:%Y%m%d}")
    age = patient_age_years(header, TODAY)
    if studied < born:
        assert age is None
        return
    assert age is None or 0 <= age <= LONGEST_LIFE_YEARS
    if age is not None and not (born.month == 2 and born.day == 29):
        assert born.replace(year=born.year + int(age)) <= studied < born.replace(year=born.year + int(age) + 1)


@pytest.mark.parametrize(
    ("studied", "expected"),
    [("20260115", 0), ("20260108", 7), ("20260116", -1), ("", None), ("tomorrow", None), ("202611", None)],
)
def test_days_since_the_study(studied: str, expected: int | None) -> None:
    assert study_age_days(chest_radiograph(StudyDate=studied), TODAY) == expected


@given(st.text("0123459 .-²٣", max_size=10) | st.dates().map(lambda day: day.strftime("%Y%m%d")))
def test_a_date_of_eight_digits_is_read_as_strptime_reads_it(value: str) -> None:
    expected = None
    if re.fullmatch("[0-9]{8}", digits := value.replace(".", "")[:8]):
        with suppress(ValueError):
            expected = datetime.strptime(digits, "%Y%m%d").date()
    assert dicom_date(value) == expected
