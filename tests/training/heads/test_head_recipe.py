from __future__ import annotations

from pathlib import Path

import pytest

from training.heads.recipe import known_head_recipes, load_head_recipe, parse_head_recipe
from training.recipe import RecipeError, known_recipes, load_recipe


def test_s2_is_the_source_systems_checklist() -> None:
    """Every value stands in the checklist of the Georgia Tech system."""
    recipe = load_head_recipe("s2")
    assert (recipe.features.backbone, recipe.features.init, recipe.features.size_px) == ("resnet50", "imagenet", 224)
    assert recipe.data.oldest_years == 123
    assert (recipe.data.split, recipe.data.shares) == ("image-random", (0.7, 0.1, 0.2))
    head = recipe.head
    assert (head.hidden, head.metadata, head.standardise) == ((128, 32), True, False)
    assert (head.loss.kind, head.loss.weighting) == ("bce", "frequency")
    assert (head.learning_rate, head.weight_decay, head.betas, head.epsilon) == (3e-4, 1e-5, (0.9, 0.999), 1e-8)
    assert (head.plateau_patience, head.plateau_factor, head.batch_size, head.epochs) == (1, 0.2, 10, 50)
    assert head.learning_rate in recipe.sweep.learning_rates
    assert head.weight_decay in recipe.sweep.weight_decays


def test_recipes_of_heads_and_of_networks_are_kept_apart() -> None:
    assert "s2" in known_head_recipes()
    assert set(known_head_recipes()).isdisjoint(known_recipes())
    with pytest.raises(RecipeError, match=r"python -m training features --recipe s2.*python -m training head"):
        load_recipe("s2")
    with pytest.raises(RecipeError, match=r"no recipe of a head.*s2"):
        load_head_recipe("phantom")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sede": 1}, "sede: unknown key, did you mean 'seed'?"),
        ({"head": {"epoch": 2}}, "head.epoch: unknown key, did you mean 'epochs'?"),
        ({"head": {"loss": {"wieght": 1}}}, "head.loss.wieght: unknown key, did you mean 'weighting'?"),
        ({"features": {"backbon": "resnet18"}}, "features.backbon: unknown key, did you mean 'backbone'?"),
        ({"data": {"split": "random"}}, "data.split: must be 'official', 'community', 'patient-random' or"),
        ({"data": {"no_finding": True}}, "data.no_finding is for recipes of whole networks"),
        ({"sweep": {"learning_rates": [0.0]}}, "learning rates must be above 0"),
        ({"sweep": {"weight_decays": [1e-5, 1e-5]}}, "weight_decays holds a value twice"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(values: dict[str, object], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_head_recipe({"kind": "head", "name": "trial", **values}, "trial.toml")
    assert str(caught.value).startswith("trial.toml: ")
    assert expected in str(caught.value)


def test_an_unknown_recipe_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'trial'; known: .*s2"):
        load_head_recipe("trial")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(RecipeError, match="not TOML"):
        load_head_recipe(str(broken))
