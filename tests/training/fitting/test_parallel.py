from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import team_work
import torch
from team_work import fail_in_second, run_average, stop_early

from training.parallel import Team, TrainingFailedError, TrainingInterruptedError, run_team

pytestmark = pytest.mark.usefixtures("forked_members")
ROOT = Path(__file__).resolve().parents[3]


def test_two_processes_hold_the_same_average_and_all_parts_in_order(tmp_path: Path) -> None:
    for first, second, collected in run_average(tmp_path):
        assert torch.equal(first, torch.full((2, 2), 0.5))
        assert torch.equal(second, torch.tensor([5.0]))
        assert collected[:, 0].tolist() == [0.0, 1.0, 1.0]
    assert not (tmp_path / "rendezvous").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["checkpoints/phantom", "run #2, 50% of it?"])
def test_the_folder_of_a_run_may_be_named_from_where_one_stands_and_in_any_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--out checkpoints/phantom``, as the README has it; the processes wait five minutes where they cannot meet."""
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    assert len(run_average(Path(name))) == 2


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


@pytest.mark.timeout(300)
def test_the_processes_of_a_run_that_is_killed_end_with_it(tmp_path: Path) -> None:
    """Orphans would go on training, and write their checkpoints into those of the same command run again."""
    script = Path(team_work.__file__)
    run = subprocess.Popen([sys.executable, script, tmp_path], cwd=ROOT, env=_with_tests(script))
    try:
        assert _within(200, lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        run.kill()
        run.wait()
    members = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert _within(30, lambda: not any(Path(f"/proc/{member}/cmdline").exists() for member in members))


def _with_tests(script: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{script.parent}{os.pathsep}{ROOT}"}


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()
