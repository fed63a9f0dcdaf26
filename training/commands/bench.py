"""``bench``: images a second of every part of a training step, and which part the others wait for."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from training.bench import BenchReport, PartSpeed


def bench(
    recipe: Annotated[
        str, typer.Option(help="Recipe name or TOML file; its last stage is measured, from random weights.")
    ] = "densenet121",
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Picture cache to load from; default: noise in a temporary one.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images in a step; default: the recipe's.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="For each part, at least; never fewer than 3 repetitions.")] = 3,
    pictures: Annotated[int, typer.Option(min=2, help="Pictures of noise, without --cache.")] = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for scripts.")] = False,
) -> None:
    """Measure loader, augmentation and step (fp32 and bf16, NCHW and channels_last) here, and name the limiting part.

    One process on the GPU, or on the CPU with torch's threads (OMP_NUM_THREADS); training on a CPU runs one process
    for each core instead.
    """
    from training.bench import Bench, noise_cache  # here, for the help needs none of it
    from training.material import cache_size_px
    from training.recipe import load_recipe

    chosen = load_recipe(recipe)
    if batch_size is not None:
        stages = tuple(stage.model_copy(update={"batch_size": batch_size}) for stage in chosen.stages)
        chosen = chosen.model_copy(update={"stages": stages, "accumulation_steps": 1})
    with ExitStack() as stack:
        folder = cache or stack.enter_context(noise_cache(cache_size_px(chosen), pictures))
        report = Bench(chosen, folder, seconds).report()
    if as_json:
        facts = {**asdict(report), "input_share": report.input_share, "limiting": report.limiting}
        json.dump(facts, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print(report)


def _print(report: BenchReport) -> None:
    table = Table(
        title=f"{report.architecture} at {report.size_px} px, {report.batch_size} images a step, {report.device}",
        header_style="bold",
    )
    for title in ("Part", "ms a batch", "images/s", "repetitions"):
        table.add_column(title, justify="left" if title == "Part" else "right")
    place = "on the GPU" if report.resident else "from the cache"
    _row(table, f"loader ({place})", report.loader)
    _row(table, "augmentation", report.augmentation)
    for name, speed in report.steps.items():
        _row(table, f"step {name}", speed)
    _row(table, "everything, as the recipe runs it", report.whole)
    console = Console()
    console.print(table)
    console.print(
        f"limiting part: {report.limiting}; loading and changing pictures takes {report.input_share:.2f} of the "
        f"network's step ({report.recipe_step})",
        highlight=False,
    )
    if report.peak_gpu_bytes:
        console.print(f"{report.peak_gpu_bytes / 1e9:.1f} GB of GPU memory at most", highlight=False)


def _row(table: Table, name: str, speed: PartSpeed) -> None:
    table.add_row(name, f"{1000 * speed.seconds:.1f}", f"{speed.images_per_second:,.1f}", str(speed.repetitions))
