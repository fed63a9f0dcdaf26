from __future__ import annotations

import csv
import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from model.labels import LABELS
from training.evaluation.metrics import (
    auroc,
    average_precision,
    expected_calibration_error,
    mean_with_interval,
    patient_weights,
    with_interval,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.integers(0, 10_000), st.integers(2, 30))
def test_auroc_and_average_precision_equal_scikit_learns_with_ties(count: int, seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count).astype(float)
    truth[:2] = 0, 1
    score, weight = rng.integers(0, levels, count) / levels, rng.integers(1, 4, count).astype(float)
    assert auroc(truth, score, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight), abs=1e-9)
    expected = average_precision_score(truth, score, sample_weight=weight)
    assert average_precision(truth, score, weight) == pytest.approx(expected, abs=1e-9)


def test_a_finding_with_one_class_has_no_auroc_and_is_left_out_of_the_mean() -> None:
    truth = np.array([[0, 0], [1, 0], [0, 0], [1, 0]], float)
    scores = np.array([[0.1, 0.3], [0.9, 0.2], [0.2, 0.1], [0.8, 0.7]])
    weights = np.ones((10, 4))
    assert math.isnan(with_interval(auroc, truth[:, 1], scores[:, 1], weights).value)
    assert with_interval(auroc, truth[:, 1], scores[:, 1], weights).rounded() == [None, None, None]
    assert mean_with_interval(auroc, truth, scores, [0, 1], weights).rounded() == [1.0, 1.0, 1.0]


def test_pictures_of_one_patient_are_drawn_together() -> None:
    weights = patient_weights(np.array(["a", "b", "a", "c"]), 200, 1)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert set(weights.sum(1)) > {4.0}  # a patient with two pictures counts twice each time it is drawn


def test_intervals_from_patients_are_wider_than_from_pictures_when_pictures_repeat() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 100).astype(float)
    score = truth + rng.normal(0, 1.2, 100)
    truth, score = np.repeat(truth, 4), np.repeat(score, 4)
    by_patient = with_interval(auroc, truth, score, patient_weights(np.repeat(np.arange(100).astype(str), 4), 500, 1))
    by_picture = with_interval(auroc, truth, score, patient_weights(np.arange(400).astype(str), 500, 1))
    assert by_patient.value == by_picture.value
    assert by_patient.high - by_patient.low > 1.5 * (by_picture.high - by_picture.low)


def test_calibration_error_is_the_gap_between_probability_and_frequency() -> None:
    truth = np.array([1, 0, 0, 0, 1, 1, 1, 0], float)
    assert expected_calibration_error(truth, np.full(8, 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(truth, np.full(8, 0.5)) == pytest.approx(0)


def test_published_predictions_give_the_published_aurocs() -> None:
    shared = Path(os.environ.get("CXR_SHARED", Path(__file__).resolve().parents[4] / "shared"))
    folder = shared / "data" / "published_predictions"
    if not folder.exists():
        pytest.skip("the published predictions are not beside the project (set CXR_SHARED)")
    labels = _labels_of_2020(shared)
    with gzip.open(folder / "haooyuee_densenet121_nih_test22433_preds.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "haooyuee_densenet121_aucs.csv").open() as stream:
        published = {row["label"]: float(row["auc"]) for row in csv.DictReader(stream)}
    for label in LABELS:
        truth = np.array([float(label in labels[row["Image Index"]]) for row in rows])
        score = np.array([float(row[f"prob_{label}"]) for row in rows])
        assert auroc(truth, score, np.ones(len(truth))) == pytest.approx(published[label], abs=5e-6)


def _labels_of_2020(shared: Path) -> dict[str, list[str]]:
    with gzip.open(shared / "data" / "nih_metadata" / "Data_Entry_2017_v2020.csv.gz", "rt") as stream:
        return {row["Image Index"]: row["Finding Labels"].split("|") for row in csv.DictReader(stream)}
