"""``status``: what needs a person, and the numbers of the operations page, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import typer
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.padding import Padding
from rich.text import Text

from worker.commands.at_hand import opened, print_json
from worker.commands.options import ConfigOption, JsonOption
from worker.figures.measures import MEANINGS, Measure, measures
from worker.figures.overview import read_overview
from worker.rows.database import database_now
from worker.settings.config import load_settings
from worker.views.presentation import bytes_text
from worker.views.rendering import escape, plain
from worker.views.studies import as_json


def status(json_output: JsonOption = False, config: ConfigOption = None) -> None:
    """What needs a person now, and the numbers behind it. Exit code 1 when anything does, for monitoring scripts."""
    settings = load_settings(config)
    with opened(settings) as session:
        overview = read_overview(session, settings, database_now(session))
    numbers = list(measures(overview))
    if json_output:
        print_json({"attention": as_json(overview.attention), "metrics": as_json(numbers)})
    else:
        console = Console()
        for item in overview.attention:
            console.print(f"[bold red]{escape(item.sentence)}[/bold red]", soft_wrap=True)
        if not overview.attention:
            console.print("[bold green]nothing needs a person[/bold green]")
        console.print(_in_groups(numbers))
    raise typer.Exit(1 if overview.attention else 0)


def _in_groups(numbers: Iterable[Measure]) -> RenderableType:
    """Return each name once with what it means, below it its numbers: in a line those that differ in the last label."""
    lines: list[RenderableType] = []
    for name, of_name in groupby(numbers, key=lambda number: number.name):
        lines.append(Text.assemble((name, "bold"), f"  {MEANINGS[name]}"))
        for of, alike in groupby(of_name, key=lambda number: list(number.labels.items())[:-1]):
            lines.append(Padding(Text(_line(of, list(alike))), (0, 0, 0, 4)))
    return Stack(*lines)


def _line(of: Sequence[tuple[str, str]], numbers: Sequence[Measure]) -> str:
    """Return numbers in a line, such as ``stage read, quantile: 0.5 = 0.8, 0.95 = 3.4``."""
    last = list(numbers[0].labels)[-1:]
    if not last:
        return ", ".join(_value(number) for number in numbers)
    where = ", ".join([f"{label} {plain(value)}" for label, value in of] + last)
    values = (f"{plain(number.labels[last[0]]) or '(none)'} = {_value(number)}" for number in numbers)
    return f"{where}: {', '.join(values)}"


def _value(number: Measure) -> str:
    return bytes_text(int(number.value)) if number.name.endswith("_bytes") else f"{number.value:.6g}"
