from __future__ import annotations

import numpy as np
import pytest

from model.calibration import Calibration
from model.labels import LABELS
from training.evaluation.calibrate import fit_calibration, fit_platt, with_prevalence
from training.evaluation.metrics import expected_calibration_error

TRAINED = (True, *(False,) * 13)


def _table(column: np.ndarray) -> np.ndarray:
    return np.repeat(column[:, None], len(LABELS), axis=1)


def _cases(count: int, distort: object = None) -> tuple[np.ndarray, np.ndarray]:
    """Return right logits and truths drawn from them."""
    rng = np.random.default_rng(3)
    right = rng.normal(-1, 2, count)
    return right, (rng.random(count) < 1 / (1 + np.exp(-right))).astype(float)


def test_logits_that_are_twice_too_steep_and_shifted_are_put_right() -> None:
    right, truth = _cases(20_000)
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


def test_a_temperature_puts_the_slope_right_and_moves_nothing() -> None:
    right, truth = _cases(20_000)
    calibration = fit_calibration("temperature", _table(4 * right), _table(truth), TRAINED)
    assert calibration.kind == "temperature"
    assert calibration.a[0] == pytest.approx(0.25, abs=0.01)
    assert calibration.b == (0.0,) * 14
    assert calibration.a[1] == 1.0


def test_a_temperature_never_turns_the_order_round() -> None:
    right, truth = _cases(2000)
    assert fit_calibration("temperature", _table(-right), _table(truth), TRAINED).a[0] == pytest.approx(0.001)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_finding_ranked_the_wrong_way_round_on_validation_keeps_its_order_and_says_its_prevalence(kind: str) -> None:
    """Turned round, the probabilities would rank against the logits that every AUROC is measured with."""
    right, truth = _cases(2000)
    wrong = _table(-right)
    calibration = fit_calibration(kind, wrong, _table(truth), TRAINED)
    probability = calibration.probabilities(wrong)[:, 0]
    assert (np.diff(probability[np.argsort(-right)]) > 0).all()
    assert probability == pytest.approx(truth.mean(), abs=0.01)


def test_isotonic_puts_right_what_no_slope_and_offset_can() -> None:
    right, truth = _cases(20_000)
    bent = np.where(right > 0, right * 6, right / 6)
    curves = {kind: fit_calibration(kind, _table(bent), _table(truth), TRAINED) for kind in ("platt", "isotonic")}
    errors = {
        kind: expected_calibration_error(truth, curve.probabilities(_table(bent))[:, 0])
        for kind, curve in curves.items()
    }
    assert errors["isotonic"] < 0.01
    assert errors["platt"] > 0.04
    assert list(curves["isotonic"].corners) == ["Atelectasis"]
    assert curves["isotonic"].corners["Atelectasis"][0][1] > 0
    assert curves["isotonic"].corners["Atelectasis"][-1][1] < 1


def test_isotonic_needs_a_thousand_positives_and_takes_platt_otherwise() -> None:
    right, truth = _cases(20_000)
    few = (truth == 1) & (np.cumsum(truth) > 999)
    kept = ~few
    isotonic = fit_calibration("isotonic", _table(right[kept]), _table(truth[kept]), TRAINED)
    platt = fit_calibration("platt", _table(right[kept]), _table(truth[kept]), TRAINED)
    assert truth[kept].sum() == 999
    assert isotonic.corners == {}
    assert (isotonic.a, isotonic.b) == (platt.a, platt.b)


def test_moving_to_another_prevalence_is_exact_where_only_the_numbers_differ() -> None:
    """Keep a quarter of the negatives: the share of positives rises and the calibration follows by arithmetic."""
    right, truth = _cases(80_000)
    kept = (truth == 1) | (np.arange(80_000) % 4 == 0)
    shares = {"Atelectasis": float(truth.mean())}
    moved = with_prevalence(Calibration.identity(), shares, {"Atelectasis": float(truth[kept].mean())})
    after = moved.probabilities(_table(right[kept]))[:, 0]
    before = Calibration.identity().probabilities(_table(right[kept]))[:, 0]
    assert expected_calibration_error(truth[kept], after) < 0.01 < 0.1 < expected_calibration_error(truth[kept], before)
    assert moved.b[0] == pytest.approx(np.log(4), abs=0.02)
    assert moved.b[1] == 0.0


def test_an_isotonic_curve_moves_too_and_keeps_its_certain_ends() -> None:
    curve = Calibration((1.0,) * 14, (0.0,) * 14, "isotonic", {"Atelectasis": ((-1.0, 0.0), (0.0, 0.5), (1.0, 0.8))})
    moved = with_prevalence(curve, {"Atelectasis": 0.5}, {"Atelectasis": 0.8})
    assert moved.corners["Atelectasis"] == ((-1.0, 0.0), (0.0, pytest.approx(0.8)), (1.0, pytest.approx(16 / 17)))
