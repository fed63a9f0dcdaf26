"""What a model card says of how the weights were made is what the run did."""

from __future__ import annotations

import pytest
from model_factories import facts

from training.fitting.initial import Origin
from training.recipe import Recipe, load_recipe
from training.reporting.card import making_of

ORIGIN = Origin("random weights", None)


def _recipe(split: str) -> Recipe:
    recipe = load_recipe("phantom")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": split})})


def test_the_share_of_patients_kept_for_validation_is_said_where_it_was_what_cut_the_parts() -> None:
    assert "10% of the patients kept for validation" in making_of(facts(), _recipe("official"), 100, ORIGIN)


@pytest.mark.parametrize("split", ["patient-random", "image-random", "community"])
def test_other_cuts_are_described_by_themselves_alone(split: str) -> None:
    """They have shares of their own, of pictures where they are cut at random, or lists."""
    making = making_of(facts(), _recipe(split), 100, ORIGIN)
    assert "of the patients" not in making
    assert "(100 in all; list sha256" in making


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"epochs": 1}, "1 epoch at 224 px"),
        ({"epochs": 3}, "3 epochs at 224 px"),
        ({"epochs": 2, "steps_per_epoch": 40}, "2 epochs of at most 40 steps at 224 px"),
    ],
)
def test_epochs_that_were_no_whole_pass_are_not_told_as_such(stage: dict[str, int], words: str) -> None:
    recipe = load_recipe("phantom")
    last = recipe.stages[-1].model_copy(update=stage)
    making = making_of(facts(), recipe.model_copy(update={"stages": (last,)}), 100, ORIGIN)
    assert f"; {words}, batch" in making
    assert "may have ended" not in making


def test_a_run_that_may_end_early_says_so() -> None:
    recipe = load_recipe("phantom").model_copy(update={"early_stopping_patience": 4})
    assert "it may have ended after 4 epochs without a better score" in making_of(facts(), recipe, 100, ORIGIN)
