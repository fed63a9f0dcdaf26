"""Numbers in the words a person reads."""

from __future__ import annotations

import pytest

from worker.views.presentation import against_threshold


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
