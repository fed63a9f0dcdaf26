"""What is installed is what is pinned, hash by hash; its parts list can be written, and no licence forbids the use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from installed import PROJECT, default_install, forbids_closed_use, licence

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; [^\\\n]*)?((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)
LESSER = {"psycopg", "psycopg-binary"}
"""LGPL: used as a library and unchanged."""

UNSTATED = {"cuda-toolkit", "nvidia-cusparselt-cu13", "torchvision"}
"""They state no licence that the parts list knows."""


def test_every_package_is_pinned_to_files_by_hash() -> None:
    entries = ENTRY.findall(LOCK)
    names = re.findall(r"^[a-z0-9-]+", LOCK, re.MULTILINE)
    assert [name for name, _version, _hashes in entries] == names, "`make lock` writes the file"
    assert [name for name, _version, hashes in entries if not hashes] == [], "without a hash: run `make lock`"
    assert "://" not in LOCK, "no index and no address: whoever installs chooses the index"


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = {(name, version) for name, version, _hashes in ENTRY.findall(LOCK)}
    installed = {(name, package.version.split("+")[0]) for name, package in default_install().items()}
    assert len(installed) > 60
    assert installed - pinned == set()


def test_no_licence_of_the_default_install_forbids_the_use() -> None:
    stated = {name: licence(package) for name, package in default_install().items()}
    assert [name for name, words in stated.items() if forbids_closed_use(words)] == []
    assert {name for name, words in stated.items() if re.search("LGPL|Lesser", words)} == LESSER & stated.keys()
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    lines = [f"| {name} | {words} |" for name, words in sorted(stated.items())]
    assert [line for line in lines if line not in page] == [], (
        "docs/licences.md: paste what `python tests/support/installed.py` prints"
    )


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("AGPL-3.0-only", True),
        ("MIT OR GPL-2.0-only", True),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("Apache-2.0", False),
    ],
)
def test_the_licences_that_are_not_wanted_are_told_from_the_others(words: str, forbidden: bool) -> None:
    assert forbids_closed_use(words) is forbidden


@pytest.mark.slow
def test_the_list_of_parts_names_every_package_with_its_version_and_licence(tmp_path: Path) -> None:
    written = tmp_path / "sbom.json"
    command = [str(Path(sys.executable).parent / "cyclonedx-py"), "environment", "--pyproject", "pyproject.toml"]
    done = subprocess.run(
        [*command, "--output-file", str(written), sys.executable], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(written.read_text(encoding="utf-8"))
    assert parts["metadata"]["component"]["name"] == PROJECT
    listed = {part["name"].lower().replace("_", "-").replace(".", "-"): part for part in parts["components"]}
    for name, package in default_install().items():
        assert listed[name]["version"] == package.version
        assert listed[name].get("licenses") or name in UNSTATED, name
