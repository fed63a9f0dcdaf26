"""What the default install brings: packages found by following requirements, and their licences.

``python tests/support/installed.py`` prints the table of docs/licences.md.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

PROJECT = "cxr-triage-worker"


def canonical(name: str) -> str:
    """Return the name as package indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def default_install() -> dict[str, Distribution]:
    """Return everything that the project needs without extras, on this platform, the project itself left out."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(PROJECT, frozenset())]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = wanted = waiting.pop()
        if wanted in done:
            continue
        done.add(wanted)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # wanted by an extra that was not asked for
        for line in found[name].requires or ():
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((canonical(need.name), frozenset(need.extras)))
    del found[PROJECT]
    return found


def licence(package: Distribution) -> str:
    """Return the licence that the package states: an SPDX expression, else its classifiers, else its own words."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    named = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    words = str(metadata.get("License") or "").strip().splitlines()
    return "; ".join(named) or (words[0] if words else "not stated")


def forbids_closed_use(stated: str) -> bool:
    """Say whether this is the GNU General Public License or the Affero one, not the Lesser one."""
    lesser = r"LGPL[\w.+-]*|GNU (Lesser|Library) General Public License[^;]*"
    without_lesser = re.sub(lesser, "", stated, flags=re.IGNORECASE)
    return bool(re.search(r"GPL|General Public License|Affero", without_lesser, re.IGNORECASE))


def table() -> str:
    """Return packages and licences as a Markdown table."""
    lines = [f"| {name} | {licence(package)} |" for name, package in sorted(default_install().items())]
    return "\n".join(["| Package | Licence stated |", "|---|---|", *lines])


if __name__ == "__main__":
    print(table())
