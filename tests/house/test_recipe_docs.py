"""docs/recipes.md says all there is to say of recipes, and nothing that is not so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import app
from training.heads.recipe import known_head_recipes
from training.recipe import known_recipes
from training.recipe_reference import key_table, keys, shipped_recipes

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
BEFORE, TABLE = TEXT.split("## Every key")


def test_the_table_of_keys_is_the_one_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["recipes", "--keys"]).stdout
    assert printed == key_table()
    assert TABLE.endswith(printed), "run `python -m training recipes --keys` and put its table at the end"


@pytest.mark.parametrize("name", [name for name, _ in keys()])
def test_every_key_is_explained(name: str) -> None:
    row = next(line for line in TABLE.splitlines() if f"`{name}`" in line or f"`[{name}]`" in line)
    assert len(row.split(" | ")[-1]) > 20


def test_every_recipe_stands_in_the_list_and_the_list_command() -> None:
    assert set(shipped_recipes()) == {*known_recipes(), *known_head_recipes()}
    listed = CliRunner().invoke(app, ["recipes"]).stdout
    for name in shipped_recipes():
        assert f"`{name}`" in BEFORE
        assert name in listed


@pytest.mark.parametrize("source", ["S0", "S1", "S2", "S3", "S4"])
def test_every_source_has_a_row_with_a_command_of_a_recipe_that_exists(source: str) -> None:
    row = next(line for line in BEFORE.splitlines() if line.startswith(f"| **{source}**"))
    did, command, differs = row.strip("| ").split(" | ")[1:]
    named = re.findall(r"--recipe ([\w-]+)", command)
    assert named
    assert set(named) <= set(shipped_recipes())
    assert len(did) > 50
    assert len(differs) > 50


def test_keys_named_in_the_text_exist() -> None:
    known = {name for name, _ in keys()}
    tables = {name.split(".")[0] for name in known if "." in name}
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", BEFORE)) - {"metrics.json", "report.html"}
    assert {name for name in named if name.split(".")[0] in tables} <= known
    assert named <= known
