"""How old the patient was when the image was taken (PS3.3 C.7.2.2)."""

from __future__ import annotations

import math
import re
from datetime import date

from pydicom.dataset import Dataset

from dicom_io.data_sets.header import text

ADULT_YEARS = 18
LONGEST_LIFE_YEARS = 125
"""An age beyond it is a placeholder (a birth date of 1 January 1850, ``999Y``) and says nothing."""
_STATED_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
_UNITS_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def patient_age_years(header: Dataset, today: date) -> float | None:
    """Return the age from PatientAge (PS3.5 6.2, AS), else from birth and study date, else None: unknown.

    Without a study date, who is no adult today was none then; of anybody else the age stays unknown.
    """
    number, unit = stated_age(text(header, "PatientAge")) or (math.inf, "Y")
    if (stated := number / _UNITS_A_YEAR[unit]) <= LONGEST_LIFE_YEARS:
        return stated
    born, studied = dicom_date(text(header, "PatientBirthDate")), dicom_date(text(header, "StudyDate"))
    reached = whole_years(born, studied or today) if born else None
    if reached is None or reached > LONGEST_LIFE_YEARS or (studied is None and reached >= ADULT_YEARS):
        return None
    return reached


def stated_age(value: str) -> tuple[int, str] | None:
    """Return number and unit (D, W, M or Y) of an AS value (PS3.5 6.2), None when it is empty or none.

    Units in small letters and numbers of fewer digits are taken; digits of other scripts, which Python knows, are not.
    """
    match = _STATED_AGE.fullmatch(value.strip().upper())
    return (int(match[1]), match[2]) if match else None


def study_age_days(header: Dataset, today: date) -> int | None:
    """Return how many days ago the study was made; None where no readable date says. Negative for a date to come."""
    studied = dicom_date(text(header, "StudyDate"))
    return (today - studied).days if studied else None


def dicom_date(value: str) -> date | None:
    """Return a DA value (PS3.5 6.2; the old form with dots, too) as a date, None when it is empty or no date."""
    digits = value.replace(".", "")[:8]
    if len(digits) != len("YYYYMMDD") or not (digits.isascii() and digits.isdigit()):
        return None  # strptime would take "202611" for 1 January
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def birth_dates_differ(one: str, other: str, today: date) -> bool:
    """Say whether two values of Patient's Birth Date name two days; one that says nothing contradicts none.

    Nothing say an empty value, one that is no date, and placeholders: nobody lives longer than `LONGEST_LIFE_YEARS`.
    """
    if one == other:
        return False
    born = [dicom_date(value.strip()) for value in (one, other)]
    told = {each for each in born if each is not None and today.year - each.year <= LONGEST_LIFE_YEARS}
    return len(told) > 1


def whole_years(born: date, then: date) -> int | None:
    """Return how old somebody born on the one day is on the other; None before the birth."""
    if then < born:
        return None
    return then.year - born.year - ((then.month, then.day) < (born.month, born.day))
