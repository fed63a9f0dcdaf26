from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import team_work
import torch
from team_work import ArrivingApart, be_killed, fail_in_second, run_average, stop_early, take_long, wait_long

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


@pytest.mark.timeout(60)
def test_a_process_that_is_killed_before_it_meets_the_others_stops_them(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match="ended by SIGKILL"):
        run_team(2, ArrivingApart(tmp_path, be_killed), tmp_path)
    assert multiprocessing.active_children() == []


@pytest.mark.timeout(60)
def test_a_process_that_cannot_be_started_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = multiprocessing.get_context().Process
    start, started = kind.start, []

    def start_one(member: BaseProcess) -> None:
        if started:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(member)
        start(member)

    monkeypatch.setattr(kind, "start", start_one)
    with pytest.raises(TrainingFailedError, match=r"only 1 of 2 .*Resource temporarily unavailable"):
        run_team(2, partial(wait_long, str(tmp_path)), tmp_path)
    assert [member.exitcode for member in started] == [-signal.SIGTERM]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_interrupted_while_its_processes_meet(number: signal.Signals, tmp_path: Path) -> None:
    """One still imports what it needs, the other waits for it in PyTorch, where no handler of Python's has its turn."""

    def interrupt() -> None:
        assert _within(30, (tmp_path / "second").exists)
        time.sleep(1)
        os.kill(os.getpid(), number)

    clock = threading.Thread(target=interrupt)
    clock.start()
    with pytest.raises(TrainingInterruptedError, match="the same command continues"):
        run_team(2, ArrivingApart(tmp_path, take_long), tmp_path)
    clock.join()
    assert multiprocessing.active_children() == []


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
