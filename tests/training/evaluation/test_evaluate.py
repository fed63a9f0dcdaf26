"""Figures of a part: undefined findings are said and never averaged in, and trivial baselines stand beside accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model.bundle import OperatingPoint
from model.calibration import Calibration
from model.labels import LABELS
from training.evaluation.evaluate import Evaluation, Resampling, evaluate
from training.evaluation.predictions import Predictions, network_predictions

TAUGHT = ("Atelectasis", "Effusion", "Hernia")


def _predictions(logits: np.ndarray, patients: list[str] | None = None) -> Predictions:
    count = len(logits)
    owners = np.array(patients or [str(row // 2) for row in range(count)])
    trained = tuple(label in TAUGHT for label in LABELS)
    names = tuple(f"{row:08d}_000.png" for row in range(count))
    return network_predictions("a model", names, owners, logits, Calibration.identity(), trained)


def _part(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    targets = (rng.random((count, 14)) < 0.3).astype(float)
    targets[:, LABELS.index("Hernia")] = 0
    return rng.normal(0, 1, (count, 14)) + targets, targets


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    logits, targets = _part()
    points = {"Effusion": OperatingPoint(threshold=0.7, chosen_by="hand")}
    return evaluate(_predictions(logits), targets, points, Resampling(200, 1), part="some pictures")


def test_only_taught_findings_are_scored_and_an_undefined_one_is_named_and_left_out_of_means(
    evaluation: Evaluation,
) -> None:
    logits, targets = _part()
    assert tuple(evaluation.findings) == TAUGHT
    assert evaluation.undefined == ["Hernia"]
    assert math.isnan(evaluation.findings["Hernia"].average_precision.value)
    expected = [roc_auc_score(targets[:, c], logits[:, c]) for c in (LABELS.index(label) for label in TAUGHT[:2])]
    assert evaluation.mean_auroc.value == pytest.approx(np.mean(expected))
    metrics = evaluation.metrics()
    assert metrics["undefined"] == ["Hernia"]
    assert metrics["mean_over"] == ["Atelectasis", "Effusion"]
    assert metrics["findings"]["Hernia"]["auroc"] == [None, None, None]


def test_accuracy_stands_beside_that_of_never_flagging(evaluation: Evaluation) -> None:
    logits, targets = _part()
    column = LABELS.index("Effusion")
    flagged = 1 / (1 + np.exp(-logits[:, column])) >= 0.7
    assert evaluation.accuracy == (
        pytest.approx((flagged == targets[:, column]).mean()),
        pytest.approx((targets[:, column] == 0).mean()),
    )
    assert evaluation.findings["Effusion"].prevalence == pytest.approx(targets[:, column].mean())


def test_a_finding_without_an_operating_point_is_reported_and_has_no_rates(evaluation: Evaluation) -> None:
    figures = evaluation.findings["Atelectasis"]
    assert figures.flagging is None
    assert figures.sensitivity is None
    assert figures.auroc.low < figures.auroc.value < figures.auroc.high


def test_intervals_that_rest_on_few_patients_are_marked() -> None:
    logits, targets = _part(120)
    targets[:, 0] = 0
    targets[:30, 0] = 1
    patients = ["one"] * 30 + [str(row) for row in range(90)]
    found = evaluate(_predictions(logits, patients), targets, {}, Resampling(50, 1), part="").findings
    assert (found["Atelectasis"].positives, found["Atelectasis"].positive_patients) == (30, 1)
    assert found["Atelectasis"].shaky
    assert not found["Effusion"].shaky


def test_a_finding_of_very_few_patients_is_not_counted_as_better_than_guessing() -> None:
    """One patient's pictures cannot vary from resample to resample, so the interval is narrow and says nothing."""
    _, targets = _part(120)
    targets[:, 0] = np.arange(120) < 30
    targets[:, LABELS.index("Effusion")] = np.arange(120) % 2
    patients = ["one"] * 30 + [str(row) for row in range(90)]
    evaluation = evaluate(_predictions(targets * 3.0, patients), targets, {}, Resampling(50, 1), part="")
    assert evaluation.findings["Atelectasis"].auroc.low == 1
    assert "better than guessing on 1 of them; 1 more has too few positive patients to tell." in evaluation.summary


def test_calibration_error_is_told_before_and_after_and_at_the_parts_own_prevalence() -> None:
    """Right logits moved by log 4, as a four times rarer finding gives: the move to this prevalence takes it back."""
    rng = np.random.default_rng(2)
    right = rng.normal(-1, 1.5, 20_000)
    targets = np.zeros((20_000, 14))
    targets[:, 0] = rng.random(20_000) < 1 / (1 + np.exp(-right))
    logits = np.repeat((right - np.log(4))[:, None], 14, 1)
    figures = evaluate(_predictions(logits), targets, {}, Resampling(5, 1), part="").findings["Atelectasis"]
    assert figures.ece_before == figures.ece_after > 0.1
    assert figures.ece_at_prevalence < 0.01


def test_probabilities_without_logits_have_no_error_before_calibration() -> None:
    logits, targets = _part(50)
    known = _predictions(logits)
    without = Predictions("m", known.names, known.patients, known.probabilities, np.full((50, 14), np.nan))
    figures = evaluate(without, targets, {}, Resampling(5, 1), part="").findings["Effusion"]
    assert math.isnan(figures.ece_before)
    assert not math.isnan(figures.ece_after)
