from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from head_runs import head_recipe, write_features
from PIL import Image
from typer.testing import CliRunner

from training.cli import app
from training.heads.errors import HeadError
from training.heads.fit import fit_head
from training.heads.recipe import HeadRecipe
from training.heads.shards import read_features
from training.heads.sweep import lowest, on_the_edge, run_sweep
from training.heads.table import head_table

pytestmark = pytest.mark.usefixtures("forked_members")


def sweep_recipe(**keys: Any) -> HeadRecipe:
    recipe = head_recipe()
    grid = {"learning_rates": (0.0001, 0.1, 0.01), "weight_decays": (0.0, 0.5), "epochs": 2} | keys
    return recipe.model_copy(update={"sweep": recipe.sweep.model_copy(update=grid)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 200 pictures and a sweep of six heads on them."""
    folder = tmp_path_factory.mktemp("sweep")
    write_features(folder / "features")
    run_sweep(folder / "features", folder / "sweep", sweep_recipe(), workers=2)
    return folder


def test_the_pair_with_the_lowest_validation_loss_wins(run: Path) -> None:
    facts = json.loads((run / "sweep" / "sweep.json").read_text())
    losses = {(pair["learning_rate"], pair["weight_decay"]): pair["validation_loss"] for pair in facts["pairs"]}
    assert set(losses) == {(rate, decay) for rate in (0.0001, 0.1, 0.01) for decay in (0.0, 0.5)}
    best = (facts["best"]["learning_rate"], facts["best"]["weight_decay"])
    assert losses[best] == min(losses.values())
    assert len(set(losses.values())) == 6


def test_a_cell_is_the_head_that_training_it_alone_gives(run: Path) -> None:
    recipe = sweep_recipe()
    table = head_table(read_features(run / "features"), metadata=True)
    cell = json.loads((run / "sweep" / "cells" / "lr-0.01_wd-0.5.json").read_text())
    choices = recipe.head.model_copy(update={"learning_rate": 0.01, "weight_decay": 0.5, "epochs": 2})
    assert cell["history"] == fit_head(table, choices, recipe.seed, lambda entry: None).history


def test_every_output_says_that_the_split_leaks(run: Path) -> None:
    with (run / "sweep" / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["split"] for row in rows] == ["image-random (LEAKY)"] * 6
    assert json.loads((run / "sweep" / "sweep.json").read_text())["split"]["leaky"]
    with Image.open(run / "sweep" / "sweep.png") as picture:
        assert picture.text["Description"].startswith("LEAKY")  # type: ignore[attr-defined]


def test_only_missing_pairs_are_trained_again(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = run / "sweep" / "cells"
    written = {path: path.stat().st_mtime_ns for path in cells.iterdir()}
    before = json.loads((run / "sweep" / "sweep.json").read_text())
    missing = cells / "lr-0.1_wd-0.json"
    missing.unlink()
    with caplog.at_level("INFO"):
        after = run_sweep(run / "features", run / "sweep", sweep_recipe(), workers=1)
    assert "5 of 6 pairs are there already" in caplog.text
    assert {path for path, at in written.items() if path.stat().st_mtime_ns != at} == {missing}
    assert after["best"] == before["best"]


def test_the_cells_of_another_sweep_are_refused(run: Path) -> None:
    with pytest.raises(HeadError, match="of another sweep"):
        run_sweep(run / "features", run / "sweep", sweep_recipe(epochs=3), workers=1)


def test_a_pair_that_diverges_is_a_result_and_cannot_win(run: Path, tmp_path: Path) -> None:
    facts = run_sweep(run / "features", tmp_path, sweep_recipe(learning_rates=(1e30, 0.01)), workers=1)
    losses = {(pair["learning_rate"], pair["weight_decay"]): pair["validation_loss"] for pair in facts["pairs"]}
    assert (losses[1e30, 0.5], facts["best"]["learning_rate"]) == (None, 0.01)
    for file in tmp_path.rglob("*.json"):
        json.loads(file.read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    with pytest.raises(HeadError, match="every pair of the grid"):
        run_sweep(
            run / "features", tmp_path / "none", sweep_recipe(learning_rates=(1e30,), weight_decays=(0.5,)), workers=1
        )


def test_the_command_names_the_head_to_train_next(run: Path) -> None:
    recipe = run / "trial.toml"
    recipe.write_text(
        'kind = "head"\nname = "trial"\n[head]\nhidden = []\nbatch_size = 4\nepochs = 3\nbootstrap_samples = 100\n'
        "[sweep]\nlearning_rates = [0.0001, 0.1, 0.01]\nweight_decays = [0.0, 0.5]\nepochs = 2\n"
    )
    words = ["sweep", run / "features", "--out", run / "sweep", "--recipe", recipe]
    said = CliRunner().invoke(app, [str(word) for word in words])
    assert said.exit_code == 0, said.output
    facts = json.loads((run / "sweep" / "sweep.json").read_text())
    best = facts["best"]
    assert f"--learning-rate {best['learning_rate']:g} --weight-decay {best['weight_decay']:g}" in said.stdout
    assert said.stdout.count("at the edge of the grid") == len(facts["on_the_edge_of_the_grid"]) > 0


def test_of_equal_losses_the_first_wins() -> None:
    results = [{"validation_loss": loss, "place": place} for place, loss in enumerate((0.3, 0.2, 0.2))]
    assert lowest(results)["place"] == 1


@pytest.mark.parametrize(
    ("best", "edges"),
    [
        ((0.01, 0.0), []),  # nought is the smallest weight decay there is
        ((0.1, 0.5), ["learning_rate", "weight_decay"]),
        ((0.0001, 0.0), ["learning_rate"]),
    ],
)
def test_a_best_pair_at_the_edge_of_the_grid_is_named(best: tuple[float, float], edges: list[str]) -> None:
    pair = {"learning_rate": best[0], "weight_decay": best[1]}
    assert on_the_edge(pair, sweep_recipe()) == edges
