"""Recipes: every choice of a training run in one typed TOML file; an unknown key is refused with the nearest known."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from model.plain_words import causes, in_plain_words
from model.text_forms import of_form
from training.recipe_data import Data
from training.recipe_network import Architecture, Network
from training.recipe_tables import Augmentation, BundleName, Loss, Optimiser, Schedule, Stage, Table

__all__ = [
    "Augmentation",
    "Data",
    "Loss",
    "Network",
    "Optimiser",
    "Recipe",
    "RecipeError",
    "Schedule",
    "Stage",
    "known_recipes",
    "load_recipe",
    "mistakes_in",
    "parse_recipe",
    "read_recipe_file",
]

RECIPES_DIRECTORY = Path(__file__).resolve().parent / "recipes"

_AFTER_TRAINING = (
    "bundle_name",
    "version",
    "demonstration",
    "calibration",
    "operating_point",
    "operating_target",
    "bootstrap_samples",
    "plots",
    "remark",
    "suitability_steps",
    "test_time",
)


class RecipeError(Exception):
    """A recipe cannot be used; the message names the file, the key and what would be right."""


class Recipe(Table):
    """One training run. Every field is a key of the TOML file."""

    bundle_name: BundleName
    """Name of the bundle this recipe makes, and of its folder."""
    version: Annotated[str, of_form(r"\d+\.\d+\.\d+", "three numbers such as 1.0.0")] = "1.0.0"
    """Version of the bundle."""
    architecture: Architecture = "densenet121"
    """The backbone. Only ``densenet121`` can be served (``densenet-tiny`` too, but it is for trials); a run of another
    ends with weights, figures and a report instead of a bundle."""
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
    """Run in order; the best validated epoch of the last stage is kept."""
    selection: Literal["auroc", "average-precision", "loss"] = "auroc"
    """Validation score (mean over the findings) that picks the epoch and that plateau and early stopping watch."""
    early_stopping_patience: int = Field(default=0, ge=0)
    """Epochs of the last stage without a better score after which training ends; 0 = never."""
    optimiser: Optimiser = Optimiser()
    """How a gradient becomes a step."""
    schedule: Schedule = Schedule()
    """How the learning rate moves."""
    accumulation_steps: int = Field(default=1, ge=1)
    """Pieces that a process's share of a batch is computed in, to save memory; batch statistics are each piece's."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay, on convolution and linear weights only."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay per step of the averaged weights that are evaluated and exported; 0 = no averaging."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the training steps: ``bf16`` is autocast to bfloat16; ``auto`` is bf16 on a GPU and on a CPU that
    has it (AVX512-BF16, AMX), else fp32. Validation, test and the exported figures are always fp32."""
    box_weight: float = Field(default=0.0, ge=0)
    """Weight of the localisation loss for training pictures with boxes; 0 = labels only (the official data set has
    boxes in its test part only)."""
    box_sharpness: float = Field(default=4.0, gt=0)
    """Factor on a cell's contribution to the logit before the softmax of the localisation loss."""
    augmentation: Augmentation = Augmentation()
    """Random changes of training pictures."""
    loss: Loss = Loss()
    """What the findings' part of the loss is."""
    data: Data = Data()
    """Which rows and labels, cut into which parts."""
    network: Network = Network()
    """Input, head and what is held still."""
    deterministic: bool = False
    """Use only algorithms that give the same bits every time, also on a GPU (slower there; a CPU's always do)."""
    test_time: Literal["none", "flip", "ten-crop"] = "none"
    """Views whose probabilities are averaged when validation and test are read: the picture and its mirror image, or
    four corners and the centre at 7/8 of the side, and theirs (arnoweng's protocol)."""
    plots: tuple[Literal["classes", "grad-cam", "samples"], ...] = ()
    """Pictures the report shows beside the usual ones. ``classes``: how often each label is, and what its positives and
    negatives weigh in the loss; ``grad-cam``: where the evidence lies, for the top class and for all; ``samples``: test
    pictures with true and predicted labels."""
    calibration: Literal["platt", "temperature", "isotonic"] = "platt"
    """How probabilities are put right on validation: slope and offset, a slope alone, or any rising curve for findings
    with at least 1,000 positives there (``platt`` for the others)."""
    operating_point: Literal["youden", "f1", "sensitivity", "specificity", "ppv"] = "youden"
    """How thresholds are chosen on validation: the largest sensitivity + specificity, the largest F1, or reaching
    ``operating_target``. A finding with fewer than 30 positives in training and validation together gets none: it is
    reported and never flags."""
    operating_target: float = Field(default=0.9, gt=0, lt=1)
    """The sensitivity, specificity or positive predictive value (``ppv``) aimed at."""
    bootstrap_samples: int = Field(default=1000, ge=100)
    """Patient resamples behind every 95 % interval."""
    suitability_steps: int = Field(default=900, ge=0)
    """Steps of 128 pictures that teach the bundle's suitability check, which says whether a picture is a frontal chest
    radiograph at all; 0 = no check, every picture is analysed (``python -m training suitability`` adds one later)."""
    remark: str = ""
    """A sentence for the model card: what a reader of its figures must know of how this recipe came about."""

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.box_weight > 0 and not self.network.has_maps:
            raise ValueError("box_weight needs class maps: network.pooling other than flatten, network.hidden empty")
        if self.network.pooling == "flatten" and len({stage.size_px for stage in self.stages}) > 1:
            raise ValueError("network.pooling = 'flatten' fits one picture size only; give all stages the same size_px")
        if self.network.map_stride_px != 32 and self.architecture != "resnet50":
            raise ValueError("network.map_stride_px below 32 is for resnet50 only")
        return self

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
    paths = sorted(RECIPES_DIRECTORY.glob("*.toml"), key=lambda path: path.stem)
    return tuple(path.stem for path in paths if tomllib.loads(path.read_text(encoding="utf-8")).get("kind") != "head")


