"""Every recipe that comes with the package, for a few steps on pictures of noise."""

from __future__ import annotations

import json
import os
import signal
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blank_figures import blank_figures  # noqa: F401 (a fixture)
from file_limits import files_of_at_most
from layouts import write_layout
from safetensors.torch import load_file
from slow_cases import mostly_slow

from model.bundle import BundleError, load_bundle
from model.labels import LABELS
from training import source_plots
from training.conclusion import conclude
from training.evaluation.inference import outputs_of
from training.fitting.loop import Trainer
from training.material import DataChoices
from training.networks.build import build_network
from training.output import OutputError, only_run
from training.parallel import Team, TrainingInterruptedError
from training.pipeline import run_pipeline, train
from training.prepare import Prepared, prepare
from training.recipe import RECIPES_DIRECTORY, Recipe, known_recipes, parse_recipe

ALONE = Team(0, 1)
SHRUNK = {"s1-six": {"fewest_cases": 5, "subset": 30}, "s1-eight": {"subset": 30}}
"""What asks for more pictures than a test has."""
ASKED_FOR = ("Labels of the training part", "Where the evidence lies", "Test pictures, true and predicted")
"""Headings of the pictures that recipes may ask for."""


def _shrunk(name: str, size_px: int = 32, **choices: Any) -> Recipe:
    values = tomllib.loads((RECIPES_DIRECTORY / f"{name}.toml").read_text())
    small = {"size_px": size_px, "epochs": 1, "batch_size": 4, "steps_per_epoch": 2, "warmup_steps": 0}
    values["stages"] = [{**stage, **small} for stage in values["stages"]]
    values["data"] = values.get("data", {}) | SHRUNK.get(name, {})
    return parse_recipe({**values, "init": "random", "bootstrap_samples": 100, "suitability_steps": 0, **choices}, name)


