"""The picture cache: every listed picture once, squashed to the network's size, as one uint8 array on disk.

``pixels.npy`` is uint8 [N, S, S] in the order of ``index.parquet``; ``manifest.json`` says what it was made with.
``training.data.cache_build`` makes one.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from training.data.cache_index import INDEX_FILE, MANIFEST_FILE, PIXELS_FILE, CacheIndex, read_index, read_json
from training.data.pictures import read_grey

__all__ = ["CacheError", "PictureCache", "ReportProgress", "damaged_pictures", "open_cache", "read_grey"]

ReportProgress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""
_PICTURES_PER_REPORT = 256


class CacheError(Exception):
    """The cache cannot be built or used; the message names the folder and what to do."""


@dataclass(frozen=True)
class PictureCache:
    """Pictures by name."""

    pixels: NDArray[np.uint8]
    """uint8 [N, S, S], read-only memory map."""
    rows: dict[str, int]
    """Row of each readable picture."""
    unreadable: dict[str, str]
    """Listed pictures without usable pixels, and why."""
    manifest: dict[str, Any]
    """What it was made with."""
    index: CacheIndex
    """What is known of each picture."""

    @property
    def size_px(self) -> int:
        """Return the side of every picture."""
        return int(self.pixels.shape[1])

    def gather(self, names: tuple[str, ...]) -> NDArray[np.uint8]:
        """Return uint8 [len(names), S, S]; read in the order on disk, which spares a slow one."""
        rows = np.array([self.rows[name] for name in names], dtype=np.int64)
        gathered = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        for place in np.argsort(rows, kind="stable"):
            gathered[place] = self.pixels[rows[place]]
        return gathered


def open_cache(folder: Path) -> PictureCache:
    """Open a finished cache; worker processes use this.

    Raises
    ------
    CacheError
        There is none, or one of its files is missing or damaged.
    """
    manifest = read_json(folder / MANIFEST_FILE)
    if manifest is None:
        raise CacheError(f"{folder}: no finished picture cache; run the same command again, it continues where it was")
    try:
        index = read_index(folder / INDEX_FILE)
        pixels = np.load(folder / PIXELS_FILE, mmap_mode="r")
    except (OSError, ValueError, EOFError, KeyError, pyarrow.ArrowException) as error:
        raise CacheError(f"{folder}: the picture cache is damaged ({error}); --rebuild-cache makes it anew") from error
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or len(pixels) != len(index.names):
        raise CacheError(
            f"{folder}: {PIXELS_FILE} holds {pixels.dtype} {list(pixels.shape)}, {INDEX_FILE} names {len(index.names)} "
            "pictures; --rebuild-cache makes it anew"
        )
    rows = {name: row for row, name in enumerate(index.names) if name not in index.unreadable}
    return PictureCache(pixels, rows, index.unreadable, manifest, index)


def damaged_pictures(folder: Path, report: ReportProgress) -> list[str]:
    """Compare a finished cache with its checksums and return the pictures whose pixels are not what was written.

    Raises
    ------
    CacheError
        There is no finished cache, or it was changed outside its pictures.
    """
    cache = open_cache(folder)
    if file_sha256(folder / INDEX_FILE) != cache.manifest.get("index_sha256"):
        raise CacheError(f"{folder}: {INDEX_FILE} was changed since it was built; --rebuild-cache makes it anew")
    damaged = []
    for done, (name, row) in enumerate(cache.rows.items(), start=1):
        if zlib.crc32(cache.pixels[row]) != cache.index.records[row]["pixels_crc32"]:
            damaged.append(name)
        if done % _PICTURES_PER_REPORT == 0 or done == len(cache.rows):
            report(done, len(cache.rows))
    if not damaged and file_sha256(folder / PIXELS_FILE) != cache.manifest.get("pixels_sha256"):
        raise CacheError(f"{folder}: {PIXELS_FILE} was changed since it was built; --rebuild-cache makes it anew")
    return damaged


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
