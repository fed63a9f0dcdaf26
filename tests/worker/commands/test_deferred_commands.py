"""Commands are loaded when they are chosen, and the list of all says of each what it says itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from model.deferred_commands import DeferredGroup
from training.commands.groups import CommandGroup
from worker.commands.table import CommandTable

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "openvino", "numpy", "pydicom", "sqlalchemy", "celery", "pydantic", "fastapi")
OF_TRAINING = ("torch", "numpy", "pydicom", "pandas", "pyarrow", "sklearn", "matplotlib", "cv2", "PIL")
"""Typer itself loads pydantic for a command that has options."""


@pytest.mark.parametrize("table", [CommandTable, CommandGroup])
def test_a_list_says_of_each_command_what_the_command_says(table: type[DeferredGroup]) -> None:
    group = table(name="all")
    group.get_help(typer.Context(group))
    assert table.places
    for name in table.places:
        listed = group.commands[name]
        itself = listed.make_context(name, ["--help"], resilient_parsing=True).command
        assert listed.help
        assert (listed.name, listed.help) == (itself.name, itself.help)


@pytest.mark.parametrize("package", ["worker", "training"])
def test_the_list_of_all_commands_loads_none_of_them(package: str) -> None:
    script = f"import sys; sys.argv = [{package!r}, '--help']\nfrom {package}.cli import main\n"
    script += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    script += f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--help" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", CommandGroup.places)
def test_the_help_of_a_training_command_loads_nothing_it_would_work_with(name: str) -> None:
    script = f"import sys; sys.argv = ['training', {name!r}, '--help']\nfrom training.cli import main\n"
    script += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    script += f"print([name for name in {OF_TRAINING!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--help" in done.stdout
    assert done.stderr.strip() == "[]"


def test_an_unknown_command_is_refused_with_a_hint() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "statsu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "status" in done.stderr
