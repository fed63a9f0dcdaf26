"""Teaching the suitability check: alterations and decoys, and the command that puts a check into a bundle."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import model_factories
import numpy as np
import pytest
from layouts import write_layout
from PIL import Image
from typer.testing import CliRunner

from model.bundle import BundleError, load_bundle, read_weights
from model.labels import LABELS
from model.suitability import OUTPUTS, Verdict
from model.suitability_network import SIZE_PX
from training.cli import app
from training.data.radiographs import LayoutError
from training.phantoms.picture import draw_phantom
from training.reporting.suitability_section import HEADING, with_suitability
from training.suitability.decoys import _KINDS, draw_decoy
from training.suitability.examples import Material, altered, draw_example
from training.suitability.fit import fit_check
from training.suitability.outsiders import read_outsiders

CHEST = model_factories.picture(2, (96, 96))


def drawn_chests(count: int, first: int) -> np.ndarray:
    """Phantoms, uint8 [count, 224, 224]."""
    drawn = [draw_phantom((), False, np.random.default_rng([5, first + number])).pixels for number in range(count)]
    return np.stack([np.asarray(Image.fromarray(pixels).resize((224, 224))) for pixels in drawn])


@pytest.mark.parametrize("verdict", OUTPUTS)
def test_every_alteration_makes_another_picture_of_the_checks_size_each_time(verdict: Verdict) -> None:
    material = Material(CHEST[None], (255 - CHEST,))
    rng = np.random.default_rng(1)
    made = [altered(verdict, CHEST, material, rng) for _ in range(40)]
    assert {(picture.shape, picture.dtype) for picture in made} == {((SIZE_PX, SIZE_PX), np.dtype(np.uint8))}
    assert len({picture.tobytes() for picture in made}) > 20
    again = np.random.default_rng(1)
    assert made[0].tobytes() == altered(verdict, CHEST, material, again).tobytes()


def test_every_answer_is_drawn_and_frontal_the_most() -> None:
    rng = np.random.default_rng(3)
    answers = Counter(draw_example(Material(CHEST[None]), rng)[1] for _ in range(400))
    assert set(answers) == set(range(len(OUTPUTS)))
    assert answers.most_common(1)[0][0] == OUTPUTS.index(Verdict.FRONTAL)


@pytest.mark.parametrize("kind", sorted({kind.__name__ for kind in _KINDS}))
def test_every_kind_of_decoy_is_drawn_with_contrast(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tuple(draw for draw in _KINDS if draw.__name__ == kind)
    monkeypatch.setattr("training.suitability.decoys._KINDS", chosen)
    rng = np.random.default_rng(8)
    decoys = [draw_decoy(rng) for _ in range(6)]
    assert all(decoy.dtype == np.uint8 and decoy.shape == (128, 128) for decoy in decoys)
    assert np.median([decoy.std() for decoy in decoys]) > 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_check_taught_by_drawn_chests_tells_them_from_what_they_become() -> None:
    check = fit_check(Material(drawn_chests(60, 0)), drawn_chests(20, 100), "phantoms", None, lambda *_: None, steps=60)
    unseen = drawn_chests(20, 200)
    passed = [check.judge(chest).suitable for chest in unseen]
    inverted = [check.judge(np.asarray(255 - chest)).verdict for chest in unseen]
    lying = [check.judge(np.ascontiguousarray(np.rot90(chest))).suitable for chest in unseen]
    rng = np.random.default_rng(4)
    decoys = [check.judge(draw_decoy(rng)).suitable for _ in range(40)]
    assert sum(passed) >= 16
    assert inverted.count(Verdict.INVERTED) >= 16
    assert sum(lying) <= 4
    assert sum(decoys) <= 8
    assert check.judge(np.full((300, 200), 40, np.uint8)).verdict is Verdict.BLANK


def test_a_check_taught_next_to_nothing_is_made_and_says_that_it_is_worth_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    noise = np.stack([model_factories.picture(seed, (64, 64)) for seed in range(6)])
    check = fit_check(Material(noise[:4]), noise[4:], "noise", None, lambda *_: None, steps=1)
    assert check.facts.distance_limit > 0
    assert "of the frontal chests held back" in caplog.text


@pytest.mark.slow
def test_the_command_adds_a_check_and_leaves_all_else_as_it_was(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", patients=16, test_patients=4)
    (tmp_path / "others").mkdir()
    Image.fromarray(CHEST).save(tmp_path / "others" / "hand.png")
    (tmp_path / "others" / "notes.txt").write_text("none of these is a chest")
    before = model_factories.bundle(tmp_path / "bundle")
    command = ["suitability", str(before.folder), "--data", str(tmp_path / "data"), "--steps", "3", "--json"]
    command += ["--others", str(tmp_path / "others"), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    after = load_bundle(before.folder)
    assert told["model_version"] == after.model_version == f"{before.model_version}{after.model_version[-15:]}"
    assert after.suitability is not None
    assert "12 pictures of train_val" in after.suitability.learned_from
    assert "1 pictures of other things" in after.suitability.learned_from
    assert after.suitability.trial["rows"]["frontal chests as they are, passed"][1] == 4
    assert after.golden_images == before.golden_images
    assert after.calibration == before.calibration
    assert after.operating_points == before.operating_points
    assert all(np.array_equal(read_weights(after)[name], values) for name, values in read_weights(before).items())
    assert after.card_path.read_text().count(HEADING) == 1
    assert len(LABELS) == len(after.labels)


def test_a_place_where_no_bundle_can_be_put_is_refused_before_anything_is_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.checking.taught_check", lambda *_, **__: pytest.fail("the teaching has begun"))
    before = model_factories.bundle(tmp_path / "bundle")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    command = ["suitability", str(before.folder), "--data", str(tmp_path), "--to", str(tmp_path / "taken")]
    with pytest.raises(BundleError, match="is not a model bundle"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_new_section_takes_the_place_of_the_old_one() -> None:
    card = "# A model\n\n## Findings it was never taught\n\nHernia.\n\n## Limits\n\nMany.\n"
    once = with_suitability(card, None)
    assert once.index(HEADING) < once.index("## Limits")
    assert with_suitability(once, None) == once
    assert "Many." in once
    assert "Hernia." in once


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="is not a folder"):
        read_outsiders(tmp_path / "absent")
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(LayoutError, match="none of its 1 files"):
        read_outsiders(tmp_path)
