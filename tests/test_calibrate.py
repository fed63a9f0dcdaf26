from __future__ import annotations

import numpy as np
import pytest

from model.labels import LABELS
from training.evaluation.calibrate import fit_platt
from training.evaluation.metrics import expected_calibration_error

TRAINED = (True, *(False,) * 13)


def _table(column: np.ndarray) -> np.ndarray:
    return np.repeat(column[:, None], len(LABELS), axis=1)


def test_logits_that_are_twice_too_steep_and_shifted_are_put_right() -> None:
    rng = np.random.default_rng(3)
    right = rng.normal(-1, 2, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-right))).astype(float)
    wrong = 2 * right + 3
    calibration = fit_platt(_table(wrong), _table(truth), TRAINED)
    assert calibration.a[0] == pytest.approx(0.5, abs=0.02)
    assert calibration.b[0] == pytest.approx(-1.5, abs=0.06)
    assert (calibration.a[1], calibration.b[1]) == (1.0, 0.0)
    after = calibration.probabilities(_table(wrong))[:, 0]
    assert expected_calibration_error(truth, after) < 0.01 < expected_calibration_error(truth, 1 / (1 + np.exp(-wrong)))


def test_perfectly_separated_classes_give_a_finite_rising_curve() -> None:
    logit, truth = np.linspace(-500, 500, 100), (np.arange(100) >= 50).astype(float)
    calibration = fit_platt(_table(logit), _table(truth), TRAINED)
    probability = calibration.probabilities(_table(logit))[:, 0]
    assert calibration.a[0] > 0
    assert np.isfinite(probability).all()
    assert probability[0] < 0.05 < 0.95 < probability[-1]


def test_with_few_positives_only_the_offset_is_fitted() -> None:
    logit, truth = np.zeros(1000), np.zeros(1000)
    truth[:3] = 1
    calibration = fit_platt(_table(logit), _table(truth), TRAINED)
    assert calibration.a[0] == 1.0
    assert calibration.probabilities(_table(logit))[0, 0] == pytest.approx(0.004, abs=0.002)