def _prepared(folder: Path, recipe: Recipe, init_file: Path | None = None) -> Prepared:
    if not (folder / "data").exists():
        labels = "Pneumothorax|Effusion|Mass|Atelectasis"
        write_layout(folder / "data", patients=40, test_patients=8, size_px=48, labels=labels)
    choices = DataChoices(folder / "data", folder / "cache")
    return prepare(choices, folder / recipe.bundle_name, recipe, init_file, 1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small pictures are not worth a second thread, least of all beside other tests."""
    earlier = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(earlier)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder, so that the cache is built for few sizes only."""
    return tmp_path_factory.mktemp("recipes")


@pytest.mark.parametrize("name", mostly_slow(known_recipes(), "densenet121", "s1-six", "s4-mobilenet"))
def test_the_recipe_trains(name: str, folder: Path) -> None:
    recipe = _shrunk(name)
    trainer = Trainer(_prepared(folder, recipe).plan, ALONE)
    before = {key: tensor.clone() for key, tensor in trainer.learner.network.named_parameters()}
    assert trainer.run()
    assert trainer.learner.steps_done == 2 * len(recipe.stages)
    assert all(np.isfinite(epoch["training_loss"]) for epoch in trainer.history)
    moved = [key for key, tensor in trainer.learner.network.named_parameters() if not torch.equal(tensor, before[key])]
    assert len(moved) > 0.9 * len(before), sorted(set(before) - set(moved))
    assert trainer.best["weights"]


def _concluded(folder: Path, recipe: Recipe, init_file: Path | None = None) -> tuple[Prepared, Path]:
    """Train in this process, which spares the start of another, and conclude."""
    prepared = _prepared(folder, recipe, init_file)
    assert Trainer(prepared.plan, ALONE).run()
    return prepared, conclude(prepared, train(prepared), folder / recipe.bundle_name)


@pytest.mark.usefixtures("blank_figures")
def test_a_run_that_cannot_be_served_ends_with_weights_figures_and_a_report_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared, results = _concluded(folder, _shrunk("s4-cnn1"))
    assert not (folder / "s4-cnn1" / "bundle").exists()
    assert "ends with weights, not with a bundle: the architecture is cnn-1" in caplog.text
    facts = json.loads((results / "metrics.json").read_text())
    assert facts["labels"] == [*LABELS, "No Finding"]
    assert "LEAKY" not in facts["parts"]  # one picture for each patient: no patient can be in two parts
    assert 0 < facts["no_finding"]["positives"] < len(prepared.parts.test)
    seen = prepared.layout.targets(prepared.parts.training + prepared.parts.validation).sum(0)
    flagging = {label for label, positives in zip(LABELS, seen, strict=True) if positives >= 30}
    assert set(facts["operating_points"]) == flagging
    assert set(facts["metrics"]["findings"]) == set(LABELS)
    network = build_network(prepared.plan.recipe, prepared.plan.training.labels)
    network.load_state_dict(load_file(results / "weights.safetensors"))
    names = prepared.parts.validation
    told: list[int] = []
    again = outputs_of(network, prepared.cache, names, 32, told=told.append)
    assert told == [*range(32, len(names), 32), len(names)]
    best = torch.load(prepared.plan.checkpoint, weights_only=True)["best"]
    network.load_state_dict(best["weights"])
    assert np.array_equal(again.logits, outputs_of(network, prepared.cache, names, 32).logits)
    report = (folder / "s4-cnn1" / "report.html").read_text()
    assert "There is no bundle to serve" in report
    assert not prepared.plan.recipe.plots
    assert not any(heading in report for heading in ASKED_FOR)


@pytest.mark.usefixtures("blank_figures")
def test_results_that_find_no_room_are_told_in_a_sentence_and_the_same_command_concludes_anew(folder: Path) -> None:
    recipe = _shrunk("s4-cnn1")
    prepared, results = _concluded(folder, recipe)
    before = (results / "metrics.json").read_bytes()
    with (
        files_of_at_most(2000),
        pytest.raises(OutputError, match=r"s4-cnn1: results cannot be written .*same command again"),
    ):
        conclude(prepared, train(prepared), folder / recipe.bundle_name)
    assert (results / "metrics.json").read_bytes() == before
    assert not list((folder / recipe.bundle_name).rglob("*.partial"))
    assert conclude(prepared, train(prepared), folder / recipe.bundle_name) == results


def test_what_is_in_the_way_of_the_bundle_is_told_before_the_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _shrunk("densenet121", 224, architecture="densenet-tiny", bundle_name="in-the-way")
    own = folder / recipe.bundle_name / "bundle" / recipe.bundle_name / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    monkeypatch.setattr("training.pipeline.train", lambda prepared: pytest.fail("it has begun"))
    _prepared(folder, recipe)  # the cache
    with pytest.raises(BundleError, match="is not a model bundle"):
        run_pipeline(DataChoices(folder / "data", folder / "cache"), folder / recipe.bundle_name, recipe, None, 1)
    assert own.read_text() == "mine"


@pytest.fixture
def at_a_terminal() -> Iterator[None]:
    """What a shell starts in the background it lets ignore Ctrl-C; so it may be with the tests."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["prepare", "conclude"])
def test_a_run_is_interrupted_before_and_after_the_training_too(
    phase: str, number: signal.Signals, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    recipe = _shrunk("densenet121", 224, architecture="densenet-tiny", bundle_name="interrupted")
    monkeypatch.setattr("training.pipeline.train", lambda prepared: {})
    monkeypatch.setattr(f"training.pipeline.{phase}", interrupted)
    _prepared(folder, recipe)
    with pytest.raises(TrainingInterruptedError, match="the same command continues"):
        run_pipeline(DataChoices(folder / "data", folder / "cache"), folder / recipe.bundle_name, recipe, None, 1)


def test_a_second_run_in_a_folder_where_one_is_at_work_is_refused(folder: Path) -> None:
    recipe = _shrunk("s4-cnn1", bundle_name="twice")
    choices = DataChoices(_prepared(folder, recipe).layout.root, folder / "cache")
    with only_run(folder / "twice"), pytest.raises(OutputError, match="another training run is at work"):
        run_pipeline(choices, folder / "twice", recipe, None, 1)
    assert not (folder / "twice" / "training").exists()
    with only_run(folder / "twice"):  # the lock went with the block
        pass


def test_the_report_holds_the_pictures_that_the_recipe_asks_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_plots, "_HEATED", 1)  # each has sixteen maps, which take their time to draw
    _concluded(folder, _shrunk("s3", architecture="densenet-tiny", bundle_name="pictures"))
    report = (folder / "pictures" / "report.html").read_text()
    assert all(heading in report for heading in ASKED_FOR)


@pytest.mark.usefixtures("blank_figures")
def test_a_demonstration_of_real_pictures_is_marked_and_names_where_its_weights_came_from(folder: Path) -> None:
    values = {"architecture": "densenet-tiny", "test_time": "none", "augmentation": {}, "demonstration": True}
    recipe = _shrunk("densenet121", size_px=224, bundle_name="small", **values)
    _, first = _concluded(folder, recipe)
    bundle = load_bundle(first)
    assert bundle.demonstration
    card = bundle.card_path.read_text()
    assert "from random weights" in card
    assert "too few radiographs" in card
    assert "phantom" not in card.lower()
    _, second = _concluded(folder, recipe.model_copy(update={"bundle_name": "next"}), first)
    origin = f"from bundle small 1.0.0 (weights sha256 `{bundle.weights_sha256}`)"
    assert origin in load_bundle(second).card_path.read_text()


@pytest.mark.usefixtures("blank_figures")
def test_a_split_by_single_pictures_is_marked_leaky_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = write_layout(tmp_path / "data", patients=20, test_patients=5, size_px=48)
    table = tmp_path / "data" / "Data_Entry_2017.csv"
    lines = table.read_text().splitlines()
    one_patient = [line.replace(f",0,{row},", ",0,1,") for row, line in enumerate(lines)]
    table.write_text("\n".join(one_patient) + "\n")
    (tmp_path / "data" / "train_val_list.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "data" / "test_list.txt").write_text("")
    prepared, results = _concluded(tmp_path, _shrunk("s4-cnn2"))
    assert prepared.parts.leaked_share == 1
    assert "LEAKY" in caplog.text
    facts = json.loads((results / "metrics.json").read_text())
    assert "LEAKY" in facts["parts"]
    assert "LEAKY" in facts["metrics"]["part"]
    assert "LEAKY" in (tmp_path / "s4-cnn2" / "report.html").read_text()
