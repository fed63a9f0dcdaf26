from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import model_factories
import pytest
import torch
from typer.testing import CliRunner

from model.bundle import Bundle, load_bundle, read_weights
from model.checkpoint import CheckpointError, canonical_name, read_checkpoint
from model.cli import app
from model.densenet import weights_of

Tensors = dict[str, torch.Tensor]
runner = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("cli") / "bundle")


@pytest.fixture(scope="module")
def state() -> Tensors:
    """A full DenseNet-121's state dict with torchvision's names."""
    return model_factories.network("densenet121").state_dict()


def of_2017(state: Tensors) -> Tensors:
    """Name tensors as arnoweng's and zoogzog's files do: DataParallel, old layers, Sequential head, no counters."""
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    return {
        f"module.densenet121.{name.replace('classifier.', 'classifier.0.')}": tensor for name, tensor in old.items()
    }


CONTAINERS: dict[str, Callable[[Tensors], object]] = {
    "arnoweng": lambda state: {"epoch": 3, "state_dict": of_2017(state), "best_mean": 0.84},
    "zoogzog": lambda state: {
        "state_dict": of_2017(state),
        "best_loss": 0.1,
        "optimizer": {"param_groups": [{"lr": 1e-4}]},
    },
    "torchvision": lambda state: state,
    "compiled": lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}},
}


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_every_public_layout_gives_the_networks_own_tensors(tmp_path: Path, state: Tensors, kind: str) -> None:
    torch.save(CONTAINERS[kind](state), tmp_path / "m.pth.tar", _use_new_zipfile_serialization=kind == "torchvision")
    expected = weights_of(model_factories.network("densenet121"))
    found = read_checkpoint(tmp_path / "m.pth.tar")
    assert set(found) == set(expected)
    assert all((found[name] == expected[name]).all() for name in expected)


def test_wrappers_are_stripped_however_often_they_are_nested() -> None:
    name = "module.model._orig_mod.densenet121.features.denseblock1.denselayer2.norm.1.weight"
    assert canonical_name(name) == "features.denseblock1.denselayer2.norm1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"classifier.weight": torch.zeros(8, 1024)}, "has 8 outputs, not the 14"),
        (lambda state: {n: t for n, t in state.items() if n != "features.norm5.bias"}, r"first features\.norm5\.bias"),
        (lambda state: state | {"extra.weight": torch.zeros(1)}, r"first extra\.weight"),
        (lambda state: state | {"module.classifier.bias": torch.zeros(14)}, "names the same tensor twice"),
        (lambda state: state | {"classifier.bias": torch.full((14,), 1e6)}, "holds values that float16 cannot"),
        (lambda state: {"epoch": 1, "lr": 0.1}, "epoch is not a tensor"),
        (lambda state: [1, 2], "holds no state dict"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, state: Tensors, change: Callable[[Tensors], object], message: str
) -> None:
    torch.save(change(dict(state)), tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "m.pth")


class Harmful:
    """An object whose unpickling would run a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": Harmful(tmp_path / "mark")}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read_checkpoint(tmp_path / "m.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", [b"hello, no network", b"", b"PK\x03\x04 cut", b"\x80\x02}q\x00", b"\x80\x02K"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.pth"):
        read_checkpoint(tmp_path / "m.pth")


def test_import_makes_a_bundle_that_verifies_and_says_what_is_unknown(tmp_path: Path, state: Tensors) -> None:
    torch.save(CONTAINERS["arnoweng"](state), tmp_path / "m.pth.tar")
    arguments = ["import", str(tmp_path / "m.pth.tar"), str(tmp_path / "made"), "--name", "arnoweng", "--source", "NIH"]
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    made = load_bundle(Path(json.loads(done.stdout)["folder"]))
    assert (made.input_channels, made.demonstration, all(made.trained)) == ("imagenet-rgb", False, True)
    assert made.metrics == {"selection": "unknown"} and made.trained_on.list_sha256 is None
    assert "NOT FOR DIAGNOSTIC USE" in made.card_path.read_text()
    assert set(read_weights(made)) == set(weights_of(model_factories.network("densenet121")))
    assert runner.invoke(app, ["verify", str(made.folder)]).exit_code == 0


def test_show_names_the_demonstration_the_thresholds_and_the_untrained(bundle: Bundle) -> None:
    shown = runner.invoke(app, ["show", str(bundle.folder)], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for text in ("DEMONSTRATION MODEL", "NOT FOR DIAGNOSTIC USE", bundle.model_version, "Pneumothorax", "not trained"):
        assert text in shown.output


def test_show_as_json_is_the_description_with_the_model_version(bundle: Bundle) -> None:
    content = json.loads(runner.invoke(app, ["show", str(bundle.folder), "--json"]).stdout)
    assert content["model_version"] == bundle.model_version
    assert content["operating_points"]["Effusion"]["threshold"] == 0.5


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_verify_states_its_tolerance_and_passes_a_good_bundle(bundle: Bundle, runtime: str) -> None:
    done = runner.invoke(app, ["verify", str(bundle.folder), "--runtime", runtime, "--json"])
    content = json.loads(done.stdout)
    assert (done.exit_code, content["passed"], content["tolerance"]) == (0, True, 0.001)
    assert [image["file"] for image in content["golden_images"]] == ["noise.png"]


def test_a_damaged_bundle_ends_with_status_one_and_a_sentence(bundle: Bundle, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle.folder, tmp_path / "damaged"))
    (damaged / "MODEL_CARD.md").write_text("another card")
    done = runner.invoke(app, ["verify", str(damaged)])
    assert done.exit_code == 1
    assert "MODEL_CARD.md is altered or damaged" in done.stderr


def test_wrong_arguments_end_with_status_two() -> None:
    assert runner.invoke(app, ["import", "nowhere.pth", "made", "--name", "x", "--source", "y"]).exit_code == 2
