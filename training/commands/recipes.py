"""``recipes``: what recipes there are, or what every key of one means."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def recipes(
    keys: Annotated[
        bool, typer.Option("--keys", help="Print every key with its values and default, in Markdown.")
    ] = False,
) -> None:
    """List the recipes that come along; docs/recipes.md says how each differs from its source."""
    from training.recipe_reference import key_table, shipped_recipes  # here, for the help needs none of it

    if keys:
        typer.echo(key_table(), nl=False)
        return
    table = Table(box=None, show_header=False)
    for name, purpose in shipped_recipes().items():
        table.add_row(name, purpose)
    Console().print(table)
