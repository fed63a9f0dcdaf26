"""Tiny training plans, importable by training processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layouts import write_layout

from training.material import DataChoices
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
