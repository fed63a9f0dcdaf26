"""From drawn phantoms to a served bundle: the two commands, small, large enough to teach something, at full size."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from blank_figures import figures_left_blank
from layouts import write_layout
from pixel_baseline import TOY_LIMIT, baseline_auroc
from typer.testing import CliRunner

from model.bundle import load_bundle
from model.classifier import Classifier
from model.golden import verify_golden
from model.labels import LABELS
from training.cli import app, main
from training.data.chestxray14 import read_layout
from training.phantoms.dataset import write_phantom_dataset
from training.phantoms.statistics import DRAWN_FINDINGS

ROOT = Path(__file__).resolve().parents[2]
REDUCED_RECIPE = """
bundle_name = "reduced"
architecture = "densenet-tiny"
init = "random"
validation_share = 0.2
ema_decay = 0.95
box_weight = 0.3
bootstrap_samples = 200
suitability_steps = 4
[[stages]]
size_px = 128
epochs = 9
batch_size = 8
learning_rate = 5e-3
final_learning_rate = 1e-3
warmup_steps = 20
[[stages]]
size_px = 224
epochs = 3
batch_size = 8
learning_rate = 3e-3
final_learning_rate = 2e-4
"""


def _training(*arguments: str | Path, timeout_seconds: float = 1000) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *(str(argument) for argument in arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_seconds, env=environment, cwd=ROOT, check=False
    )


def _in_this_process(*words: object) -> None:
    """Run a command in this process, which has loaded already what it loads."""
    said = CliRunner().invoke(app, [str(word) for word in words])
    assert said.exit_code == 0, said.output


def _trained(folder: Path, recipe: str) -> Path:
    """Train on the folder's data; return the run's folder."""
    (folder / "reduced.toml").write_text(recipe)
    _in_this_process(
        "--data", folder / "data", "--out", folder / "run", "--recipe", folder / "reduced.toml", "--processes", 1
    )
    return folder / "run"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, forked_members: None) -> Path:
    """Train the tiny network on some phantoms for one epoch at each size: it learns nothing of use."""
    folder = tmp_path_factory.mktemp("small")
    # this seed puts at least five pictures of every finding into both halves, which the baseline asks for
    write_phantom_dataset(folder / "data", images=80, seed=1, workers=1, test_fraction=0.5)
    with figures_left_blank():
        return _trained(folder, REDUCED_RECIPE.replace("epochs = 9", "epochs = 1").replace("epochs = 3", "epochs = 1"))


@pytest.fixture(scope="module")
def reduced_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 160 phantoms and train the tiny network on them, by the two commands."""
    folder = tmp_path_factory.mktemp("reduced")
    _in_this_process("phantom", folder / "data", "--images", 160, "--seed", 7, "--workers", 1)
    return _trained(folder, REDUCED_RECIPE)


def test_the_other_command_draws_what_training_reads(tmp_path: Path) -> None:
    _in_this_process("phantom", tmp_path / "data", "--images", 3, "--seed", 7, "--workers", 1)
    layout = read_layout(tmp_path / "data")
    assert len(layout.entries) == 3
    assert {path.name for path in (tmp_path / "data" / "images").iterdir()} == set(layout.entries)


@pytest.mark.timeout(400)
def test_a_run_makes_a_bundle_of_the_findings_that_were_drawn(small_run: Path) -> None:
    bundle = load_bundle(small_run / "bundle" / "reduced")
    assert bundle.demonstration
    assert {label for label, trained in zip(LABELS, bundle.trained, strict=True) if trained} == set(DRAWN_FINDINGS)
    # no finding has 30 positives among so few pictures, so none ever flags
    assert (set(bundle.operating_points), set(bundle.reported_only)) == (set(), set(DRAWN_FINDINGS))
    value, low, high = bundle.metrics["mean_auroc"]
    assert 0 <= low <= value <= high <= 1
    assert 0 <= bundle.localisation["share_of_ceiling"] <= 1


def test_the_baseline_stays_below_the_toy_limit_on_a_small_phantom_set(small_run: Path) -> None:
    scores = baseline_auroc(small_run.parent / "data", DRAWN_FINDINGS)
    assert np.mean(list(scores.values())) < TOY_LIMIT, scores


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_reduced_run_makes_a_bundle_whose_maps_point_far_better_than_chance(reduced_run: Path) -> None:
    bundle = load_bundle(reduced_run / "bundle" / "reduced")
    assert set(bundle.operating_points) | set(bundle.reported_only) == set(DRAWN_FINDINGS)
    assert bundle.reported_only  # some findings have fewer than 30 positives among 128 pictures, so they never flag
    assert bundle.metrics["mean_auroc"][0] > 0.4
    # Measured with these seeds: maps 0.44 of the ceiling, where a random point reaches 0.07. The AUROC, 0.58, says
    # nothing yet: 103 pictures teach this small network where to look, not to tell; that needs the full size.
    assert bundle.localisation["share_of_ceiling"] > 0.25


