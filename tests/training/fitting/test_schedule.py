"""Learning rates against PyTorch's own schedulers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from training.fitting.patience import Patience, Plateau
from training.fitting.schedule import learning_rate, plan_epochs
from training.recipe import Recipe, Schedule, parse_recipe

STAGE = {"size_px": 64, "epochs": 4, "batch_size": 10, "learning_rate": 0.5, "final_learning_rate": 0.02}


def _recipe(**stage: Any) -> Recipe:
    return parse_recipe({"bundle_name": "trial", "init": "random", "stages": [{**STAGE, **stage}]}, "trial.toml")


def _rates(recipe: Recipe, schedule: Schedule) -> list[float]:
    epochs = plan_epochs(recipe, 50)
    return [learning_rate(epoch, step, schedule) for epoch in epochs for step in range(epoch.steps)]


def _optimiser(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_one_cycle_is_torchs() -> None:
    rates = _rates(_recipe(), Schedule(kind="onecycle"))
    optimiser = _optimiser(0.5)
    # final_div_factor counts from the first rate, which is a 25th of the peak
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 0.5, total_steps=21, pct_start=0.3, div_factor=25, final_div_factor=0.5 / 25 / 0.02
    )
    expected = []
    for _ in rates:
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()
    # torch reaches peak and end at whole steps, here they lie between two: the curves differ by less than one step
    steepest = max(abs(a - b) for a, b in pairwise(expected))
    assert all(abs(a - b) < steepest for a, b in zip(rates, expected, strict=True))
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(0.5)


def test_cosine_is_torchs() -> None:
    rates = _rates(_recipe(), Schedule())
    optimiser = _optimiser(0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20, eta_min=0.02)
    for rate in rates:
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        theirs.step()


def test_constant_stays_and_warms_up_when_asked() -> None:
    assert _rates(_recipe(), Schedule(kind="constant")) == [0.5] * 20
    assert _rates(_recipe(warmup_steps=4), Schedule(kind="constant"))[:5] == [0.125, 0.25, 0.375, 0.5, 0.5]


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_plateaus_are_torchs(patience: int) -> None:
    """Losses that fall, stall, fall and stall again; torch compares with a relative threshold, switched off here."""
    losses = [1.0, 0.9, 0.9, 0.95, 0.91, 0.8, 0.85, 0.8, 0.83, 0.79, 0.79, 0.79, 0.79, 0.79]
    optimiser = _optimiser(1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.2, patience=patience, threshold=0)
    ours = Plateau()
    for loss in losses:
        theirs.step(loss)
        ours.note(-loss)
        ours.lower(patience, 0.2)
        assert ours.share == pytest.approx(optimiser.param_groups[0]["lr"])
    assert ours.share < 1


def test_a_plateau_never_goes_below_the_lowest_rate() -> None:
    epoch = plan_epochs(_recipe(), 50)[0]
    assert learning_rate(epoch, 0, Schedule(kind="plateau"), 0.1) == pytest.approx(0.05)
    assert learning_rate(epoch, 0, Schedule(kind="plateau"), 1e-6) == 0.02


def test_patience_counts_epochs_without_a_better_score_and_takes_nan_for_none() -> None:
    patience = Patience()
    for score, expected in [(0.5, 0), (0.5, 1), (math.nan, 2), (0.6, 0), (0.4, 1)]:
        patience.note(score)
        assert patience.epochs_without == expected
    assert Patience(**patience.state()) == patience


def test_an_epoch_may_be_a_part_of_a_pass_but_not_more() -> None:
    assert [epoch.steps for epoch in plan_epochs(_recipe(steps_per_epoch=3), 50)] == [3, 3, 3, 3]
    assert [epoch.steps for epoch in plan_epochs(_recipe(steps_per_epoch=900), 50)] == [5, 5, 5, 5]
