"""Imports go down the layers only; a file that breaks this is named here with its line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "dicom_io": {"dicom_io"},
    "hl7_io": {"hl7_io", "dicom_io"},
    "model": {"model"},
    "training": {"training", "model", "dicom_io"},
    "worker": {"worker", "hl7_io", "dicom_io", "model", "migrations"},
    "worklist": {"worklist", "worker", "dicom_io", "model"},
    "migrations": {"migrations", "worker"},
}
FORBIDDEN_LIBRARIES = {
    "dicom_io": {"torch", "torchvision", "sqlalchemy", "celery", "redis", "fastapi", "openvino"},
    "hl7_io": {"torch", "torchvision", "sqlalchemy", "celery", "redis", "fastapi", "openvino", "pynetdicom"},
    "model": {"pydicom", "pynetdicom", "highdicom", "sqlalchemy", "celery", "redis", "fastapi"},
    "training": {"sqlalchemy", "celery", "redis", "fastapi", "pynetdicom"},
    "worker": {"fastapi", "sklearn", "matplotlib", "pandas", "torch"},
    "worklist": {"torch", "celery", "pynetdicom", "sklearn", "matplotlib"},
    "migrations": {"torch", "celery", "pydicom"},
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of every import, those inside functions too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, path.parent.name if node.level else (node.module or "").split(".")[0]


def violations(package: str, path: Path) -> list[str]:
    """Name each import in ``path`` that a file of ``package`` must not make."""
    return [
        f"{path.name}:{line}: {package} imports {imported}"
        for line, imported in imports_of(path)
        if (imported in ALLOWED and imported not in ALLOWED[package]) or imported in FORBIDDEN_LIBRARIES[package]
    ]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_down_the_layers(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    assert [line for file in files for line in violations(package, file)] == []


def test_an_import_against_the_layers_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\n\ndef f():\n    from worker.rows.study_tables import Study\n    import torch.nn\n")
    assert violations("dicom_io", bad) == ["bad.py:4: dicom_io imports worker", "bad.py:5: dicom_io imports torch"]


def edges_of(package: str, depth: int | None = None) -> dict[str, set[str]]:
    """Return what each file imports inside its package by dotted names, cut to ``depth`` parts (2: rooms)."""
    edges: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts[:depth])
        imported = {
            ".".join(node.module.split(".")[:depth])
            for node in parsed(path).body
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}.")
        }
        edges[name] = edges.get(name, set()) | (imported - {name})
    return edges


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_circles_between_the_files_of_a_package_nor_between_its_rooms(package: str) -> None:
    assert circle_in(edges_of(package)) is None
    assert circle_in(edges_of(package, depth=2)) is None


FLOORS = {
    "dicom_io": (
        "foundation",
        "data_sets",
        "selection",
        "pixels",
        "results",
        "pictures",
        "storing",
        "associations",
        "ups",
        "services",
    ),
    "training": ("data", "evaluation", "networks", "fitting", "reporting", "heads", "judging", "commands"),
    "worker": (
        *(
            "foundation",
            "settings",
            "rows",
            "queue",
            "arrival",
            "sending",
            "runs",
            "views",
            "figures",
            "care",
            "hl7",
            "ups",
        ),
        *("processes", "demo", "commands", "cli"),
    ),
}


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_the_rooms_of_a_package_import_downwards(package: str) -> None:
    edges = edges_of(package, depth=2)
    floors = [f"{package}.{room}" for room in FLOORS[package]]
    for number, floor in enumerate(floors):
        assert edges[floor].isdisjoint(floors[number + 1 :]), floor


@pytest.mark.parametrize("package", ["dicom_io", "worker"])
def test_every_room_has_its_floor(package: str) -> None:
    rooms = {path.stem for path in (ROOT / package).iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms == set(FLOORS[package]) - {"cli"}


def circle_in(edges: dict[str, set[str]]) -> list[str] | None:
    """Return one circle of module names, or None."""

    def walk(node: str, trail: list[str]) -> list[str] | None:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        for other in edges.get(node, ()):
            if found := walk(other, [*trail, node]):
                return found
        return None

    return next((found for start in edges if (found := walk(start, []))), None)


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
