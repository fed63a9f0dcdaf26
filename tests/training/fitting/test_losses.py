from __future__ import annotations

import math
from collections.abc import Callable

import torch

from training.data.augment import BoxBatch
from training.fitting.losses import FindingLoss, class_weights, finding_loss, place_loss
from training.recipe import Loss


def _box(label: int) -> BoxBatch:
    return BoxBatch(torch.tensor([0]), torch.tensor([label]), torch.zeros(1, 4))


def test_untrained_findings_take_no_part_in_the_loss() -> None:
    trained = torch.tensor([True, True, *[False] * 12])
    logits, targets = torch.zeros(4, 14), torch.zeros(4, 14)
    assert math.isclose(float(finding_loss(logits, targets, trained)), math.log(2), rel_tol=1e-6)
    logits[:, 2:] = 100.0
    assert math.isclose(float(finding_loss(logits, targets, trained)), math.log(2), rel_tol=1e-6)


def test_a_flat_map_costs_the_logarithm_of_its_cells() -> None:
    shares = torch.zeros(1, 7, 7)
    shares[0, 2, 3] = 0.4
    loss = place_loss(torch.zeros(1, 14, 7, 7), _box(5), shares, 4.0)
    assert math.isclose(float(loss), math.log(49), rel_tol=1e-5)


def test_a_map_that_peaks_in_the_box_costs_less_than_one_that_peaks_elsewhere() -> None:
    shares = torch.zeros(1, 7, 7)
    shares[0, 2, 3] = 0.4
    right, wrong = torch.zeros(1, 14, 7, 7), torch.zeros(1, 14, 7, 7)
    right[0, 5, 2, 3] = wrong[0, 5, 6, 6] = 60.0
    assert float(place_loss(right, _box(5), shares, 4.0)) < 0.5 < 4 < float(place_loss(wrong, _box(5), shares, 4.0))


def test_only_the_map_of_the_boxed_finding_is_moved_and_a_box_outside_moves_nothing() -> None:
    maps = torch.zeros(1, 14, 7, 7, requires_grad=True)
    shares = torch.zeros(1, 7, 7)
    place_loss(maps, _box(5), shares, 4.0).backward()
    assert maps.grad is not None
    assert float(maps.grad.abs().sum()) == 0
    shares[0, 0, 0] = 1.0
    place_loss(maps, _box(5), shares, 4.0).backward()
    assert maps.grad[0, 5].abs().sum() > 0
    assert float(maps.grad[0, :5].abs().sum() + maps.grad[0, 6:].abs().sum()) == 0


POSITIVES, PICTURES = torch.tensor([20.0, 50.0]), 100
LOGITS, TARGETS = torch.tensor([[0.3, -1.2], [2.0, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def _loss(**choices: object) -> float:
    trained = torch.tensor([True, True])
    loss = FindingLoss(Loss.model_validate(choices), trained, POSITIVES, PICTURES)
    return float(loss(LOGITS, TARGETS))


def _by_hand(cost: Callable[[float, float], float]) -> float:
    """Average ``cost(probability of the label, logit towards the label)`` over the four cases."""
    signed = [(2 * t - 1) * z for z, t in zip(LOGITS.flatten().tolist(), TARGETS.flatten().tolist(), strict=True)]
    return sum(cost(1 / (1 + math.exp(-z)), z) for z in signed) / 4


def test_every_kind_of_loss_equals_its_formula() -> None:
    assert math.isclose(_loss(), _by_hand(lambda p, _: -math.log(p)), rel_tol=1e-5)
    assert math.isclose(_loss(reduction="sum"), 2 * _loss(), rel_tol=1e-6)
    focal = _by_hand(lambda p, _: -((1 - p) ** 2) * math.log(p))
    assert math.isclose(_loss(kind="focal"), focal, rel_tol=1e-5)
    assert math.isclose(_loss(kind="hinge"), _by_hand(lambda _, z: max(0.0, 1 - z)), rel_tol=1e-5)
    assert math.isclose(_loss(kind="euclidean"), _by_hand(lambda p, _: (1 - p) ** 2), rel_tol=1e-5)
    assert math.isclose(_loss(kind="focal", focal_gamma=0), _loss(), rel_tol=1e-5)
    plain_asl = {"kind": "asl", "asl_gamma_negative": 0, "asl_margin": 0}
    assert math.isclose(_loss(**plain_asl), _loss(), rel_tol=1e-5)


def test_the_asymmetric_loss_forgives_sure_negatives_only() -> None:
    trained = torch.tensor([True])
    loss = FindingLoss(Loss(kind="asl"), trained, torch.tensor([5.0]), 10)
    sure, zero, one = torch.tensor([[-4.0]]), torch.zeros(1, 1), torch.ones(1, 1)
    assert float(loss(sure, zero)) == 0  # sigmoid(-4) = 0.018, under the margin of 0.05
    assert math.isclose(float(loss(sure, one)), math.log1p(math.exp(4)), rel_tol=1e-5)
    certain = FindingLoss(Loss(kind="asl", asl_margin=0), trained, torch.tensor([5.0]), 10)
    assert math.isfinite(float(certain(torch.full((1, 1), 200.0), zero)))
    p = 1 / (1 + math.exp(-1)) - 0.05
    assert math.isclose(float(loss(torch.ones(1, 1), zero)), -(p**4) * math.log(1 - p), rel_tol=1e-5)


def test_softmax_cross_entropy_shares_a_picture_among_its_labels() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    loss = FindingLoss(Loss(kind="cross-entropy"), torch.tensor([True, True]), POSITIVES, PICTURES)
    first, second = (-math.log(math.exp(z) / (math.e + math.e**2)) for z in (1, 2))
    assert math.isclose(float(loss(logits, torch.ones(1, 2))), (first + second) / 2, rel_tol=1e-5)
    assert float(loss(logits, torch.zeros(1, 2))) == 0


def test_class_weights_are_those_of_the_sources() -> None:
    """20 of 100 and 50 of 100 positives: the formulas of ``training.md`` section 1, done by hand."""
    expected = {
        "none": ([1, 1], [1, 1]),
        "frequency": ([0.8, 0.5], [0.2, 0.5]),  # S0, S3: w+ = N/(P+N), w- = P/(P+N)
        "inverse-frequency": ([5, 2], [1.25, 2]),  # Wang's W-CEL, S1: (P+N)/P and (P+N)/N
        "positives": ([2, 1], [1, 1]),  # (80/20)^0.5
    }
    for weighting, (positive, negative) in expected.items():
        found = class_weights(Loss.model_validate({"weighting": weighting}), POSITIVES, PICTURES)
        assert torch.allclose(found[0], torch.tensor(positive, dtype=torch.float32))
        assert torch.allclose(found[1], torch.tensor(negative, dtype=torch.float32))


def test_a_class_without_cases_keeps_its_weight_finite() -> None:
    weights = class_weights(Loss(weighting="inverse-frequency"), torch.tensor([0.0, 100.0]), PICTURES)
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


def test_smoothing_moves_labels_towards_one_half() -> None:
    by_hand = _by_hand(lambda p, _: -0.95 * math.log(p) - 0.05 * math.log(1 - p))
    assert math.isclose(_loss(label_smoothing=0.1), by_hand, rel_tol=1e-5)
