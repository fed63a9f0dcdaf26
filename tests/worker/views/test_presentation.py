"""Numbers in the words a person reads."""

from __future__ import annotations

import pytest

from worker.views.presentation import against_threshold, age_text


@pytest.mark.parametrize(
    ("probability", "threshold", "texts"),
    [
        (0.79, 0.047, ("79 %", "4.7 %")),
        (0.04, 0.2, ("4 %", "20 %")),
        (0.999, 0.15, ("> 99 %", "15 %")),
        (0.001, 0.06, ("< 1 %", "6.0 %")),
        (0.0074, 0.0081, ("0.7 %", "0.8 %")),  # "1 %" beside "0.8 %" would look flagged
        (0.356, 0.364, ("35.6 %", "36.4 %")),  # "36 %" beside "36 %" would, too
        (0.0479, 0.0481, ("4.79 %", "4.81 %")),
        (0.364, 0.356, ("36 %", "36 %")),  # flagged: at the threshold is enough
        (0.104, 0.1, ("10 %", "10 %")),
        (0.047, 0.0466, ("5 %", "4.7 %")),
        (0.0512, 0.0509, ("5.1 %", "5.1 %")),  # "5 %" beside "5.1 %" would look not flagged
        (0.0002, 0.0004, ("0.02 %", "0.04 %")),
    ],
)
def test_a_probability_and_its_threshold_stand_as_their_numbers_do(
    probability: float, threshold: float, texts: tuple[str, str]
) -> None:
    assert against_threshold(probability, threshold) == texts


def test_without_a_threshold_or_a_probability_there_is_nothing_to_compare() -> None:
    assert against_threshold(0.3, None) == ("30 %", "")
    assert against_threshold(None, None) == ("not in this model", "")
    assert against_threshold(None, 0.2) == ("not in this model", "20 %")


@pytest.mark.parametrize(
    ("patient_age", "shown"),
    [
        ("045Y", "45 y"),
        ("006M", "6 mo"),
        ("045y ", "45 y"),
        ("", "65 y"),
        ("45", "65 y"),
        ("04\u00b2Y", "65 y"),  # the byte 0xB2, a digit to Python and no number
        ("\u0664\u0665Y", "65 y"),
        ("12345678901Y", "65 y"),
    ],
)
def test_an_age_is_shown_as_stated_or_else_from_the_dates(patient_age: str, shown: str) -> None:
    assert age_text(patient_age, "19600504", "20260301") == shown
