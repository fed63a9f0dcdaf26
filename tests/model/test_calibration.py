"""The curves from logits to probabilities that a bundle may hold."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from model.calibration import Calibration
from model.labels import LABELS

STRAIGHT = {"a": (1.0,) * 14, "b": (0.0,) * 14}
EFFUSION = LABELS.index("Effusion")


def test_corners_are_joined_by_lines_and_are_constant_beyond_the_outer_ones() -> None:
    corners = {"Effusion": ((-2.0, 0.1), (0.0, 0.2), (1.0, 0.8))}
    curve = Calibration(**STRAIGHT, kind="isotonic", corners=corners)
    logits = np.repeat(np.array([-9, -1, 0.5, 7.0])[:, None], 14, axis=1)
    probabilities = curve.probabilities(logits)
    assert probabilities[:, EFFUSION] == pytest.approx([0.1, 0.15, 0.5, 0.8])
    assert probabilities[:, 0] == pytest.approx(1 / (1 + np.exp(-logits[:, 0])))
    assert curve.probabilities(logits[1])[EFFUSION] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ({"Effusion": ((0.0, 0.5), (0.0, 0.6))}, "must rise"),
        ({"Effusion": ((0.0, 0.5), (1.0, 0.4))}, "must rise"),
        ({"Effusion": ((0.0, 0.5),)}, "at least 2"),
        ({"Effusion": ((0.0, 0.5), (1.0, 1.5))}, "less than or equal to 1"),
        ({"Fracture": ((0.0, 0.5), (1.0, 0.6))}, "is not a label"),
    ],
)
def test_corners_that_are_no_rising_curve_of_a_finding_are_refused(corners: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Calibration(**STRAIGHT, kind="isotonic", corners=corners)  # type: ignore[arg-type]
