from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_runs import tiny_run
from typer.testing import CliRunner

from training.bench import Bench, BenchReport, PartSpeed, noise_cache
from training.cli import app
from training.data.cache import damaged_pictures

TINY = """
bundle_name = "trial"
architecture = "densenet-tiny"
init = "random"
[[stages]]
size_px = 64
epochs = 1
batch_size = 4
learning_rate = 1e-3
final_learning_rate = 1e-4
"""


def test_every_part_is_measured_and_the_slowest_is_named(tmp_path: Path) -> None:
    prepared = tiny_run(tmp_path)
    report = Bench(prepared.plan.recipe, prepared.plan.cache, 0).report()
    assert set(report.steps) == {f"{p} {f}" for p in ("fp32", "bf16") for f in ("NCHW", "channels_last")}
    speeds = {"loader": report.loader, "augmentation": report.augmentation, "step": report.steps[report.recipe_step]}
    assert speeds[report.limiting].seconds == max(speed.seconds for speed in speeds.values())
    for speed in (*speeds.values(), *report.steps.values(), report.whole):
        assert speed.repetitions >= 3
        assert speed.images_per_second == pytest.approx(report.batch_size / speed.seconds)
    # Everything holds the step, so it cannot be faster than the step alone; half of it allows for a noisy machine.
    assert report.whole.seconds > speeds["step"].seconds / 2


def test_a_loader_slower_than_the_step_is_the_limit() -> None:
    def speed(seconds: float) -> PartSpeed:
        return PartSpeed(seconds, 5, 8 / seconds)

    report = BenchReport(
        "CPU", 1, "densenet121", 224, 8, False, speed(3), speed(1), {"fp32 channels_last": speed(2)}, speed(6),
        "fp32 channels_last", 0,
    )  # fmt: skip
    assert (report.limiting, report.input_share) == ("loader", 2.0)
    assert replace(report, loader=speed(0.1), augmentation=speed(0.1)).limiting == "step"


def test_the_cache_of_noise_is_a_sound_one_and_goes_with_the_measurement() -> None:
    with noise_cache(32, 5) as folder:
        assert damaged_pictures(folder, lambda done, total: None) == []
    assert not folder.exists()


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    arguments = ["bench", "--recipe", str(recipe), "--seconds", "0", "--pictures", "8", "--batch-size", "2"]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0, table.output
    assert "limiting part:" in table.output
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert facts["batch_size"] == 2
    assert facts["limiting"] in {"loader", "augmentation", "step"}
