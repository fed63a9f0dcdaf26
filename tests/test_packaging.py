"""What is installed is what is on disk, and the lock can be committed."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_on_disk_is_listed_and_the_other_way_round() -> None:
    on_disk = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert on_disk == set(PROJECT["tool"]["setuptools"]["packages"])


def test_packages_are_flat_apart_from_listed_data() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        for path in (ROOT / package).rglob("*"):
            inside = path.relative_to(ROOT / package)
            if (
                path.is_file()
                and "__pycache__" not in inside.parts
                and not (len(inside.parts) == 1 and path.suffix == ".py")
            ):
                assert any(fnmatch(inside.as_posix(), pattern) for pattern in data.get(package, ())), (
                    f"{path} is not packaged"
                )


def test_lock_pins_every_dependency_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = {re.split(r"[=\[ ;]", line)[0].lower() for line in lock.splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["training"], *extras["test"]]
    names = {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in wanted}
    assert names <= pinned, names - pinned


def test_default_install_has_no_gpl_decoder() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "pylibjpeg-libjpeg" not in lock
