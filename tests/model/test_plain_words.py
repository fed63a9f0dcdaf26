"""What pydantic and Typer say of a value reaches people without their programs' words."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from model.deferred_commands import FlowingGroup

app = typer.Typer(cls=FlowingGroup)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@app.command()
def paint(
    colour: Annotated[Colour, typer.Option()] = Colour.RED,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])] = None,
    coats: Annotated[int, typer.Option(min=1, max=9)] = 1,
    litres: Annotated[float, typer.Option()] = 1.0,
) -> None:
    """Paint."""


@app.command()
def clean() -> None:
    """Clean: a group has two commands at least."""


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--colour", "green", "'--colour': 'green' is not one of 'red', 'blue'."),
        ("--since", "today", "'--since': 'today' is of none of the forms YYYY-MM-DD, YYYY-MM-DDThh:mm:ss."),
        ("--coats", "x", "'--coats': must be a whole number"),
        ("--coats", "0", "'--coats': must be 1 or more"),
        ("--coats", "10", "'--coats': must be 9 or less"),
        ("--litres", "x", "'--litres': must be a number"),
    ],
)
def test_a_wrong_value_of_an_option_is_told_in_plain_words(option: str, value: str, said: str) -> None:
    result = CliRunner().invoke(app, ["paint", option, value], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert f"Invalid value for {said}" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("worker", "studies", "--priority", "HIGH"),
        ("worker", "token", "list", "--config", "/nowhere/at/all", "--json=3"),
        ("worklist", "passwd", "file", "--role", "boss"),
        ("model", "verify", "folder", "--runtime", "gpu"),
        ("training", "--processes", "none"),
    ],
)
def test_every_command_line_does_so(command: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert done.stderr
    assert not any(words in done.stderr for words in ("Value error", "Input should", "unable to parse"))
