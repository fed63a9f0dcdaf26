"""Command line of the training package."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.standard_streams import written_whole
from training.commands.groups import CommandGroup
from training.commands.options import named

app = typer.Typer(cls=CommandGroup, add_completion=False, invoke_without_command=True)
_console = Console(stderr=True)
_EXTRA_MODULES = ("matplotlib", "pandas", "pyarrow", "sklearn")
"""What the worker runs without; the extra ``training`` of the package brings them."""


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="The NIH download or a part of it, phantoms, or what `python -m worker export` wrote."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for cache, checkpoints, report and bundle.")] = Path("training-run"),
    recipe: Annotated[
        str | None, typer.Option(help="Recipe name or TOML file; default: phantom for phantoms, else densenet121.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            callback=named,
            help="Weights to start from: 'random', a file (.pth, .safetensors), or a bundle's folder or .zip.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Training processes; default: one for each core.")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Go on without listed pictures that have no file or cannot be read."),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the picture cache; default: 'cache' in --out.")
    ] = None,
    rebuild_cache: Annotated[
        bool, typer.Option("--rebuild-cache", help="Replace a cache that was made with other settings.")
    ] = False,
) -> None:
    """Train on a folder and write a model bundle with its report. Run it again to continue after an interruption.

    NOT A MEDICAL DEVICE: what it writes is for research and evaluation. docs/recipes.md says how to choose a recipe.
    """
    if context.invoked_subcommand is not None:
        return
    if data is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    from training.material import DataChoices  # each command loads only what it needs
    from training.pipeline import run_pipeline
    from training.recipe import chosen_recipe

    chosen = chosen_recipe(data, recipe, init)
    init_file = Path(init) if init not in (None, "random") else None
    choices = DataChoices(data, cache or out / "cache", allow_missing, rebuild_cache)
    folder = run_pipeline(choices, out, chosen, init_file, processes)
    if folder is not None:
        _console.print(f"result: {folder}")


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Empty folder for the data set.")],
    images: Annotated[int, typer.Option(min=1, max=1_000_000, help="Pictures to draw.")] = 5200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 2017,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes that draw.")] = os.cpu_count() or 1,
    on: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw findings on the real films of this folder (ChestX-ray14's layout) that show none, instead of "
            "whole phantoms; the new folder holds links to all its films too. --images is not used then.",
        ),
    ] = None,
    copies: Annotated[
        int, typer.Option(min=1, max=1000, help="With --on: drawn copies of each film without findings.")
    ] = 3,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="With --on: go on without listed pictures that have no file.")
    ] = False,
) -> None:
    """Draw a data set of chest phantoms in ChestX-ray14's own layout (drawings, not radiographs of people).

    With --on, draw the same findings on real films: few positives become many, each with a box. Training takes the
    drawn copies for training alone; validation and test stay real.
    """
    from training.material import DataChoices, read_complete_folder
    from training.phantoms.dataset import write_phantom_dataset
    from training.phantoms.film_dataset import write_films_with_findings
    from training.phantoms.folder import drawing_into
    from training.phantoms.gallery import plot_examples

    if on is None:
        write_phantom_dataset(out, images=images, seed=seed, workers=workers)
    else:
        films = read_complete_folder(DataChoices(on, out / "cache", allow_missing))
        drawn, left_out = write_films_with_findings(films, out, copies=copies, seed=seed, workers=workers)
        _console.print(
            f"{drawn:,} drawn copies; {left_out:,} films without findings were not drawn on", highlight=False
        )
    with drawing_into(out):
        plot_examples(out, out / "examples.png")


def main() -> None:
    """Run the command line; refusals are one sentence on stderr and exit status 1, an interruption 130."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        with written_whole():
            app()
    except SystemExit:
        raise  # before Python asks what the refusals are, for which PyTorch is loaded
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_MODULES:
            raise
        _console.print(
            f"[red]training needs {error.name}, which is not installed: run `make training`[/red]", highlight=False
        )
        raise SystemExit(1) from None
    except _refusals() as error:
        _console.print(str(error), style="red", markup=False, highlight=False)
        raise SystemExit(1) from None
    except OSError as error:
        words = f"{error.strerror or type(error).__name__}: {error.filename or 'the operating system refused'}"
        _console.print(words, style="red", markup=False, highlight=False)
        raise SystemExit(1) from None
    except _interruption() as error:
        _console.print(str(error), markup=False, highlight=False)
        raise SystemExit(130) from None


def _refusals() -> tuple[type[Exception], ...]:
    from model.bundle import BundleError
    from model.classifier import NotFiniteError, RuntimeUnavailableError
    from training.data.cache import CacheError
    from training.data.radiographs import LayoutError
    from training.data.reading_pool import ReaderEndedError
    from training.evaluation.leakage import LeakError
    from training.evaluation.predictions import PredictionsError
    from training.fitting.checkpoint import CheckpointError
    from training.fitting.weights_file import InitError
    from training.heads.errors import HeadError
    from training.output import OutputError
    from training.parallel import TrainingFailedError
    from training.phantoms.folder import PhantomDatasetError
    from training.recipe import RecipeError

    return (
        BundleError,
        CacheError,
        CheckpointError,
        HeadError,
        InitError,
        LayoutError,
        LeakError,
        NotFiniteError,
        OutputError,
        PhantomDatasetError,
        PredictionsError,
        ReaderEndedError,
        RecipeError,
        RuntimeUnavailableError,
        TrainingFailedError,
    )


def _interruption() -> type[Exception]:
    from training.parallel import TrainingInterruptedError

    return TrainingInterruptedError
