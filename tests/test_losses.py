from __future__ import annotations

import math

import torch

from training.data.augment import BoxBatch
from training.fitting.losses import finding_loss, place_loss


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
