from __future__ import annotations

import json
import shutil
from pathlib import Path

import model_factories
import pytest
from typer.testing import CliRunner

from model.bundle import Bundle
from model.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return model_factories.bundle(tmp_path_factory.mktemp("cli") / "bundle")


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
