"""Recipes: every choice of a training run in one typed TOML file; an unknown key is refused with the nearest known."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RECIPES_DIRECTORY = Path(__file__).resolve().parent / "recipes"

_AFTER_TRAINING = ("bundle_name", "version", "operating_point", "operating_target", "bootstrap_samples", "remark")


class RecipeError(Exception):
    """A recipe cannot be used; the message names the file, the key and what would be right."""


class Stage(BaseModel):
    """A run of epochs at one picture size; later stages see larger pictures (progressive resizing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(ge=32, le=448, multiple_of=32)
    """Side of the network's input in px; a multiple of 32, so that map cells tile the picture exactly."""
    epochs: int = Field(ge=1)
    """Passes over the training part."""
    batch_size: int = Field(ge=2)
    """Images per optimiser step, all processes together."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate of AdamW, reached after the warm-up."""
    final_learning_rate: float = Field(gt=0)
    """Learning rate at the stage's end; the way down is a cosine."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps of linear rise to ``learning_rate``."""


class Augmentation(BaseModel):
    """Random changes of a training picture; boxes follow the geometric ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_probability: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures mirrored left to right (destroys laterality)."""
    rotation_degrees: float = Field(default=0.0, ge=0, le=45)
    """Largest rotation either way, in degrees."""
    translate_share: float = Field(default=0.0, ge=0, le=0.5)
    """Largest shift along each axis, as a share of the side."""
    scale_share: float = Field(default=0.0, ge=0, le=0.5)
    """Largest change of size either way; 0.1 = 0.9 to 1.1."""
    brightness: float = Field(default=0.0, ge=0, le=0.5)
    """Largest shift of the grey level, as a share of the full range."""
    contrast: float = Field(default=0.0, ge=0, le=0.5)
    """Largest change of contrast either way; 0.1 = 0.9 to 1.1."""


class Recipe(BaseModel):
    """One training run. Every field is a key of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle_name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the bundle this recipe makes, and of its folder."""
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    """Version of the bundle."""
    architecture: Literal["densenet121", "densenet-tiny"] = "densenet121"
    """Key of ``model.architecture.ARCHITECTURES``; the tiny one is for trials."""
    init: Literal["imagenet", "random"]
    """``imagenet``: weights from ``--init FILE`` or torchvision; ``random``: from scratch."""
    seed: int = Field(default=2017, ge=0)
    """Seed of the initial weights, the validation cut, the order of pictures and the augmentation."""
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the patients of train_val kept for selection, calibration and operating points."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """Run in order; the epoch with the best validation AUROC of the last stage is kept."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay, on convolution and linear weights only."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay per step of the averaged weights that are evaluated and exported; 0 = no averaging."""
    box_weight: float = Field(default=0.0, ge=0)
    """Weight of the localisation loss for training pictures with boxes; 0 = labels only (the official data set has
    boxes in its test part only)."""
    box_sharpness: float = Field(default=4.0, gt=0)
    """Factor on a cell's contribution to the logit before the softmax of the localisation loss."""
    augmentation: Augmentation = Augmentation()
    """Random changes of training pictures."""
    operating_point: Literal["youden", "sensitivity", "specificity"] = "youden"
    """How thresholds are chosen on validation."""
    operating_target: float = Field(default=0.9, gt=0, lt=1)
    """The sensitivity or specificity aimed at; not used by ``youden``."""
    bootstrap_samples: int = Field(default=1000, ge=100)
    """Patient resamples behind every 95 % interval."""
    remark: str = ""
    """A sentence for the model card: what a reader of its figures must know of how this recipe came about."""

    def fingerprint(self) -> str:
        """Return the sha256 of every choice that training depends on, so that no other run's checkpoint is continued.

        What is decided after training (thresholds, intervals, the bundle's name and version) is left out: it may be
        changed and concluded anew from the same weights.
        """
        values = self.model_dump_json(exclude=set(_AFTER_TRAINING))
        return hashlib.sha256(values.encode()).hexdigest()


def known_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in RECIPES_DIRECTORY.glob("*.toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by name (``phantom``) or by the path of a TOML file.

    Raises
    ------
    RecipeError
        There is no such recipe, the file is not TOML, a key is unknown or a value is out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES_DIRECTORY / f"{name_or_path}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(known_recipes())
        raise RecipeError(f"no recipe {name_or_path!r}; known: {known}, or give the path of a .toml file") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    return parse_recipe(values, str(path))


def parse_recipe(values: dict[str, Any], source: str) -> Recipe:
    """Check the values of a recipe.

    Raises
    ------
    RecipeError
        As ``load_recipe``; all mistakes are listed at once.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_sentence(mistake["loc"], mistake["type"], mistake["msg"]) for mistake in error.errors()]
        raise RecipeError(f"{source}: " + "; ".join(lines)) from error


def _sentence(location: tuple[int | str, ...], kind: str, message: str) -> str:
    where = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        return f"{where}: {message}"
    known = sorted(_fields_at(location))
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
    return f"{where}: unknown key, did you mean {nearest[0]!r}?"


def _fields_at(location: tuple[int | str, ...]) -> set[str]:
    models: dict[int | str, type[BaseModel]] = {"stages": Stage, "augmentation": Augmentation}
    owner = models.get(location[0], Recipe) if len(location) > 1 else Recipe
    return set(owner.model_fields)
