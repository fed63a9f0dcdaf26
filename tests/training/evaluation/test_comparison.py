"""Is B better than A? Said with paired intervals, and not said where the data do not show it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from model.labels import LABELS
from training.evaluation.comparison import ModelComparison, compare_models
from training.evaluation.evaluate import Resampling
from training.evaluation.predictions import Predictions

COUNT = 600


def _model(name: str, probabilities: np.ndarray) -> Predictions:
    names = tuple(map(str, range(len(probabilities))))
    owners = np.array([str(row // 2) for row in range(len(probabilities))])
    return Predictions(name, names, owners, probabilities, np.full_like(probabilities, np.nan))


@pytest.fixture(scope="module")
def comparison() -> ModelComparison:
    """B is A's noise with less of it for Mass, more for Edema, and A itself for Effusion; Hernia has no positives."""
    rng = np.random.default_rng(6)
    targets = (rng.random((COUNT, 14)) < 0.3).astype(float)
    targets[:, LABELS.index("Hernia")] = 0
    noise = rng.normal(0, 1, (COUNT, 14))
    a, b = (1 / (1 + np.exp(-(targets * 1.5 + noise * scale))) for scale in (np.ones(14), _scales()))
    a[:, LABELS.index("Fibrosis")] = np.nan
    return compare_models(_model("old", a), _model("new", b), targets, Resampling(300, 1))


def _scales() -> np.ndarray:
    scales = np.ones(14)
    scales[LABELS.index("Mass")], scales[LABELS.index("Edema")] = 0.6, 1.8
    return scales


def test_better_worse_and_equal_findings_are_told_apart(comparison: ModelComparison) -> None:
    assert comparison.auroc["Mass"].verdict == "B is better"
    assert comparison.auroc["Edema"].verdict == "A is better"
    assert comparison.auroc["Effusion"].verdict == "no difference shown"
    assert comparison.auroc["Effusion"].difference.rounded() == [0, 0, 0]


def test_findings_that_cannot_be_compared_are_named_with_the_reason(comparison: ModelComparison) -> None:
    assert comparison.left_out == {"Fibrosis": "A never learnt it", "Hernia": "one class only among these pictures"}
    assert not {"Fibrosis", "Hernia"} & set(comparison.auroc)


def test_the_mean_is_over_the_compared_findings_and_its_difference_that_of_the_means(
    comparison: ModelComparison,
) -> None:
    mean = comparison.mean_auroc
    assert mean is not None
    assert mean.a.value == pytest.approx(np.mean([d.a.value for d in comparison.auroc.values()]))
    assert mean.difference.value == pytest.approx(mean.b.value - mean.a.value)
    assert mean.difference.low < mean.difference.value < mean.difference.high


def test_pairing_makes_the_interval_of_a_difference_narrower_than_the_two_intervals(
    comparison: ModelComparison,
) -> None:
    cardiomegaly = comparison.auroc["Mass"]
    widths = [interval.high - interval.low for interval in (cardiomegaly.a, cardiomegaly.b, cardiomegaly.difference)]
    assert widths[2] < np.hypot(widths[0], widths[1])


def test_values_are_those_of_scikit_learn_and_plain_values_hold_everything(comparison: ModelComparison) -> None:
    rng = np.random.default_rng(6)
    targets = (rng.random((COUNT, 14)) < 0.3).astype(float)
    noise = rng.normal(0, 1, (COUNT, 14))
    column = LABELS.index("Mass")
    score = targets[:, column] * 1.5 + noise[:, column]
    assert comparison.auroc["Mass"].a.value == pytest.approx(roc_auc_score(targets[:, column], score))
    expected = average_precision_score(targets[:, column], score)
    assert comparison.average_precision["Mass"].a.value == pytest.approx(expected)
    plain = comparison.as_dict()
    assert plain["mean_auroc"]["verdict"] in {"A is better", "B is better", "no difference shown"}
    assert plain["auroc"]["Mass"]["difference"][1] > 0


def test_models_that_judged_different_pictures_are_refused() -> None:
    model = _model("m", np.full((4, 14), 0.5))
    with pytest.raises(ValueError, match="same pictures"):
        compare_models(model, model.only(model.names[::-1]), np.zeros((4, 14)), Resampling(5, 1))


def test_nothing_in_common_gives_no_mean() -> None:
    model = _model("m", np.full((4, 14), 0.5))
    comparison = compare_models(model, model, np.zeros((4, 14)), Resampling(5, 1))
    assert comparison.mean_auroc is None
    assert len(comparison.left_out) == 14
