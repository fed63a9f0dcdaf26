from __future__ import annotations

from pathlib import Path

import pytest
import torch
from team_work import fail_in_second, run_average, stop_early

from training.parallel import Team, TrainingFailedError, TrainingInterruptedError, run_team


def test_two_processes_hold_the_same_average_and_all_parts_in_order(tmp_path: Path) -> None:
    for first, second, collected in run_average(tmp_path):
        assert torch.equal(first, torch.full((2, 2), 0.5))
        assert torch.equal(second, torch.tensor([5.0]))
        assert collected[:, 0].tolist() == [0.0, 1.0, 1.0]
    assert not (tmp_path / "rendezvous").exists()


def test_a_process_that_fails_fails_the_run_and_an_early_stop_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match=r"status (1 and )?3;"):
        run_team(2, fail_in_second, tmp_path)
    with pytest.raises(TrainingInterruptedError, match="the same command continues"):
        run_team(1, stop_early, tmp_path)


def test_one_process_alone_averages_nothing() -> None:
    tensor = torch.tensor([3.0])
    Team(0, 1).average([tensor])
    assert tensor.item() == 3.0
    assert Team(0, 1).collect(tensor) is tensor
