from __future__ import annotations

import math

import numpy as np
import pytest

from model.labels import LABELS
from training.data.chestxray14 import Box
from training.evaluation.localise import pointing_game

TRAINED = (True,) * 14
MASS = LABELS.index("Mass")


def _maps(*peaks: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(peaks), 14, 7, 7), np.float32)
    for row, (y, x) in enumerate(peaks):
        maps[row, MASS, y, x] = 1
    return maps


def test_hits_ceiling_and_baselines_of_known_boxes() -> None:
    """Cells are 1024/7 = 146.29 px wide: the centre of cell (0, 0) is at 73.1 px, of cell (3, 3) at 512 px."""
    first, second = Box("Mass", 60, 60, 30, 30), Box("Mass", 300, 300, 400, 400)
    between = Box("Mass", 100, 100, 80, 80)  # holds no centre: 73.1 and 219.4 px lie outside
    score = pointing_game(_maps((0, 0), (0, 0), (0, 0)), ((first,), (second,), (between,)), TRAINED)["Mass"]
    assert (score.cases, score.hits, score.ceiling_hits, score.centre_hits) == (3, 1, 2, 1)
    assert score.of_ceiling == 0.5
    area = (30 * 30 + 400 * 400 + 80 * 80) / 3 / 1024**2
    assert score.random_rate == pytest.approx(area, rel=0.03)


def test_a_hit_in_any_box_of_the_finding_counts_and_other_findings_do_not() -> None:
    boxes = ((Box("Mass", 0, 0, 10, 10), Box("Mass", 440, 440, 150, 150), Box("Nodule", 0, 0, 1024, 1024)),)
    scores = pointing_game(_maps((3, 3)), boxes, TRAINED)
    assert scores["Mass"].hits == 1
    assert scores["Mass"].cases == 1
    assert list(scores) == ["Mass", "Nodule"]
    assert "Nodule" not in pointing_game(_maps((3, 3)), boxes, tuple(label == "Mass" for label in LABELS))


def test_where_no_box_holds_a_centre_the_share_is_undefined() -> None:
    score = pointing_game(_maps((0, 0)), ((Box("Mass", 1, 1, 5, 5),),), TRAINED)["Mass"]
    assert math.isnan(score.of_ceiling)
