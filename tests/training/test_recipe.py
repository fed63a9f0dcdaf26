from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from training.recipe import Loss, Recipe, RecipeError, known_recipes, load_recipe, parse_recipe

STAGE = {"size_px": 64, "epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "final_learning_rate": 1e-4}


def test_every_recipe_that_comes_with_the_package_is_valid() -> None:
    sources = ("s0-fourteen", "s0-pneumothorax", "s1-eight", "s1-six", "s3", "s4-cnn1", "s4-cnn2", "s4-mobilenet")
    assert set(known_recipes()) == {"densenet121", "densenet121-448", "nih-starter", "phantom", *sources}
    for name in known_recipes():
        assert isinstance(load_recipe(name), Recipe)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"box_wieght": 1}, "box_wieght: unknown key, did you mean 'box_weight'?"),
        ({"stages": [{**STAGE, "epoch": 2}]}, "stages.0.epoch: unknown key, did you mean 'epochs'?"),
        ({"augmentation": {"rotation": 2}}, "augmentation.rotation: unknown key, did you mean 'rotation_degrees'?"),
        ({"stages": [{**STAGE, "size_px": 100}]}, "stages.0.size_px: must be a multiple of 32"),
        ({"epochs": 3}, "epochs: unknown key here; it belongs in 'stages'"),
        ({"bundle_name": "My Bundle"}, "bundle_name: must be small letters, digits and hyphens"),
        ({"data": {"shares": [float("nan"), 0.1, 0.2]}}, "data.shares.0: must be a finite number"),
        ({"stages": [{**STAGE, "learning_rate": float("inf")}]}, "stages.0.learning_rate: must be a finite number"),
        ({"init": "zeros"}, "init: must be 'imagenet' or 'random'"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(values: dict[str, object], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"bundle_name": "trial", "init": "random", "stages": [STAGE], **values}, "trial.toml")
    assert expected in str(caught.value)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"bundle_name": "Trial", "init": "random", "stages": [], "sed": 1}, "trial.toml")
    assert all(part in str(caught.value) for part in ("bundle_name", "stages", "did you mean 'seed'?"))


def test_an_unknown_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="known: densenet121, densenet121-448, nih-starter, phantom, s0-fourteen"):
        load_recipe("resnet")
    broken = tmp_path / "broken.toml"
    for content in (b"seed = = 1", b"bundle_name = 'caf\xe9'"):
        broken.write_bytes(content)
        with pytest.raises(RecipeError, match="not TOML"):
            load_recipe(str(broken))
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(folder))


def test_any_changed_choice_changes_the_fingerprint() -> None:
    recipe = parse_recipe({"bundle_name": "trial", "init": "random", "stages": [STAGE]}, "trial.toml")
    assert recipe.fingerprint() != recipe.model_copy(update={"seed": 1}).fingerprint()
    assert recipe.fingerprint() != recipe.model_copy(update={"loss": Loss(kind="focal")}).fingerprint()


def test_a_key_written_down_at_its_default_is_the_same_run() -> None:
    values = {"bundle_name": "trial", "init": "random", "stages": [STAGE]}
    spelt_out = {**values, "precision": "auto", "loss": {"kind": "bce"}, "augmentation": {"crop_smallest_area": 1.0}}
    assert parse_recipe(values, "a").fingerprint() == parse_recipe(spelt_out, "b").fingerprint()


def test_only_keys_that_differ_from_their_default_make_the_fingerprint() -> None:
    """So a key that a later release adds, at a default that changes nothing, leaves every run to be continued."""
    values = {"bundle_name": "trial", "init": "random", "stages": [STAGE], "seed": 3, "version": "2.0.0"}
    text = json.dumps({"init": "random", "seed": 3, "stages": [STAGE]}, separators=(",", ":"))
    assert parse_recipe(values, "a").fingerprint() == hashlib.sha256(text.encode()).hexdigest()
