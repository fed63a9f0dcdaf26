"""Training started by torchrun: several processes that find each other by RANK and WORLD_SIZE."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import write_layout
from services import free_port
from training_runs import tiny_run

from training import parallel
from training.data.batches import batch_rows
from training.fitting.member import train_member
from training.parallel import Team, TrainingFailedError, launched_membership, launched_team, run_team

ROOT = Path(__file__).resolve().parents[3]
TRIAL = """
bundle_name = "trial"
architecture = "densenet-tiny"
init = "random"
validation_share = 0.2
box_weight = 0.2
bootstrap_samples = 100
suitability_steps = 0
[[stages]]
size_px = 32
epochs = {epochs}
batch_size = 4
learning_rate = 1e-3
[[stages]]
size_px = 64
epochs = 1
batch_size = 4
learning_rate = 1e-3
"""


def _command(folder: Path, epochs: int) -> list[str]:
    if not (folder / "data").exists():
        write_layout(folder / "data", patients=24, test_patients=4, size_px=48)
    (folder / "trial.toml").write_text(TRIAL.format(epochs=epochs))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--data", folder / "data", "--out", folder / "run", "--recipe", folder / "trial.toml"]
    return [*torchrun, "-m", "training", *map(str, arguments)]


def _checkpoint(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = torch.load(folder / "run" / "training" / "checkpoint.pt", weights_only=True)
    return values


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_trains_the_very_network_that_the_runs_own_processes_do(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launched = subprocess.run(
        _command(tmp_path, 2), capture_output=True, text=True, timeout=200, cwd=ROOT, env=environment, check=False
    )
    assert launched.returncode == 0, launched.stderr
    assert launched.stderr.count("epoch 1/3 at 32 px: validation") == 1  # one process speaks for all
    assert (tmp_path / "run" / "report.html").exists()
    theirs = _checkpoint(tmp_path)
    small = {"batch_size": 4, "learning_rate": 1e-3, "final_learning_rate": 0.0}
    stages = [{**small, "size_px": 32, "epochs": 2}, {**small, "size_px": 64, "epochs": 1}]
    own = tiny_run(tmp_path / "own", processes=2, augmentation={}, stages=stages)
    run_team(2, partial(train_member, own.plan), own.plan.out)
    ours = torch.load(own.plan.checkpoint, weights_only=True)
    assert theirs["steps_done"] == ours["steps_done"] == 12
    assert all(torch.equal(tensor, ours["network"][name]) for name, tensor in theirs["network"].items())
    assert theirs["history"] == ours["history"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_launched_run_that_is_told_to_stop_leaves_a_checkpoint(tmp_path: Path) -> None:
    with subprocess.Popen(
        _command(tmp_path, 4000), stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        deadline = time.monotonic() + 90
        while not (tmp_path / "run" / "training" / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    saved = _checkpoint(tmp_path)
    assert not saved["finished"]
    assert f"checkpoint after epoch {saved['epoch_number']}, step {saved['step']}" in errors
    assert "the same command continues" in errors


def _launched(monkeypatch: pytest.MonkeyPatch, **places: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in places.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_says_for_whom_it_waits_and_gives_up(
    rank: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It waited for twelve hours without a word."""
    monkeypatch.setattr(parallel, "_MEETING", timedelta(seconds=3))
    monkeypatch.setattr(parallel, "_SAID_AFTER_SECONDS", 0.2)
    place = f"127.0.0.1:{free_port()}"
    _launched(monkeypatch, MASTER_ADDR="127.0.0.1", MASTER_PORT=place.partition(":")[2])
    words = f"training process {rank} of 2 for the others, at {place}"
    with pytest.raises(TrainingFailedError, match=words), launched_membership(Team(rank, 2)):
        raise AssertionError("the other one never came")
    assert f"waiting as training process {rank} of 2" in caplog.text


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT do not say where the processes meet"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x of WORLD_SIZE=2 is no place"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 of WORLD_SIZE=2 is no place"),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "high"}, "do not say where"),
    ],
)
def test_variables_of_another_launcher_are_named(
    places: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _launched(monkeypatch, **places)
    with pytest.raises(TrainingFailedError, match=said):
        team = launched_team()
        assert team is not None
        with launched_membership(team):
            raise AssertionError("there is nowhere to meet")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_processes_share_every_batch_and_an_epoch_holds_every_picture_once(tmp_path: Path, size: int) -> None:
    examples = tiny_run(tmp_path).plan.training
    seen: list[int] = []
    for step in range(len(examples.names) // 4):
        shares = [batch_rows(examples, 4, 7, 3, step, Team(rank, size)) for rank in range(size)]
        assert {len(share) for share in shares} == {4 // size}
        alone = batch_rows(examples, 4, 7, 3, step)
        assert sorted(np.concatenate(shares)) == sorted(alone)
        seen += alone.tolist()
    assert sorted(seen) == list(range(16))
