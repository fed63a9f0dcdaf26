"""A cache that is being built: its pixels, which of them are there, and how it becomes a finished one.

What a killed build leaves behind is continued: a row counts as done when its record says so and its pixels have the
recorded checksum, so nothing depends on the order in which a dying machine wrote its pages.
"""

from __future__ import annotations

import fcntl
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cache import file_sha256
from training.data.cache_index import (
    INDEX_FILE,
    MANIFEST_FILE,
    PIXELS_FILE,
    RECORD,
    CacheIndex,
    Records,
    read_json,
    write_index,
    write_json,
)

logger = logging.getLogger(__name__)

PARTIAL_PIXELS_FILE, PARTIAL_RECORDS_FILE, PARTIAL_PLAN_FILE = "pixels.npy.partial", "records.npy.partial", "plan.json"
LOCK_FILE = "lock"


class UnfinishedCache:
    """Rows to be filled, in files beside the finished ones.

    Parameters
    ----------
    folder
        Of the cache; exists.
    settings
        What the pixels depend on (``cache_settings``).
    names
        Of the pictures, in the order of the rows.
    data
        Folder the pictures are from.

    Raises
    ------
    OSError
        The disk has no room for the pixels; nothing is left behind.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], names: tuple[str, ...], data: Path) -> None:
        self.folder, self.settings, self.names, self.data = folder, settings, names, str(data.resolve())
        self.size_px = int(settings["size_px"])
        if unfinished_settings(folder) is None or self._planned_names() != list(names):
            self._start()
        self.records = np.lib.format.open_memmap(folder / PARTIAL_RECORDS_FILE, mode="r+")
        self._descriptor = os.open(folder / PARTIAL_PIXELS_FILE, os.O_RDWR)
        self._row_bytes = self.size_px**2
        self._first_row = os.fstat(self._descriptor).st_size - len(names) * self._row_bytes

    def write(self, row: int, pixels: np.ndarray[Any, np.dtype[np.uint8]], record: Records) -> None:
        """Put one picture, uint8 [S, S], in its row.

        Written with the system call and not through a memory map, so that a full disk is an error and no crash.
        """
        os.pwrite(self._descriptor, pixels.tobytes(), self._first_row + row * self._row_bytes)
        self.records[row] = record

    def drop_changed(self, stamps: dict[int, tuple[int, int]]) -> None:
        """Open rows again whose source is another by now, or whose pixels are not what their record says.

        Parameters
        ----------
        stamps
            Size in bytes and modification time in ns of each row's source file, by row.
        """
        for row in np.flatnonzero(self.records["done"]):
            record = self.records[row]
            same = stamps.get(int(row)) == (record["source_bytes"], record["source_mtime_ns"])
            if not same or zlib.crc32(self._read(int(row))) != record["pixels_crc32"]:
                self.records[row]["done"] = 0

    def open_rows(self) -> list[int]:
        """Return the rows that have no pixels yet."""
        return [int(row) for row in np.flatnonzero(self.records["done"] == 0)]

    def finish(self, unreadable: dict[str, str]) -> None:
        """Make it the finished cache, replacing an earlier one; the manifest comes last."""
        os.fsync(self._descriptor)
        records = np.array(self.records)
        (self.folder / MANIFEST_FILE).unlink(missing_ok=True)
        write_index(CacheIndex(self.names, records, unreadable), self.folder / INDEX_FILE)
        (self.folder / PARTIAL_PIXELS_FILE).replace(self.folder / PIXELS_FILE)
        sizes, counts = np.unique(records[["width_px", "height_px"]][records["done"] == 1], return_counts=True)
        manifest = {
            **self.settings,
            "data": self.data,
            "pictures": len(self.names),
            "unreadable": len(unreadable),
            "source_bytes": int(records["source_bytes"].sum()),
            "source_sizes_px": {f"{w}x{h}": int(n) for (w, h), n in zip(sizes, counts, strict=True)},
            "pixels_sha256": file_sha256(self.folder / PIXELS_FILE),
            "index_sha256": file_sha256(self.folder / INDEX_FILE),
        }
        write_json(manifest, self.folder / MANIFEST_FILE)
        for file in (PARTIAL_RECORDS_FILE, PARTIAL_PLAN_FILE):
            (self.folder / file).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files; what is done stays done."""
        self.records.flush()
        os.close(self._descriptor)

    def _read(self, row: int) -> bytes:
        return os.pread(self._descriptor, self._row_bytes, self._first_row + row * self._row_bytes)

    def _planned_names(self) -> list[str]:
        plan = read_json(self.folder / PARTIAL_PLAN_FILE) or {}
        names: list[str] = plan.get("names", [])
        return names

    def _start(self) -> None:
        """Lay out empty files; the plan comes last, so that only whole ones are continued."""
        discard_unfinished(self.folder)
        pixels, records = self.folder / PARTIAL_PIXELS_FILE, self.folder / PARTIAL_RECORDS_FILE
        try:
            shape = (len(self.names), self.size_px, self.size_px)
            np.lib.format.open_memmap(pixels, mode="w+", dtype=np.uint8, shape=shape)
            _take_room(pixels)
            with records.open("wb") as stream:
                np.save(stream, np.zeros(len(self.names), RECORD))
                stream.flush()
                os.fsync(stream.fileno())
            write_json(
                {"settings": self.settings, "data": self.data, "names": self.names}, self.folder / PARTIAL_PLAN_FILE
            )
        except OSError:
            discard_unfinished(self.folder)
            raise


