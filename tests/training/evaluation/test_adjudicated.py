"""Radiologists' labels as a second test set, with the groups of findings that the file has."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from published_lists import published_radiographs
from samples import shared
from sklearn.metrics import roc_auc_score

from model.labels import LABELS
from training.data.radiographs import LayoutError
from training.evaluation.adjudicated import GROUPS, evaluate_adjudicated, read_google2019
from training.evaluation.evaluate import Resampling
from training.evaluation.predictions import Predictions

FILE = "google2019_nih-chest-xray-labels.csv.gz"
HEADER = "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id\n"


def _write(path: Path, rows: list[str]) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def _predictions(probabilities: np.ndarray) -> Predictions:
    names = tuple(f"{row}.png" for row in range(len(probabilities)))
    return Predictions("m", names, np.array(names), probabilities, np.full_like(probabilities, np.nan))


def test_a_group_is_scored_by_the_largest_probability_of_its_findings(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    nodule, opacity = rng.random(40) < 0.5, rng.random(40) < 0.5
    rows = [f"{k}.png,NO,NO,{_answer(opacity[k])},{_answer(nodule[k])},test" for k in range(40)]
    labels = read_google2019(_write(tmp_path / "labels.csv", [*rows, "other.png,NO,NO,NO,NO,val"]))
    probabilities = rng.random((41, 14))  # of one more picture than was judged
    figures = evaluate_adjudicated(_predictions(probabilities), np.zeros((41, 14)), labels, Resampling(20, 1))
    assert figures is not None
    assert figures.pictures == 40
    columns = [LABELS.index("Nodule"), LABELS.index("Mass")]
    expected = roc_auc_score(nodule, probabilities[:40, columns].max(1))
    assert figures.groups["Nodule or mass"].auroc.value == pytest.approx(expected)
    assert figures.groups["Nodule or mass"].positives == nodule.sum()


def test_what_cannot_be_scored_says_why(tmp_path: Path) -> None:
    labels = read_google2019(_write(tmp_path / "labels.csv", ["0.png,YES,NO,YES,YES,test", "1.png,NO,NO,NO,NO,test"]))
    probabilities = np.full((2, 14), 0.5)
    probabilities[:, [LABELS.index("Nodule"), LABELS.index("Mass"), LABELS.index("Edema")]] = np.nan
    figures = evaluate_adjudicated(_predictions(probabilities), np.zeros((2, 14)), labels, Resampling(5, 1))
    assert figures is not None
    remarks = {group: g.remark for group, g in figures.groups.items()}
    assert remarks["Fracture"] == "no finding of ours is in it"
    assert remarks["Nodule or mass"] == "the model does not speak of Nodule, Mass"
    assert remarks["Pneumothorax"] == "one class only"
    assert remarks["Airspace opacity"] == "the model does not speak of Edema"
    assert math.isnan(figures.groups["Nodule or mass"].auroc.value)
    assert not math.isnan(figures.groups["Airspace opacity"].auroc.value)


def test_pictures_that_nobody_judged_give_no_evaluation(tmp_path: Path) -> None:
    labels = read_google2019(_write(tmp_path / "labels.csv", ["other.png,NO,NO,NO,NO,val"]))
    assert evaluate_adjudicated(_predictions(np.full((2, 14), 0.5)), np.zeros((2, 14)), labels, Resampling(5)) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Image Index,Pneumothorax\n1.png,YES\n", "no column 'Nodule or mass'"),
        (HEADER + "1.png,NO,MAYBE,NO,NO,test\n", "line 2: expected 6 columns with YES or NO"),
        (HEADER + "1.png,NO\n", "line 2"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(LayoutError, match=message):
        read_google2019(tmp_path / "labels.csv")
    with pytest.raises(LayoutError, match="no such file"):
        read_google2019(tmp_path / "absent.csv")


def test_the_groups_are_those_whose_mined_labels_were_measured_against_the_radiologists() -> None:
    """training.md section 5: pneumothorax PPV and sensitivity .46, nodule or mass .56 and .42, opacity .72 and .51."""
    labels = read_google2019(shared("data/nih_metadata") / FILE)
    radiographs = published_radiographs()
    names = tuple(labels.truth)
    predictions = Predictions("m", names, radiographs.patients(names), *[np.full((len(names), 14), 0.5)] * 2)
    figures = evaluate_adjudicated(predictions, radiographs.targets(names), labels, Resampling(2, 1))
    assert figures is not None
    assert figures.pictures == 4376
    measured = {
        group: (round(g.label_ppv or 0, 2), round(g.label_sensitivity or 0, 2)) for group, g in figures.groups.items()
    }
    assert measured == {
        "Pneumothorax": (0.46, 0.46),
        "Nodule or mass": (0.56, 0.42),
        "Airspace opacity": (0.72, 0.51),
        "Fracture": (0, 0),
    }


def test_the_packed_file_reads_like_the_plain_one(tmp_path: Path) -> None:
    content = HEADER + "1.png,NO,YES,NO,NO,test\n"
    with gzip.open(tmp_path / "labels.csv.gz", "wt") as stream:
        stream.write(content)
    read = read_google2019(tmp_path / "labels.csv.gz").truth
    assert read == {"1.png": {"Fracture": 0, "Pneumothorax": 1, "Airspace opacity": 0, "Nodule or mass": 0}}
    assert set(read["1.png"]) == set(GROUPS)


def _answer(value: object) -> str:
    return "YES" if value else "NO"
