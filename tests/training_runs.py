"""Tiny training plans and work for training processes, importable by them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from layouts import write_layout

from training.material import DataChoices
from training.parallel import Team, run_team
from training.prepare import Prepared, prepare
from training.recipe import parse_recipe


def tiny_run(tmp_path: Path, *, processes: int = 1, **choices: Any) -> Prepared:
    """Prepare noise pictures and a network of a few thousand weights, three epochs in two stages."""
    if not (tmp_path / "data").exists():
        write_layout(tmp_path / "data", patients=24, test_patients=4, size_px=48)
    stage = {"batch_size": 4, "learning_rate": 1e-3, "final_learning_rate": 1e-4}
    values = {
        "bundle_name": "trial",
        "architecture": "densenet-tiny",
        "init": "random",
        "box_weight": 0.2,
        "validation_share": 0.2,
        "bootstrap_samples": 100,
        "suitability_steps": 0,
        "stages": [{**stage, "size_px": 32, "epochs": 2}, {**stage, "size_px": 64, "epochs": 1}],
        "augmentation": {"flip_probability": 0.5, "rotation_degrees": 10.0, "brightness": 0.1},
    }
    recipe = parse_recipe({**values, **choices}, "trial.toml")
    return prepare(
        DataChoices(tmp_path / "data", tmp_path / "out" / "cache"), tmp_path / "out", recipe, None, processes
    )


def average_of_ranks(folder: str, team: Team) -> bool:
    """Average and collect something that differs between processes, and write down what this process got."""
    tensors = [torch.full((2, 2), float(team.rank)), torch.tensor([10.0 * team.rank])]
    team.average(tensors)
    collected = team.collect(torch.full((team.rank + 1, 3), float(team.rank)))
    torch.save([*tensors, collected], Path(folder) / f"{team.rank}.tensors")
    return True


def run_average(folder: Path) -> list[list[torch.Tensor]]:
    """Run ``average_of_ranks`` in two processes and return what each got."""
    run_team(2, partial(average_of_ranks, str(folder)), folder)
    return [torch.load(folder / f"{rank}.tensors", weights_only=True) for rank in range(2)]


def fail_in_second(team: Team) -> bool:
    """End one of the processes with an error."""
    if team.rank == 1:
        raise SystemExit(3)
    return True


def stop_early(team: Team) -> bool:
    """Report an early stop, as after a signal."""
    del team
    return False
