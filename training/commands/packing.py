"""``export``: the bundle of a run, finished or not, as one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import CacheOption, JsonOption, MissingOption, named


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a training run (its --out), or of a bundle.")
    ] = Path("training-run"),
    to: Annotated[
        Path, typer.Option(metavar="FILE.zip", help="File to write; every command that takes a bundle takes it too.")
    ] = Path("bundle.zip"),
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Data set of the run: make the bundle from its best weights so far, also of a run that is not "
            "finished. Give --recipe, --init, --cache and --processes as for the run.",
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of the run: name or TOML file.")] = None,
    init: Annotated[str | None, typer.Option(callback=named, help="What the run started from.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Training processes of the run.")] = None,
    cache: CacheOption = None,
    allow_missing: MissingOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pack the bundle of a run into one file; with --data make it first, from the best weights there are so far."""
    from model.bundle import load_bundle  # here, for the help needs none of it
    from training.bundle_of_run import bundle_folder, conclude_so_far, pack
    from training.material import DataChoices
    from training.recipe import chosen_recipe

    if data is not None:
        choices = DataChoices(data, cache or run / "cache", allow_missing)
        init_file = Path(init) if init not in (None, "random") else None
        conclude_so_far(choices, run, chosen_recipe(data, recipe, init), init_file, processes)
    bundle = load_bundle(bundle_folder(run))
    pack(bundle, to)
    facts = {"file": str(to), "bytes": to.stat().st_size, "model_version": bundle.model_version}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{bundle.name} {bundle.model_version}: {to} ({facts['bytes']:,} bytes)")
