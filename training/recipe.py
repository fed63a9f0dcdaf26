"""Recipes: every choice of a training run in one typed TOML file; an unknown key is refused with the nearest known."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from training.recipe_tables import Augmentation, Loss, Stage, Table

__all__ = ["Augmentation", "Loss", "Recipe", "RecipeError", "Stage", "known_recipes", "load_recipe", "parse_recipe"]

RECIPES_DIRECTORY = Path(__file__).resolve().parent / "recipes"

_AFTER_TRAINING = (
    "bundle_name",
    "version",
    "demonstration",
    "operating_point",
    "operating_target",
    "bootstrap_samples",
    "remark",
)


class RecipeError(Exception):
    """A recipe cannot be used; the message names the file, the key and what would be right."""


class Recipe(Table):
    """One training run. Every field is a key of the TOML file."""

    bundle_name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the bundle this recipe makes, and of its folder."""
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    """Version of the bundle."""
    architecture: Literal["densenet121", "densenet-tiny"] = "densenet121"
    """Key of ``model.architecture.ARCHITECTURES``; the tiny one is for trials."""
    init: Literal["imagenet", "random"]
    """``imagenet``: weights from ``--init FILE`` or torchvision; ``random``: from scratch."""
    init_head: Literal["prevalence", "weights"] = "prevalence"
    """``prevalence``: the classifier starts anew, at the findings' prevalence; ``weights``: it is taken from the file
    or bundle of ``--init`` with the rest, to go on with the same findings."""
    demonstration: bool = False
    """Mark the bundle as one that may say nothing about a patient; bundles trained on phantoms are marked anyway."""
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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the training steps: ``bf16`` is autocast to bfloat16 on GPU and CPU; ``auto`` is bf16 on a GPU and
    fp32 on a CPU. Validation, test and the exported figures are always fp32."""
    box_weight: float = Field(default=0.0, ge=0)
    """Weight of the localisation loss for training pictures with boxes; 0 = labels only (the official data set has
    boxes in its test part only)."""
    box_sharpness: float = Field(default=4.0, gt=0)
    """Factor on a cell's contribution to the logit before the softmax of the localisation loss."""
    augmentation: Augmentation = Augmentation()
    """Random changes of training pictures."""
    loss: Loss = Loss()
    """What the findings' part of the loss is."""
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
        changed and concluded anew from the same weights. So is every key at its default: a key that a later release
        adds, and that changes nothing unless set, leaves the runs of this one to be continued.
        """
        values = self.model_dump_json(exclude=set(_AFTER_TRAINING), exclude_defaults=True)
        return hashlib.sha256(values.encode()).hexdigest()


def known_recipes() -> tuple[str, ...]:
    """Return the names of the recipes of whole networks that come with the package."""
    paths = sorted(RECIPES_DIRECTORY.glob("*.toml"))
    return tuple(path.stem for path in paths if tomllib.loads(path.read_text(encoding="utf-8")).get("kind") != "head")


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by name (``phantom``) or by the path of a TOML file.

    Raises
    ------
    RecipeError
        There is no such recipe, the file is not TOML, a key is unknown or a value is out of range, or it is the recipe
        of a head (``training.heads``).
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
    if values.get("kind") == "head":
        raise RecipeError(
            f"{path} is the recipe of a head on frozen features: "
            f"run `python -m training features --recipe {path.stem}`, then `python -m training head`"
        )
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
    """Return the keys known where an unknown one stands; a table, or an array of tables, is entered by its name."""
    owner: type[BaseModel] = Recipe
    for part in location[:-1]:
        if isinstance(part, str):
            owner = next(kind for kind in _kinds_in(owner.model_fields[part].annotation) if issubclass(kind, BaseModel))
    return set(owner.model_fields)


def _kinds_in(annotation: Any) -> list[type]:
    """Return the classes an annotation is made of: ``tuple[Stage, ...]`` holds ``Stage``."""
    inner = [kind for argument in get_args(annotation) for kind in _kinds_in(argument)]
    return inner or ([annotation] if isinstance(annotation, type) else [])
