"""A test lies where the code lies that it tests: tests/ has the rooms of the packages, and three of its own."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN_ROOMS = {"house", "support", "system"}
"""Tests of the project as a whole, what tests import, and tests that start the worker as a hospital does."""
MOST_FILES = 40
LOADED_BY_PYTHON = "sitecustomize"
"""The one name that several files may have: Python looks for it in the folder that a test puts first."""


def rooms(tests: Path) -> dict[str, list[str]]:
    """Return the names of the Python files of every folder below ``tests``; "." is the folder itself."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("*.py")):
        found.setdefault(path.parent.relative_to(tests).as_posix(), []).append(path.stem)
    return found


def complaints(root: Path) -> list[str]:
    """Say what lies in the wrong room of ``root``/tests, or has the name of another file there."""
    found = rooms(root / "tests")
    said = [f"{name} lies in no room" for name in found.pop(".", []) if name != "conftest"]
    for room, names in found.items():
        own = room.split("/")[0] in OWN_ROOMS
        if not own and not any((root / room).glob("*.py")):
            said.append(f"{room} is no room of the code")
        if len(names) > MOST_FILES:
            said.append(f"{room} has {len(names)} files")
        if room.split("/")[0] == "support":
            said += [f"{name} is no support" for name in names if name.startswith("test_")]
        else:
            said += [f"{name} belongs to support" for name in names if not name.startswith("test_")]
    counted = Counter(name for names in found.values() for name in names if name != LOADED_BY_PYTHON)
    return said + [f"{count} files are named {name}" for name, count in counted.items() if count > 1]


def test_every_test_lies_in_the_room_of_its_code() -> None:
    assert complaints(ROOT) == []


def test_what_lies_elsewhere_is_found(tmp_path: Path) -> None:
    files = ["model/bundle.py", "tests/conftest.py", "tests/test_loose.py", "tests/model/test_bundle.py"]
    files += ["tests/cellar/test_bundle.py", "tests/model/helper.py", "tests/support/test_none.py"]
    files += [f"tests/system/test_{number}.py" for number in range(MOST_FILES + 1)]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert sorted(complaints(tmp_path)) == [
        "2 files are named test_bundle",
        "cellar is no room of the code",
        "helper belongs to support",
        "system has 41 files",
        "test_loose lies in no room",
        "test_none is no support",
    ]


def test_nothing_imports_a_test() -> None:
    """What two tests share is in support."""
    importing = re.compile(r"^\s*(?:from|import) (?:tests\b|test_)", re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert files
    assert [path.name for path in files if importing.search(path.read_text())] == []


def test_every_room_of_support_can_be_imported_from() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    found = {
        f"tests/{room}"
        for room, names in rooms(ROOT / "tests").items()
        if room.startswith("support") and names != [LOADED_BY_PYTHON]
    }
    assert found == set(options["pythonpath"]) - {"."}
