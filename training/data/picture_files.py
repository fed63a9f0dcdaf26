"""Which file on disk is which listed picture.

A listed name such as ``00000001_000.png`` is found by its stem, so that a resized copy of the download, usually JPEG,
serves as well as the download itself. Folders may be links; a link that leads back is followed once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""In the order of preference where one picture has several files."""


def find_pictures(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return the file of each listed picture that has one below the folder.

    A file with exactly the listed name wins over another suffix, then the first in the order of ``PICTURE_SUFFIXES``
    and of paths.
    """
    files: dict[str, list[Path]] = {}
    for path in picture_files(root):
        files.setdefault(path.stem, []).append(path)
    found = {}
    for name in names:
        candidates = files.get(Path(name).stem, [])
        if candidates:
            found[name] = min(candidates, key=lambda path: (path.name != name, _preference(path), path))
    return found


def picture_files(root: Path) -> Iterator[Path]:
    """Yield every picture file below the folder, links followed."""
    entered: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            subfolders.clear()  # a link back to a folder seen before
            continue
        entered.add(real)
        yield from (Path(folder, file) for file in files if Path(file).suffix.lower() in PICTURE_SUFFIXES)


def _preference(path: Path) -> int:
    return PICTURE_SUFFIXES.index(path.suffix.lower())
