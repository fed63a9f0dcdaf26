from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from model.labels import LABELS
from training.evaluation.flagging import flag_rates
from training.evaluation.operating_points import (
    OperatingRule,
    choose_operating_points,
    flagging_findings,
)

FLAGGING = (True, *(False,) * 13)


def _validation() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    truth = (rng.random(2000) < 0.2).astype(float)
    probability = 1 / (1 + np.exp(-(rng.normal(0, 1, 2000) + 2 * truth - 1)))
    return np.repeat(probability[:, None], 14, 1), np.repeat(truth[:, None], 14, 1)


@pytest.mark.parametrize(("rule", "place"), [("sensitivity", 0), ("specificity", 1)])
def test_a_target_is_reached_and_not_by_more_than_one_picture(rule: str, place: int) -> None:
    probability, truth = _validation()
    points = choose_operating_points(probability, truth, FLAGGING, OperatingRule.parse(f"{rule}:0.9"))
    assert set(points) == {"Atelectasis"}
    point = points["Atelectasis"]
    at = flag_rates(probability[:, 0], truth[:, 0], point.threshold)
    rates = (at.sensitivity, at.specificity)
    assert rates == (pytest.approx(point.sensitivity), pytest.approx(point.specificity))
    assert rates[place] is not None
    assert 0.9 <= rates[place] < 0.91
    assert point.chosen_by == f"{rule} 0.9 on the validation part, {int(truth[:, 0].sum())} positives"


def test_youden_picks_the_largest_sum_of_sensitivity_and_specificity() -> None:
    probability, truth = _validation()
    point = choose_operating_points(probability, truth, FLAGGING, OperatingRule("youden"))["Atelectasis"]
    tried = [flag_rates(probability[:, 0], truth[:, 0], t) for t in np.linspace(0.01, 0.99, 99)]
    sums = [(rates.sensitivity or 0) + (rates.specificity or 0) for rates in tried]
    assert (point.sensitivity or 0) + (point.specificity or 0) >= max(sums)


def test_f1_picks_the_largest_f1_of_scikit_learn() -> None:
    probability, truth = _validation()
    point = choose_operating_points(probability, truth, FLAGGING, OperatingRule("f1"))["Atelectasis"]
    reached = f1_score(truth[:, 0], probability[:, 0] >= point.threshold)
    assert reached >= max(f1_score(truth[:, 0], probability[:, 0] >= t) for t in np.linspace(0.01, 0.99, 99))


def test_a_predictive_value_is_reached_by_the_lowest_threshold_that_does() -> None:
    probability, truth = _validation()
    point = choose_operating_points(probability, truth, FLAGGING, OperatingRule("ppv", 0.6))["Atelectasis"]
    lower = np.linspace(0, point.threshold, 60)[:-1]
    assert precision_score(truth[:, 0], probability[:, 0] >= point.threshold) >= 0.6
    assert all(precision_score(truth[:, 0], probability[:, 0] >= t) < 0.6 for t in lower)


def test_a_predictive_value_out_of_reach_is_said_to_be() -> None:
    """One positive on top would give a value of 1, by chance: ten pictures must be flagged."""
    probability, truth = np.repeat(np.linspace(0, 1, 100)[:, None], 14, 1), np.zeros((100, 14))
    truth[[10, 99]] = 1
    point = choose_operating_points(probability, truth, FLAGGING, OperatingRule("ppv", 0.9))["Atelectasis"]
    assert point.chosen_by == "PPV 0.9 (not reached) on the validation part, 2 positives"
    assert (probability[:, 0] >= point.threshold).sum() == 10


def test_single_findings_may_have_a_rule_of_their_own() -> None:
    probability, truth = _validation()
    both = (True, True, *(False,) * 12)
    rules = {LABELS[1]: OperatingRule("specificity", 0.95)}
    points = choose_operating_points(probability, truth, both, OperatingRule("f1"), rules)
    assert [point.chosen_by for point in points.values()] == [
        f"F1 on the validation part, {int(truth[:, 0].sum())} positives",
        f"specificity 0.95 on the validation part, {int(truth[:, 1].sum())} positives",
    ]


@pytest.mark.parametrize("text", ["sensitivity", "youden:0.9", "ppv:1.2", "ppv:x", "best", ""])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no rule|must lie between|could not convert"):
        OperatingRule.parse(text)


def test_findings_with_fewer_than_thirty_positives_never_flag() -> None:
    positives = np.array([30, 29, *[0] * 12])
    assert flagging_findings((True,) * 14, positives)[:3] == (True, False, False)
    assert flagging_findings((False,) * 14, positives)[0] is False


def test_a_finding_with_one_class_gets_one_half_and_says_so() -> None:
    probability = np.full((10, 14), 0.2)
    point = choose_operating_points(probability, np.zeros((10, 14)), FLAGGING, OperatingRule())["Atelectasis"]
    assert (point.threshold, point.chosen_by) == (0.5, "0.5, since validation has one class only")


def test_rates_at_a_threshold_are_those_of_the_counts_and_stand_beside_never_flagging() -> None:
    """Ten pictures, three positive; flagged are two of them and one other."""
    probability = np.array([0.9, 0.8, 0.1, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    rates = flag_rates(probability, np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]), 0.7)
    assert rates.sensitivity == rates.ppv == rates.f1 == pytest.approx(2 / 3)
    assert rates.specificity == rates.npv == pytest.approx(6 / 7)
    assert rates.accuracy == 0.8
    assert rates.all_negative_accuracy == 0.7
    assert flag_rates(probability, np.zeros(10), 2).ppv is None
