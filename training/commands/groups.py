"""The commands beside training itself, each loaded only when it, or the list of all, is asked for.

PyTorch, its compiler and the plots take seconds to load, and drawing or preparing pictures needs none of them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

_MODULES = {
    "bench": "bench",
    "calibrate": "calibration",
    "export": "calibration",
    "prepare": "data",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "features": "heads",
    "head": "heads",
    "sweep": "heads",
    "recipes": "recipes",
    "audit": "looking",
    "localise": "looking",
    "precision": "precision",
    "report": "reports",
    "suitability": "suitability",
}
"""Of ``training.commands``, by command; the function has the command's name."""


class CommandGroup(TyperGroup):
    """These commands first, then the command line's own."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, None when there is none."""
        return _command(cmd_name) if cmd_name in _MODULES else super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in the order of the help."""
        return [*_MODULES, *super().list_commands(ctx)]


@cache
def _command(name: str) -> Any:
    app = typer.Typer()
    app.command()(getattr(import_module(f"training.commands.{_MODULES[name]}"), name))
    return typer.main.get_group(app).commands[name]
