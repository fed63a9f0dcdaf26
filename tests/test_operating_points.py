from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.operating_points import choose_operating_points, rates_at
from training.recipe import Recipe, load_recipe

TRAINED = (True, *(False,) * 13)


def _recipe(rule: str, target: float = 0.9) -> Recipe:
    return load_recipe("phantom").model_copy(update={"operating_point": rule, "operating_target": target})


def _validation() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    truth = (rng.random(2000) < 0.2).astype(float)
    probability = 1 / (1 + np.exp(-(rng.normal(0, 1, 2000) + 2 * truth - 1)))
    return np.repeat(probability[:, None], 14, 1), np.repeat(truth[:, None], 14, 1)


@pytest.mark.parametrize(("rule", "place"), [("sensitivity", 0), ("specificity", 1)])
def test_a_target_is_reached_and_not_by_more_than_one_picture(rule: str, place: int) -> None:
    probability, truth = _validation()
    points = choose_operating_points(probability, truth, TRAINED, _recipe(rule))
    assert set(points) == {"Atelectasis"}
    point = points["Atelectasis"]
    rates = rates_at(probability[:, 0], truth[:, 0], point.threshold)
    assert rates == (pytest.approx(point.sensitivity), pytest.approx(point.specificity))
    assert rates[place] is not None
    assert 0.9 <= rates[place] < 0.91
    assert point.chosen_by == f"{rule} 0.9 on the validation part"


def test_youden_picks_the_largest_sum_of_sensitivity_and_specificity() -> None:
    probability, truth = _validation()
    point = choose_operating_points(probability, truth, TRAINED, _recipe("youden"))["Atelectasis"]
    sums = [sum(r or 0 for r in rates_at(probability[:, 0], truth[:, 0], t)) for t in np.linspace(0.01, 0.99, 99)]
    assert (point.sensitivity or 0) + (point.specificity or 0) >= max(sums)


def test_a_finding_with_one_class_gets_one_half_and_says_so() -> None:
    probability = np.full((10, 14), 0.2)
    point = choose_operating_points(probability, np.zeros((10, 14)), TRAINED, _recipe("youden"))["Atelectasis"]
    assert (point.threshold, point.chosen_by) == (0.5, "0.5, since validation has one class only")
    assert rates_at(probability[:, 0], np.zeros(10), 0.5) == (None, 1.0)
