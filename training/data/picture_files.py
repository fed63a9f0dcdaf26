"""Which file on disk is which listed picture.

A listed name such as ``00000001_000.png`` is found by its stem, so that a resized copy of the download, usually JPEG,
serves as well as the download itself. Folders may be links; a link that leads back is followed once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from training.data.problems import ProblemKind, ProblemLog

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""In the order of preference where one picture has several files."""


def find_pictures(root: Path, names: Iterable[str], log: ProblemLog) -> dict[str, Path]:
    """Return the file of each named picture that has one below the folder; note files that are none or too many.

    A file with exactly the listed name wins over another suffix, then the first in the order of ``PICTURE_SUFFIXES``
    and of paths.
    """
    files: dict[str, list[Path]] = {}
    for path in picture_files(root):
        files.setdefault(path.stem, []).append(path)
    found = {}
    for name in names:
        candidates = files.pop(Path(name).stem, [])
        if not candidates:
            continue
        ranked = sorted(candidates, key=lambda path: (path.name != name, _preference(path), path))
        found[name] = ranked[0]
        if len(ranked) > 1:
            log.add(ProblemKind.SEVERAL_FILES, name, ", ".join(str(path.relative_to(root)) for path in ranked))
    for path in sorted(path for paths in files.values() for path in paths):
        log.add(ProblemKind.UNLISTED_PICTURE, str(path.relative_to(root)))
    return found


def picture_files(root: Path) -> Iterator[Path]:
    """Yield every picture file below the folder, links followed."""
    for folder, files in walk(root):
        yield from (folder / file for file in files if Path(file).suffix.lower() in PICTURE_SUFFIXES)


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder with its file names, links followed, each real folder once."""
    entered: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            subfolders.clear()  # a link back to a folder seen before
            continue
        entered.add(real)
        subfolders.sort()  # the same order everywhere
        yield Path(folder), files


def _preference(path: Path) -> int:
    return PICTURE_SUFFIXES.index(path.suffix.lower())