@pytest.mark.timeout(400)
def test_the_bundle_says_what_it_is_and_proves_itself_when_served(small_run: Path) -> None:
    bundle = load_bundle(small_run / "bundle" / "reduced")
    card = bundle.card_path.read_text()
    assert "demonstration model" in card
    assert "NOT FOR DIAGNOSTIC USE" in card
    assert "Hernia" in card.split("never taught")[1]
    assert bundle.suitability is not None
    assert "drawn chests" in bundle.suitability.learned_from
    assert "## Input suitability" in card
    names = {path.stem for path, _ in bundle.golden}
    assert {"pneumothorax", "effusion", "normal_1"} <= names
    results = verify_golden(Classifier.load(bundle, "torch"))
    assert len(results) == len(bundle.golden)
    assert all(result.passed for result in results)
    report = (small_run / "report.html").read_text()
    # curves, reliability, cases, groups, findings by sex, age and view, and the course of training
    assert report.count("data:image/png;base64,") == 8
    assert (small_run / "predictions.csv").exists()
    assert "NOT FOR DIAGNOSTIC USE" in report


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_finished_command_run_again_concludes_from_the_same_weights(reduced_run: Path) -> None:
    folder = reduced_run / "bundle" / "reduced"
    before = (folder / "bundle.json").read_bytes()
    again = _training(
        "--data",
        reduced_run.parent / "data",
        "--out",
        reduced_run,
        "--recipe",
        reduced_run.parent / "reduced.toml",
        "--processes",
        "1",
    )
    assert again.returncode == 0, again.stderr
    assert "training is finished already" in again.stderr
    assert (folder / "bundle.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_terminated_run_leaves_a_checkpoint_and_the_same_command_continues(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=40, test_patients=8)
    recipe = tmp_path / "trial.toml"
    recipe.write_text(REDUCED_RECIPE.replace("epochs = 9", "epochs = 900"))
    arguments = ["--data", tmp_path / "data", "--out", tmp_path / "run", "--recipe", recipe, "--processes", "1"]
    command = [sys.executable, "-m", "training", *(str(argument) for argument in arguments)]
    checkpoint = tmp_path / "run" / "training" / "checkpoint.pt"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        deadline = time.monotonic() + 100
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command continues" in errors
    assert checkpoint.exists()


def test_drawing_and_preparing_pictures_loads_no_pytorch() -> None:
    """It takes seconds, and each of the processes that draw or prepare would load it anew."""
    script = "import sys, training.__main__, training.cli, training.phantoms.dataset, training.phantoms.gallery\n"
    script += "import training.commands.data\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ((), 2, "--data"),
        (("--data", "{folder}"), 1, "Data_Entry_2017"),
        (("--data", "{folder}", "--recipe", "resnet"), 1, "known: densenet121, densenet121-448"),
        (
            ("--data", "{folder}", "--recipe", "{folder}/[a]none.toml"),
            1,
            "[a]none.toml",
        ),  # what stands in brackets is no markup
        (("--data", "{folder}", "--init", "{folder}/none.pth"), 1, "none.pth: no such file"),  # before the data
    ],
)
def test_refusals_are_one_sentence_and_an_exit_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *(word.format(folder=tmp_path) for word in words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == status
    assert "".join(expected.split()) in "".join((said.out + said.err).split())  # a long path is broken anywhere
    assert "Traceback" not in said.err


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_two_commands_reproduce_the_metrics_of_the_bundle_in_the_repository(tmp_path: Path) -> None:
    """About forty minutes on two idle cores, and a few for drawing; other CPUs round differently, hence intervals."""
    assert _training("phantom", tmp_path / "data", timeout_seconds=3600).returncode == 0
    result = _training(
        "--data", tmp_path / "data", "--out", tmp_path / "run", "--processes", "2", timeout_seconds=3 * 3600
    )
    assert result.returncode == 0, result.stderr
    made = load_bundle(tmp_path / "run" / "bundle" / "phantom-densenet121")
    shipped = load_bundle(ROOT / "model" / "bundles" / "phantom-densenet121")
    for finding, figures in shipped.metrics["findings"].items():
        _, low, high = figures["auroc"]
        assert low <= made.metrics["findings"][finding]["auroc"][0] <= high, finding
        assert made.metrics["findings"][finding]["ece"] <= 0.03, finding
    _, low, high = shipped.metrics["mean_auroc"]
    assert low <= made.metrics["mean_auroc"][0] <= high
    assert made.metrics["mean_auroc"][0] >= 0.90
    assert made.localisation["share_of_ceiling"] >= 0.85
