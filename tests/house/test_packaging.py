"""What is installed is what is on disk, and the lock can be committed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_on_disk_is_listed_and_the_other_way_round() -> None:
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in ROOT.glob("*/__init__.py")
        for path in package.parent.rglob("__init__.py")
    }
    assert on_disk == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_file_of_a_package_is_packaged() -> None:
    packages, data = PROJECT["tool"]["setuptools"]["packages"], PROJECT["tool"]["setuptools"]["package-data"]
    for top in {package.split(".")[0] for package in packages}:
        for path in (ROOT / top).rglob("*"):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            module = path.suffix == ".py" and ".".join(path.parent.relative_to(ROOT).parts) in packages
            inside = path.relative_to(ROOT / top).as_posix()
            assert module or any(fnmatch(inside, pattern) for pattern in data.get(top, ())), f"{path} is not packaged"


def test_lock_pins_every_dependency_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = {re.split(r"[=\[ ;]", line)[0].lower() for line in lock.splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["training"], *extras["test"]]
    names = {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in wanted}
    assert names <= pinned, names - pinned


def test_training_without_its_extra_packages_says_what_to_run() -> None:
    script = "import sys; sys.modules['pyarrow'] = None; sys.argv = ['training', 'prepare', '--data', 'phantom-data']\n"
    script += "from training.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run `make training`" in done.stderr
    assert "Traceback" not in done.stderr


def test_default_install_has_no_gpl_decoder() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "pylibjpeg-libjpeg" not in lock
