"""The drawn findings are as frequent as promised, and the summaries are those of the official box list."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
from samples import shared

from training.phantoms.statistics import (
    BOX_SUMMARIES,
    DRAWN_FINDINGS,
    NO_FINDING_SHARE,
    draw_findings,
    draw_from_summary,
)


def test_each_finding_is_in_12_to_18_percent_of_pictures_and_45_percent_have_none() -> None:
    drawn = [draw_findings(np.random.default_rng([5, index])) for index in range(4000)]
    counts = Counter(label for labels in drawn for label in labels)
    assert set(counts) == set(DRAWN_FINDINGS)
    assert all(0.12 <= count / len(drawn) <= 0.18 for count in counts.values())
    assert sum(not labels for labels in drawn) / len(drawn) == pytest.approx(NO_FINDING_SHARE, abs=0.02)
    assert any(len(labels) == 3 for labels in drawn)


@pytest.mark.parametrize("label", sorted(BOX_SUMMARIES))
def test_values_drawn_from_a_summary_have_its_median_and_bounds(label: str) -> None:
    rng = np.random.default_rng(1)
    summary = BOX_SUMMARIES[label]
    for values in (summary.width_px, summary.height_px, summary.midline_distance_px, summary.centre_y_px):
        assert list(values) == sorted(values)
        drawn = [draw_from_summary(values, rng) for _ in range(4000)]
        assert np.median(drawn) == pytest.approx(values[3], rel=0.05)
        assert values[0] <= min(drawn)
        assert max(drawn) <= values[-1]


@pytest.mark.parametrize("label", ["Nodule", "Effusion", "Pneumothorax", "Cardiomegaly", "Mass"])
def test_the_summaries_are_those_of_the_official_boxes(label: str) -> None:
    with (shared("data/nih_metadata") / "BBox_List_2017.csv").open(newline="", encoding="utf-8") as stream:
        boxes = np.array([[float(side) for side in row[2:6]] for row in csv.reader(stream) if row[1] == label])
    x, y, width, height = boxes.T
    summary = BOX_SUMMARIES[label]
    levels = (10, 25, 50, 75, 90)
    assert np.percentile(np.abs(x + width / 2 - 512), levels) == pytest.approx(summary.midline_distance_px[1:6], abs=1)
    assert np.percentile(y + height / 2, levels) == pytest.approx(summary.centre_y_px[1:6], abs=1)
    if label != "Mass":  # masses are drawn larger than in the list, see the summary's comment
        assert np.median(width) == pytest.approx(summary.width_px[3], abs=1)
        assert np.median(height) == pytest.approx(summary.height_px[3], abs=1)