def chosen_recipe(data: Path, name_or_path: str | None, init: str | None) -> Recipe:
    """Return the recipe that a command names, or the one that fits the data: phantoms have their own.

    Parameters
    ----------
    init
        ``random`` overrides what the recipe starts from.

    Raises
    ------
    RecipeError
        As ``load_recipe``.
    """
    fitting = "phantom" if (data / "PHANTOM.json").exists() else "densenet121"
    recipe = load_recipe(fitting if name_or_path is None else name_or_path)
    return recipe.model_copy(update={"init": "random"}) if init == "random" else recipe


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by name (``phantom``) or by the path of a TOML file.

    Raises
    ------
    RecipeError
        There is no such recipe, the file is not TOML, a key is unknown or a value is out of range, or it is the recipe
        of a head (``training.heads``).
    """
    path, values = read_recipe_file(name_or_path, known_recipes)
    if values.get("kind") == "head":
        raise RecipeError(
            f"{path} is the recipe of a head on frozen features: "
            f"run `python -m training features --recipe {path.stem}`, then `python -m training head`"
        )
    return parse_recipe(values, str(path))


def read_recipe_file(name_or_path: str, known_names: Callable[[], tuple[str, ...]]) -> tuple[Path, dict[str, Any]]:
    """Return where a recipe stands and what stands in it, not checked yet.

    Parameters
    ----------
    known_names
        Gives the names to choose from, for whoever gave another.

    Raises
    ------
    RecipeError
        There is no such recipe, or the file cannot be read as TOML.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES_DIRECTORY / f"{name_or_path}.toml"
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(known_names())
        raise RecipeError(f"no recipe {name_or_path!r}; known: {known}, or give the path of a .toml file") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, or of the letters
        raise RecipeError(f"{path}: not TOML: {error}") from error


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
        raise RecipeError(f"{source}: {mistakes_in(error, Recipe)}") from error


def mistakes_in(error: ValidationError, recipe: type[BaseModel]) -> str:
    """Return all mistakes in the values of a recipe as one line; an unknown key stands with the nearest known one."""
    return "; ".join(_sentence(found["loc"], found["type"], found["msg"], recipe) for found in causes(error))


def _sentence(location: tuple[int | str, ...], kind: str, message: str, recipe: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        said = in_plain_words(message)
        return f"{where}: {said}" if where else said
    key, known = str(location[-1]), sorted(_fields_at(location, recipe))
    if not difflib.get_close_matches(key, known, n=1) and (table := _table_with(key, recipe)):
        return f"{where}: unknown key here; it belongs in {table!r}"
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f"{where}: unknown key, did you mean {nearest[0]!r}?"


def _table_with(key: str, recipe: type[BaseModel]) -> str | None:
    """Return the name of a table of the recipe that has this key."""
    tables = {name: kind for name, field in recipe.model_fields.items() for kind in _kinds_in(field.annotation)}
    return next((name for name, kind in tables.items() if key in getattr(kind, "model_fields", {})), None)


def _fields_at(location: tuple[int | str, ...], recipe: type[BaseModel]) -> set[str]:
    """Return the keys known where an unknown one stands; a table, or an array of tables, is entered by its name."""
    owner = recipe
    for part in location[:-1]:
        if isinstance(part, str):
            owner = next(kind for kind in _kinds_in(owner.model_fields[part].annotation) if issubclass(kind, BaseModel))
    return set(owner.model_fields)


def _kinds_in(annotation: Any) -> list[type]:
    """Return the classes an annotation is made of: ``tuple[Stage, ...]`` holds ``Stage``."""
    inner = [kind for argument in get_args(annotation) for kind in _kinds_in(argument)]
    return inner or ([annotation] if isinstance(annotation, type) else [])
