"""``prepare``: look at a data set, name everything that is wrong with it, build the picture cache or check one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from training.commands.options import JsonOption, MissingOption

if TYPE_CHECKING:
    from training.inspection import Inspection

_console = Console(stderr=True)

DataOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="The NIH download, a folder of links to a part of it, phantoms, or what `python -m worker export` wrote.",
    ),
]
CacheOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the picture cache.")]
RecipeOption = Annotated[
    str | None, typer.Option(help="Cut the parts, and size the cache, as this recipe (name or TOML file) does.")
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        min=32, metavar="PX", help="Side of the cached pictures; default: as the network takes them, or the recipe's."
    ),
]
ListsOnlyOption = Annotated[
    bool, typer.Option("--lists-only", help="Look at tables and lists alone; no picture needs to be at hand.")
]
CheckOnlyOption = Annotated[bool, typer.Option("--check-only", help="Decode every picture too, but write no cache.")]
VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Compare the finished cache with its checksums; nothing else.")
]
RebuildOption = Annotated[
    bool, typer.Option("--rebuild-cache", help="Replace a cache that was made with other settings.")
]
ReadersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes that decode pictures; default: one for each core.")
]
ProblemsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write every single problem to this CSV file.")
]


def prepare(
    data: DataOption,
    cache: CacheOption = Path("training-run/cache"),
    recipe: RecipeOption = None,
    size: SizeOption = None,
    lists_only: ListsOnlyOption = False,
    check_only: CheckOnlyOption = False,
    verify: VerifyOption = False,
    allow_missing: MissingOption = False,
    rebuild_cache: RebuildOption = False,
    readers: ReadersOption = None,
    problems: ProblemsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a data set and build its picture cache. Run it again to continue after an interruption.

    One table names everything that is wrong, with what to do. Exit status 1 when training could not start.
    """
    if verify:
        raise typer.Exit(0 if _verified(cache, as_json=as_json) else 1)
    from training.inspection import Depth, inspect, summary  # here, for the help needs none of it
    from training.material import DataChoices, cache_size_px
    from training.recipe import load_recipe

    depth = Depth.LISTS if lists_only else Depth.PICTURES if check_only else Depth.CACHE
    choices = DataChoices(data, cache, allow_missing, rebuild_cache, readers=readers)
    chosen = None if recipe is None else load_recipe(recipe)
    inspection = inspect(choices, depth, chosen, size or cache_size_px(chosen))
    if problems is not None:
        _write(inspection, problems)
    if as_json:
        typer.echo(json.dumps(summary(inspection), indent=2))
    else:
        _print(inspection)
    raise typer.Exit(0 if inspection.passed else 1)


def _write(inspection: Inspection, problems: Path) -> None:
    from training.data.problems import write_problems
    from training.output import writing_to

    with writing_to(problems.parent):
        write_problems(inspection.log, problems)


def _print(inspection: Inspection) -> None:
    from training.reporting.data_tables import findings_table, parts_table, problem_table

    console = Console()
    if inspection.log.problems:
        console.print(problem_table(inspection.log))
    console.print(parts_table(inspection.census))
    console.print(findings_table(inspection.census))
    if (parts := inspection.parts) is not None:
        sizes = f"training {len(parts.training):,}, validation {len(parts.validation):,}, test {len(parts.test):,}"
        console.print(f"the recipe cuts: {sizes} pictures; {parts.mark}", highlight=False)
    console.print(f"{inspection.seconds:.1f} s, {inspection.peak_memory_bytes / 1e6:.0f} MB of memory at most")
    if not inspection.passed:
        found = len(inspection.log.errors())
        words = "1 problem stands" if found == 1 else f"{found:,} problems stand"
        console.print(f"[red]{words} in the way of training[/red]")
    elif inspection.cache is not None:
        console.print(f"the cache holds {len(inspection.cache.rows):,} pictures at {inspection.cache.size_px} px")
    else:
        console.print("nothing stands in the way of training")


def _verified(folder: Path, *, as_json: bool) -> bool:
    from training.data.cache import damaged_pictures, open_cache
    from training.progress import RateBar

    pictures = len(open_cache(folder).rows)
    with RateBar("Comparing", "img", pictures) as bar:
        damaged = damaged_pictures(folder, lambda done, total: bar.update(done))
    if as_json:
        json.dump({"passed": not damaged, "pictures": pictures, "damaged": damaged}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif damaged:
        words = f"{folder}: {len(damaged)} pictures are damaged: {', '.join(damaged[:20])}"
        _console.print(words, style="red", markup=False)
        _console.print("--rebuild-cache makes the cache anew")
    else:
        Console().print(f"{folder}: all {pictures:,} pictures are as they were written", highlight=False)
    return not damaged
