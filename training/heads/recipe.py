"""Recipes of heads: every choice of ``features``, ``head`` and ``sweep`` in one typed TOML file.

They stand beside the recipes of whole networks and carry ``kind = "head"``. An unknown key is refused with the nearest
known one.
"""

from __future__ import annotations

import tomllib
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from training.recipe import RECIPES_DIRECTORY, RecipeError, mistakes_in, read_recipe_file
from training.recipe_data import Data
from training.recipe_tables import BundleName, Loss, Table

_NOT_FOR_HEADS = ("labels", "fewest_cases", "no_finding", "sampling")


class FeatureChoices(Table):
    """The frozen network and how pictures reach it."""

    backbone: str = "resnet50"
    """A classification network of torchvision by name, or the folder of a model bundle (its DenseNet-121)."""
    init: Literal["imagenet", "random"] = "imagenet"
    """``imagenet``: ``--init FILE`` or torchvision's own weights; ``random``: untrained, for trials. A bundle brings
    its own weights."""
    size_px: int = Field(default=224, ge=32, le=1024)
    """Side of the network's input in px."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of the training pictures mirrored left to right, drawn once for each picture."""
    batch_size: int = Field(default=16, ge=1)
    """Pictures in one pass of the network."""
    shard_rows: int = Field(default=512, ge=1)
    """Pictures in one shard, the unit of work and of resuming."""


class HeadChoices(Table):
    """The head and how it is trained."""

    hidden: tuple[int, ...] = (128, 32)
    """Widths of the hidden layers, ReLU after each; none = logistic regression."""
    metadata: bool = True
    """Append age / 100 and sex (1 = M, 0 = F) to the features; rows without them are left out."""
    standardise: bool = False
    """Bring every column to mean 0 and deviation 1 of the training part first."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Adam's learning rate at the start."""
    weight_decay: float = Field(default=1e-5, ge=0)
    """Adam's L2 penalty (added to the gradient, as in ``torch.optim.Adam``)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay of the gradient's mean and of its square's."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam's term for stability."""
    plateau_patience: int = Field(default=1, ge=0)
    """Epochs without a lower validation loss before the learning rate falls."""
    plateau_factor: float = Field(default=0.2, gt=0, lt=1)
    """What the learning rate is multiplied with then."""
    batch_size: int = Field(default=10, ge=1)
    """Rows per step."""
    epochs: int = Field(default=50, ge=1)
    """Passes over the training part; the epoch with the lowest validation loss is kept."""
    bootstrap_samples: int = Field(default=1000, ge=100)
    """Patient resamples behind every 95 % interval."""
    loss: Loss = Loss(weighting="frequency")
    """As in the recipes of whole networks."""


class SweepChoices(Table):
    """The grid; every pair is trained once."""

    learning_rates: tuple[float, ...] = Field(default=(1e-4, 3e-4, 1e-3), min_length=1)
    """Instead of ``head.learning_rate``."""
    weight_decays: tuple[float, ...] = Field(default=(0.0, 1e-5, 1e-4), min_length=1)
    """Instead of ``head.weight_decay``."""
    epochs: int = Field(default=50, ge=1)
    """Instead of ``head.epochs``."""

    @model_validator(mode="after")
    def _fits_adam(self) -> SweepChoices:
        if min(self.learning_rates) <= 0 or min(self.weight_decays) < 0:
            raise ValueError("learning rates must be above 0 and weight decays not below it")
        for name, values in (("learning_rates", self.learning_rates), ("weight_decays", self.weight_decays)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} holds a value twice")
        return self


class HeadRecipe(Table):
    """One head from pictures to figures. Every field is a key of the TOML file."""

    kind: Literal["head"]
    """Tells these recipes from those of whole networks."""
    name: BundleName
    """Name of the recipe, as it stands in every output."""
    seed: int = Field(default=2017, ge=0)
    """Seed of the split, the flips, the head's first weights and the order of rows."""
    validation_share: float = Field(default=0.125, gt=0, lt=0.5)
    """Share of the patients of train_val kept for validation, for the official split."""
    data: Data = Data(split="image-random", oldest_years=123)
    """Which rows, cut into which parts. Heads learn all fourteen findings, so its keys of labels and drawing stay at
    their defaults."""
    features: FeatureChoices = FeatureChoices()
    head: HeadChoices = HeadChoices()
    sweep: SweepChoices = SweepChoices()

    @model_validator(mode="after")
    def _takes_all_findings(self) -> HeadRecipe:
        changed = [key for key in _NOT_FOR_HEADS if getattr(self.data, key) != getattr(Data(), key)]
        if changed:
            raise ValueError(f"data.{changed[0]} is for recipes of whole networks; a head learns all fourteen findings")
        return self


def load_head_recipe(name_or_path: str) -> HeadRecipe:
    """Read a head's recipe by name (``s2``) or by the path of a TOML file.

    Raises
    ------
    RecipeError
        There is no such recipe, it is of a whole network, a key is unknown or a value is out of range.
    """
    path, values = read_recipe_file(name_or_path, known_head_recipes)
    if values.get("kind") != "head":
        known = ", ".join(known_head_recipes())
        raise RecipeError(f'{path}: no recipe of a head (kind = "head" is missing); those that come along: {known}')
    return parse_head_recipe(values, str(path))


def known_head_recipes() -> tuple[str, ...]:
    """Return the names of the heads' recipes that come with the package."""
    paths = sorted(RECIPES_DIRECTORY.glob("*.toml"))
    return tuple(path.stem for path in paths if tomllib.loads(path.read_text(encoding="utf-8")).get("kind") == "head")


def parse_head_recipe(values: dict[str, Any], source: str) -> HeadRecipe:
    """Check the values of a recipe.

    Raises
    ------
    RecipeError
        As ``load_head_recipe``; all mistakes are listed at once.
    """
    try:
        return HeadRecipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{source}: {mistakes_in(error, HeadRecipe)}") from error
