"""``status``: what needs a person, and the numbers of the operations page, in the terminal."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from worker.commands.at_hand import opened, print_json
from worker.commands.options import ConfigOption, JsonOption
from worker.figures.measures import MEANINGS, Measure, measures
from worker.figures.overview import read_overview
from worker.rows.database import database_now
from worker.settings.config import load_settings
from worker.views.presentation import bytes_text
from worker.views.rendering import escape
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
        table = Table(header_style="bold")
        for title in ("Number", "Of", "Value", "Meaning"):
            table.add_column(title, overflow="fold")
        for number in numbers:
            labels = ", ".join(f"{name} {value}" for name, value in number.labels.items())
            table.add_row(number.name, escape(labels), _value(number), MEANINGS[number.name])
        console.print(table)
    raise typer.Exit(1 if overview.attention else 0)


def _value(number: Measure) -> str:
    return bytes_text(int(number.value)) if number.name.endswith("_bytes") else f"{number.value:.6g}"
