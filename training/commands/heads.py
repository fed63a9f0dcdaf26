"""``features``, ``head`` and ``sweep``: a small network on the features of a frozen one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from model.labels import LABELS
from training.commands.options import named
from training.data.reading_pool import cores
from training.heads.errors import HeadError

if TYPE_CHECKING:
    from training.heads.recipe import HeadRecipe

CORES = cores()

_console = Console()

RecipeOption = Annotated[str, typer.Option(help="Recipe of a head: its name, or a TOML file.")]
FeaturesArgument = Annotated[Path, typer.Argument(help="Folder made by `python -m training features`.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="Processes side by side.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def features(
    data: Annotated[
        Path, typer.Option(help="The NIH download or a part of it, phantoms, or what `python -m worker export` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the shards.")] = Path("training-run/features"),
    recipe: RecipeOption = "s2",
    backbone: Annotated[
        str | None,
        typer.Option(
            callback=named,
            help="The frozen network: one of torchvision by name, or a bundle's folder; default: the recipe's.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            callback=named,
            help="Weights of a torchvision backbone: 'imagenet' (torchvision's own), a file (.pth, .safetensors), or "
            "'random' for a trial; default: the recipe's.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="How rows are cut: image-random (as the source; LEAKY), patient-random, community or official; "
            "default: the recipe's."
        ),
    ] = None,
    workers: WorkersOption = CORES,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the picture cache; default: 'cache' beside --out."),
    ] = None,
    rebuild_cache: Annotated[
        bool, typer.Option("--rebuild-cache", help="Replace a cache that was made with other settings.")
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Go on without listed pictures that have no file or cannot be read."),
    ] = False,
) -> None:
    """Compute the features of every picture once, into Parquet shards. Run it again to continue after an interruption.

    The split is cut here, since training pictures may be mirrored. Then train on them with `head` or `sweep`.
    """
    from training.heads.features import make_features  # each command loads only what it needs, its help nothing
    from training.material import DataChoices

    chosen = _chosen(recipe, backbone, init, split)
    choices = DataChoices(data, cache or out.parent / "cache", allow_missing, rebuild_cache)
    init_file = Path(init) if init not in (None, "random", "imagenet") else None
    manifest = make_features(choices, out, chosen, init_file, workers)
    rows = ", ".join(f"{count} {part}" for part, count in manifest["rows"].items())
    _say_split(manifest["split"])
    _console.print(
        f"{manifest['backbone']['features']} features of {rows} pictures: {out}", highlight=False, soft_wrap=True
    )


def head(
    features: FeaturesArgument = Path("training-run/features"),
    out: Annotated[Path, typer.Option(help="Folder for the head, its figures and predictions.")] = Path(
        "training-run/head"
    ),
    recipe: RecipeOption = "s2",
    learning_rate: Annotated[float | None, typer.Option(help="Instead of the recipe's, as a sweep found it.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Instead of the recipe's, as a sweep found it.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="Folder of an earlier head to draw as the initial one; default: this one before training."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a head on finished features and test it once. Run it again to continue after an interruption.

    Writes head.safetensors, head.json, learning_curve.png, auroc.png, and predictions_validation.csv and
    predictions_test.csv, which `evaluate`, `compare` and `audit` read.
    """
    from training.heads.head_folder import make_head
    from training.heads.recipe import load_head_recipe

    changed = {"learning_rate": learning_rate, "weight_decay": weight_decay, "epochs": epochs}
    chosen = _with(load_head_recipe(recipe), "head", changed)
    facts = make_head(features, out, chosen, initial)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    _say_split(facts["split"])
    _console.print(_auroc_table(facts))
    _console.print(f"{facts['notice']} {facts['parameters']:,} weights: {out}", highlight=False, soft_wrap=True)


def sweep(
    features: FeaturesArgument = Path("training-run/features"),
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("training-run/sweep"),
    recipe: RecipeOption = "s2",
    workers: WorkersOption = CORES,
    as_json: JsonOption = False,
) -> None:
    """Train the recipe's grid of learning rates and weight decays; the lowest validation loss wins.

    Finished pairs are kept: run it again to continue. Writes sweep.csv, sweep.json and sweep.png.
    """
    from training.heads.recipe import load_head_recipe
    from training.heads.sweep import run_sweep

    facts = run_sweep(features, out, load_head_recipe(recipe), workers)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    _say_split(facts["split"])
    best = facts["best"]
    for name in facts["on_the_edge_of_the_grid"]:
        _console.print(f"The best {name.replace('_', ' ')} is at the edge of the grid; a wider grid may do better.")
    _console.print(
        f"lowest validation loss {best['validation_loss']:.4f}: python -m training head {features} "
        f"--recipe {recipe} --learning-rate {best['learning_rate']:g} --weight-decay {best['weight_decay']:g}",
        highlight=False,
        soft_wrap=True,
    )


def _chosen(recipe: str, backbone: str | None, init: str | None, split: str | None) -> HeadRecipe:
    from training.heads.recipe import load_head_recipe

    known_init = init if init in ("random", "imagenet") else None
    chosen = _with(load_head_recipe(recipe), "features", {"backbone": backbone, "init": known_init})
    if init is not None and Path(chosen.features.backbone).is_dir():
        raise HeadError(f"{chosen.features.backbone} is a bundle and brings its own weights; leave --init out")
    return _with(chosen, "data", {"split": split})


def _with(recipe: HeadRecipe, table: str, changed: dict[str, Any]) -> HeadRecipe:
    """Return the recipe with some keys of a table replaced, checked like a file's."""
    from training.heads.recipe import parse_head_recipe

    values = recipe.model_dump(mode="json")
    values[table] |= {key: value for key, value in changed.items() if value is not None}
    return parse_head_recipe(values, "the command line")


def _say_split(split: dict[str, Any]) -> None:
    _console.print(split["mark"], style="bold red" if split["leaky"] else None, highlight=False, soft_wrap=True)


def _auroc_table(facts: dict[str, Any]) -> Table:
    table = Table(
        title=f"AUROC on {facts['test']['pictures']:,} test pictures, 95 % intervals (patients resampled)",
        caption="undefined: the test part has one class only, left out of the mean"
        if facts["test"]["undefined"]
        else None,
    )
    for name in ("finding", "positives", "initial", f"epoch {facts['best_epoch']}"):
        table.add_column(name, justify="left" if name == "finding" else "right")
    best, initial = facts["test"], facts["initial"]
    for label in LABELS:
        figures = best["findings"][label]
        value = _text(initial["findings"][label]["auroc"][:1])
        table.add_row(label, str(figures["positives"]), value, _text(figures["auroc"]))
    table.add_section()
    table.add_row("mean", "", _text(initial["mean_auroc"][:1]), _text(best["mean_auroc"]))
    return table


def _text(interval: list[float | None]) -> str:
    if interval[0] is None:
        return "undefined"
    bounds = [f"{number:.3f}" for number in interval if number is not None]
    return bounds[0] + (f" ({bounds[1]} to {bounds[2]})" if len(bounds) > 1 else "")
