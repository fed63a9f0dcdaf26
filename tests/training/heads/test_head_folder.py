"""The ``head`` command: what it writes, and that every output says how the rows were cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from head_runs import head_recipe, write_features
from PIL import Image
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from model.labels import LABELS
from training.cli import app
from training.evaluation.predictions import read_predictions
from training.heads.errors import HeadError
from training.heads.head_folder import make_head
from training.heads.perceptron import logits_of, read_head
from training.heads.shards import read_features
from training.heads.table import head_table
from training.output import OutputError, only_run

OUTPUTS = {"auroc.png", "checkpoint.pt", "head.json", "head.safetensors", "learning_curve.png"}
OUTPUTS |= {"predictions_test.csv", "predictions_validation.csv", "run.lock"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of 200 pictures and a head on them."""
    folder = tmp_path_factory.mktemp("head")
    write_features(folder / "features")
    (folder / "trial.toml").write_text(
        'kind = "head"\nname = "trial"\n'
        "[head]\nhidden = [4]\nlearning_rate = 0.05\nepochs = 8\nbootstrap_samples = 100\n"
    )
    words = ["head", folder / "features", "--out", folder / "head", "--recipe", folder / "trial.toml"]
    made = CliRunner().invoke(app, [str(word) for word in words])
    assert made.exit_code == 0, made.output
    (folder / "said.txt").write_text(made.stdout)
    return folder


def test_everything_is_written_and_says_that_the_split_leaks(run: Path) -> None:
    assert {path.name for path in (run / "head").iterdir()} == OUTPUTS
    facts = json.loads((run / "head" / "head.json").read_text())
    _, written = read_head(run / "head" / "head.safetensors")
    assert facts["split"]["mark"] == written["split"]
    for text in (facts["split"]["mark"], (run / "said.txt").read_text()):
        assert text.startswith("LEAKY")
    for part in ("validation", "test"):
        said = read_predictions(run / "head" / f"predictions_{part}.csv")
        assert said.model == "head trial on drawn, image-random (LEAKY)"
    for name in ("auroc.png", "learning_curve.png"):
        with Image.open(run / "head" / name) as picture:
            assert picture.text["Description"].startswith("LEAKY")  # type: ignore[attr-defined]
            assert "Not a medical device" in picture.text["Disclaimer"]  # type: ignore[attr-defined]
    for text in (facts["notice"], written["notice"], (run / "said.txt").read_text()):
        assert "Not a medical device" in text
    assert not facts["published"]["comparable"]


@pytest.mark.parametrize(("part", "count"), [("validation", 20), ("test", 40)])
def test_the_predictions_are_those_of_the_written_head(run: Path, part: str, count: int) -> None:
    head, _ = read_head(run / "head" / "head.safetensors")
    features = read_features(run / "features")
    table = head_table(features, metadata=True)
    said = read_predictions(run / "head" / f"predictions_{part}.csv")
    rows = table.rows(part)
    assert len(said.names) == count
    assert said.names == tuple(features.image_index[rows])
    assert said.patients.tolist() == features.patient_id[rows].tolist()
    np.testing.assert_allclose(said.logits, logits_of(head, table.inputs[rows]), rtol=1e-6)
    np.testing.assert_allclose(said.probabilities, 1 / (1 + np.exp(-said.logits)), rtol=1e-6)


def test_the_figures_are_those_of_the_predictions(run: Path) -> None:
    said = read_predictions(run / "head" / "predictions_test.csv")
    features = read_features(run / "features")
    truth = dict(zip(features.image_index, features.targets, strict=True))
    targets = np.array([truth[name] for name in said.names])
    test = json.loads((run / "head" / "head.json").read_text())["test"]
    values = {}
    for column, label in enumerate(LABELS[:-1]):
        values[label] = roc_auc_score(targets[:, column], said.probabilities[:, column])
        assert test["findings"][label]["auroc"][0] == pytest.approx(values[label], abs=1e-4)
        assert test["findings"][label]["positives"] == targets[:, column].sum()
    assert test["mean_auroc"][0] == pytest.approx(np.mean(list(values.values())), abs=1e-4)
    assert values["Effusion"] > 0.95  # the drawn features tell it
    assert test["undefined"] == ["Hernia"]
    assert test["findings"]["Hernia"]["auroc"] == [None, None, None]


def test_age_and_sex_follow_the_features(run: Path) -> None:
    features = read_features(run / "features")
    columns = head_table(features, metadata=True).inputs
    assert columns.shape == (200, 8)
    np.testing.assert_array_equal(columns[:, :6], features.features)
    np.testing.assert_allclose(columns[:, 6], 0.5)  # everybody is 50
    np.testing.assert_array_equal(columns[:, 7], features.sex == "M")
    assert 0 < columns[:, 7].mean() < 1


def test_the_same_command_again_trains_nothing_and_writes_the_same(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in (run / "head").iterdir() if path.suffix != ".pt"}
    checkpoint = (run / "head" / "checkpoint.pt").stat().st_mtime_ns
    words = ["head", run / "features", "--out", run / "head", "--recipe", run / "trial.toml", "--json"]
    again = CliRunner().invoke(app, [str(word) for word in words])
    assert json.loads(again.stdout) == json.loads(before["head.json"])
    assert (run / "head" / "checkpoint.pt").stat().st_mtime_ns == checkpoint
    assert {path.name: path.read_bytes() for path in (run / "head").iterdir() if path.suffix != ".pt"} == before


def test_an_earlier_head_is_drawn_as_the_initial_one(run: Path, tmp_path: Path) -> None:
    earlier = json.loads((run / "head" / "head.json").read_text())["test"]
    made = make_head(run / "features", tmp_path / "second", head_recipe(epochs=1), run / "head")
    assert made["initial"] == earlier
    write_features(tmp_path / "others", width=7)
    with pytest.raises(HeadError, match="made from other features"):
        make_head(tmp_path / "others", tmp_path / "third", head_recipe(epochs=1), run / "head")
    with pytest.raises(HeadError, match="no finished head"):
        make_head(run / "features", tmp_path / "third", head_recipe(epochs=1), tmp_path)
    assert not (tmp_path / "third").exists()


def test_an_honest_split_is_not_marked(tmp_path: Path) -> None:
    write_features(tmp_path / "features", split="patient-random")
    made = make_head(tmp_path / "features", tmp_path / "head", head_recipe(epochs=1))
    assert "LEAKY" not in json.dumps(made)
    assert read_predictions(tmp_path / "head" / "predictions_test.csv").model.endswith(", patient-random")


def test_two_do_not_train_into_one_folder(run: Path, tmp_path: Path) -> None:
    with only_run(tmp_path), pytest.raises(OutputError, match="at work in this folder"):
        make_head(run / "features", tmp_path, head_recipe())


def test_a_head_that_diverges_ends_the_run_and_is_not_written(run: Path, tmp_path: Path) -> None:
    """It ended with the weights of the start and a history that is no JSON."""
    with pytest.raises(HeadError, match="loss of epoch 1 of the head is not a number; lower the learning rate"):
        make_head(run / "features", tmp_path, head_recipe(learning_rate=1e30))
    assert not (tmp_path / "head.json").exists()


def test_a_folder_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="no features; make them with"):
        make_head(tmp_path, tmp_path / "head", head_recipe())


def test_a_folder_that_cannot_be_written_to_is_one_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="head: results cannot be written"):
        make_head(run / "features", tmp_path / "file" / "head", head_recipe())