def unfinished_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the unfinished cache in a folder, None where there is none."""
    finished, partial = folder / PIXELS_FILE, folder / PARTIAL_PIXELS_FILE
    plan = read_json(folder / PARTIAL_PLAN_FILE)
    if plan is not None and not partial.exists() and finished.exists() and not (folder / MANIFEST_FILE).exists():
        finished.replace(partial)  # killed between the two last steps of finishing
    if plan is None or not _are_whole(folder, plan):
        return None
    settings: dict[str, Any] = plan["settings"]
    return settings


def _are_whole(folder: Path, plan: dict[str, Any]) -> bool:
    """Whether pixels and records are there as they were laid out; a power cut may leave a file empty or short."""
    count, size_px = len(plan["names"]), int(plan["settings"]["size_px"])
    try:
        pixels = np.load(folder / PARTIAL_PIXELS_FILE, mmap_mode="r")
        records = np.load(folder / PARTIAL_RECORDS_FILE, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    expected = ((np.uint8, (count, size_px, size_px)), (RECORD, (count,)))
    return all((found.dtype, found.shape) == one for found, one in zip((pixels, records), expected, strict=True))


def unfinished_plan(folder: Path) -> dict[str, Any] | None:
    """Return the settings, data folder and names of the unfinished cache in a folder, None where there is none."""
    return None if unfinished_settings(folder) is None else read_json(folder / PARTIAL_PLAN_FILE)


def unfinished_rows(folder: Path) -> tuple[tuple[str, ...], Records]:
    """Return the pictures that an unfinished cache has read and what is known of their files."""
    plan = unfinished_plan(folder)
    if plan is None:
        return (), np.zeros(0, RECORD)
    names = plan["names"]
    records = np.load(folder / PARTIAL_RECORDS_FILE)
    done = np.flatnonzero(records["done"])
    return tuple(names[row] for row in done), records[done]


def discard_unfinished(folder: Path) -> None:
    """Remove what an unfinished build left, and nothing of a finished cache."""
    for file in (PARTIAL_PLAN_FILE, PARTIAL_RECORDS_FILE, PARTIAL_PIXELS_FILE):
        (folder / file).unlink(missing_ok=True)


@contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; another one that wants to build there says so and waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("%s: another process builds this picture cache; waiting until it ends", folder)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _take_room(path: Path) -> None:
    """Have the file's room set aside and its head on disk, so that a disk too small is known before the work."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
