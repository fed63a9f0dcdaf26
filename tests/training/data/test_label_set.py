from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import write_layout

from model.labels import LABELS
from training.data.chestxray14 import read_layout
from training.data.label_set import choose_labels, drawing_weights, facts_beside, make_examples, targets_of
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.recipe import Data


def _rewritten(root: Path, labels: list[str], ages: list[str]) -> LabelledRadiographs:
    write_layout(root, patients=len(labels), test_patients=1)
    table = root / "Data_Entry_2017.csv"
    head, *rows = table.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    rows = [
        ",".join([row[0], label, *row[2:4], age, *row[5:]]) for row, label, age in zip(cells, labels, ages, strict=True)
    ]
    table.write_text("\n".join([head, *rows]) + "\n")
    return read_layout(root)


@pytest.fixture
def layout(tmp_path: Path) -> LabelledRadiographs:
    labels = ["Effusion|Mass", "Effusion", "No Finding", "Hernia", "No Finding", "Effusion"]
    return _rewritten(tmp_path, labels, ["030", "060", "090", "012", "045", ""])


def test_all_fourteen_findings_come_in_their_order_by_default(layout: LabelledRadiographs) -> None:
    assert choose_labels(layout, layout.listed, Data()) == LABELS


def test_rare_findings_are_dropped_and_no_finding_comes_last(layout: LabelledRadiographs) -> None:
    data = Data(labels=("Mass", "Effusion", "Hernia"), fewest_cases=2, no_finding=True)
    assert choose_labels(layout, layout.listed, data) == ("Effusion", "No Finding")
    with pytest.raises(LayoutError, match=r"no finding has the 4 cases .* Effusion, has 3"):
        choose_labels(layout, layout.listed, Data(fewest_cases=4))


def test_targets_follow_the_labels_and_no_finding_is_the_absence_of_all_fourteen(layout: LabelledRadiographs) -> None:
    targets = targets_of(layout, layout.listed, ("Mass", "Effusion", "No Finding"))
    # the hernia is none of the three, but it is a finding
    expected = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert targets.tolist() == expected


def test_facts_beside_the_picture_are_numbers_and_unknown_ones_lie_in_the_middle(layout: LabelledRadiographs) -> None:
    facts = facts_beside(layout, layout.listed, ("age", "sex", "view"))
    assert np.allclose(facts[0], [0.30, 1, 0])  # 30 years, M, PA
    assert facts[5, 0] == 0.5
    assert make_examples(layout, layout.listed, facts=("age",)).metadata is not None
    assert make_examples(layout, layout.listed).metadata is None


def test_pictures_are_drawn_by_their_number_of_findings_where_asked(layout: LabelledRadiographs) -> None:
    assert drawing_weights(layout, layout.listed, Data()) is None
    weights = drawing_weights(layout, layout.listed, Data(sampling="findings", sampling_base=0.1))
    assert weights is not None
    assert np.allclose(weights, [2.1, 1.1, 0.1, 1.1, 0.1, 1.1])
    assert drawing_weights(layout, layout.listed, Data(sampling="findings", subset=3)) is None  # weighed in there
