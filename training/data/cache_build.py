"""Building the picture cache: side by side, resumable, and never in silence with other settings than asked for."""

from __future__ import annotations

import errno
import shutil
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preprocess import INPUT_SIZE_PX, resize_uint8
from training.data.cache import CacheError, PictureCache, ReportProgress, open_cache
from training.data.cache_index import (
    INDEX_FILE,
    MANIFEST_FILE,
    RECORD,
    Records,
    cache_settings,
    differences,
    read_json,
)
from training.data.picture_check import record_of
from training.data.pictures import UnreadablePictureError, is_dicom, read_picture
from training.data.radiographs import LabelledRadiographs, LayoutError
from training.data.reading_pool import ReaderEndedError, ReadingPool
from training.data.unfinished_cache import (
    UnfinishedCache,
    discard_unfinished,
    only_builder,
    unfinished_plan,
    unfinished_rows,
    unfinished_settings,
)

_BLOCK_BYTES = 64 << 20
"""Pixels decoded before the next pictures are handed out; bounds what waits in memory."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SETTINGS_KEYS = ("format", "size_px", "preprocessing", "resize_filter", "pillow", "pydicom", "imagecodecs")

Job = tuple[str, int]
"""Path, or empty where there is no file, and side in px."""
Stamps = dict[int, tuple[int, int]]
"""Size in bytes and modification time in ns of the source file of each row that has one."""
Reading = tuple[NDArray[np.uint8], Records] | str
"""uint8 [S, S] and its record, or why there is none."""


def build_cache(
    radiographs: LabelledRadiographs,
    folder: Path,
    report: ReportProgress,
    size_px: int = INPUT_SIZE_PX,
    *,
    rebuild: bool = False,
    processes: int | None = None,
) -> PictureCache:
    """Return the cache of every listed picture: the one that is there where it fits, else built or continued.

    A cache fits when it was made with the same settings, holds every listed picture and no source file changed since.
    Changed and added pictures are read anew, the others taken over. A cache of another folder, most of whose pictures
    are other files than the listed ones, is another data set's, also where the names are alike, as phantoms' and the
    NIH's are.

    Parameters
    ----------
    size_px
        Side of every cached picture.
    rebuild
        Replace a cache that was made with other settings; without it such a cache is named and the call refused.
    processes
        That decode; None: one for each core.

    Raises
    ------
    CacheError
        The cache there was made with other settings or of other pictures, the disk is full, or a decoding process died.
        What was read stays: the same call continues.
    LayoutError
        None of the pictures can be read.
    """
    names = radiographs.listed
    settings = cache_settings(size_px, dicom=any(is_dicom(path) for path in radiographs.paths.values()))
    stamps = _stamps(radiographs, names)
    with _explained(folder, len(names) * size_px**2):
        if not rebuild and _fits(folder, settings, names, stamps):  # a finished cache may lie where nobody may write
            report(len(names), len(names))
            return open_cache(folder)
        with only_builder(folder):
            if rebuild:
                _remove(folder)
            if not _fits(folder, settings, names, stamps):  # another process may have built it meanwhile
                _refuse_other_settings(folder, settings)
                _refuse_other_pictures(folder, radiographs, stamps)
                _build(radiographs, folder, settings, stamps, report, processes)
    return open_cache(folder)


def _build(
    radiographs: LabelledRadiographs,
    folder: Path,
    settings: dict[str, Any],
    stamps: Stamps,
    report: ReportProgress,
    processes: int | None,
) -> None:
    with closing(UnfinishedCache(folder, settings, radiographs.listed, radiographs.root)) as unfinished:
        _take_over(folder, unfinished)
        unfinished.drop_changed(stamps)
        unreadable = _fill(unfinished, radiographs, stamps, report, processes)
        if len(unreadable) == len(unfinished.names):
            discard_unfinished(folder)
            name, reason = next(iter(unreadable.items()))
            raise LayoutError(f"{radiographs.root}: no listed picture can be read, e.g. {name}: {reason}")
        unfinished.finish(unreadable)


@contextmanager
def _explained(folder: Path, wanted_bytes: int) -> Iterator[None]:
    """Turn what the system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise CacheError(f"{error.filename or folder}: {error.strerror or error}") from error
        room = shutil.disk_usage(folder).free if folder.exists() else 0
        raise CacheError(
            f"{folder}: the disk is full; the pictures take {wanted_bytes / 1e6:.1f} MB, {room / 1e6:.1f} MB are free. "
            "Make room, or name another folder with --cache, and run the same command again: it continues"
        ) from error
    except ReaderEndedError as error:
        raise CacheError(f"{folder}: {error}, it continues, with fewer --readers if it happens again") from error


def _refuse_other_settings(folder: Path, settings: dict[str, Any]) -> None:
    for found, state in (
        (_finished_settings(folder), "holds a cache"),
        (unfinished_settings(folder), "holds an unfinished cache"),
    ):
        if found is not None and (other := differences(found, settings)):
            raise CacheError(
                f"{folder} {state} made with other settings ({other}); name another folder with --cache, or replace it "
                "with --rebuild-cache"
            )


def _refuse_other_pictures(folder: Path, radiographs: LabelledRadiographs, stamps: Stamps) -> None:
    """Refuse to replace another folder's cache, finished or not, of which less than half would be taken over."""
    listed = {name: stamps.get(row, (0, 0)) for row, name in enumerate(radiographs.listed)}
    for plan, (held, records), state in (
        (read_json(folder / MANIFEST_FILE), _finished_rows(folder), "holds"),
        (unfinished_plan(folder), unfinished_rows(folder), "has begun"),
    ):
        if plan is None or plan.get("data") == str(radiographs.root.resolve()):
            continue  # another part of the same data set
        files = records[["source_bytes", "source_mtime_ns"]].tolist()
        kept = sum(listed.get(name) == file for name, file in zip(held, files, strict=True))
        if 2 * kept < len(held):
            raise CacheError(
                f"{folder} {state} a cache of other pictures: {kept:,} of its {len(held):,} are files of this data "
                "set; name another folder with --cache, or replace it with --rebuild-cache"
            )


def _finished_rows(folder: Path) -> tuple[tuple[str, ...], Records]:
    """Return the pictures of a finished cache and what is known of their files; none where there is no cache."""
    if read_json(folder / MANIFEST_FILE) is None:
        return (), np.zeros(0, RECORD)
    index = open_cache(folder).index
    return tuple(index.names), index.records


def _finished_settings(folder: Path) -> dict[str, Any] | None:
    manifest = read_json(folder / MANIFEST_FILE)
    return None if manifest is None else {key: manifest[key] for key in _SETTINGS_KEYS if key in manifest}


def _remove(folder: Path) -> None:
    for file in (MANIFEST_FILE, INDEX_FILE):
        (folder / file).unlink(missing_ok=True)
    discard_unfinished(folder)


def _stamps(radiographs: LabelledRadiographs, names: tuple[str, ...]) -> Stamps:
    """Return size and modification time of each row's source file; rows without a file have none."""
    stamps = {}
    for row, name in enumerate(names):
        path = radiographs.paths.get(name)
        if path is not None and path.exists():
            facts = path.stat()
            stamps[row] = (facts.st_size, facts.st_mtime_ns)
    return stamps


def _fits(folder: Path, settings: dict[str, Any], names: tuple[str, ...], stamps: Stamps) -> bool:
    """Whether there is a finished cache that holds all these pictures as their files are now."""
    if _finished_settings(folder) != settings:
        return False
    index = open_cache(folder).index
    rows = {name: row for row, name in enumerate(index.names)}
    if not set(names) <= set(rows):
        return False
    kept = index.records[[rows[name] for name in names]]
    wanted = np.array([stamps.get(row, (0, 0)) for row in range(len(names))], dtype=np.int64).reshape(-1, 2)
    return bool((kept["source_bytes"] == wanted[:, 0]).all() and (kept["source_mtime_ns"] == wanted[:, 1]).all())


def _take_over(folder: Path, unfinished: UnfinishedCache) -> None:
    """Copy what a finished cache of the same settings has already."""
    if read_json(folder / MANIFEST_FILE) is None:
        return
    cache = open_cache(folder)
    for row in unfinished.open_rows():
        old = cache.rows.get(unfinished.names[row])
        if old is not None:
            unfinished.write(row, cache.pixels[old], cache.index.records[old])


def _fill(
    unfinished: UnfinishedCache,
    radiographs: LabelledRadiographs,
    stamps: Stamps,
    report: ReportProgress,
    processes: int | None,
) -> dict[str, str]:
    """Read every open row; return the pictures that could not be read, and why."""
    rows, names, size_px = unfinished.open_rows(), unfinished.names, unfinished.size_px
    done = len(names) - len(rows)
    report(done, len(names))
    unreadable: dict[str, str] = {}
    block = max(1, _BLOCK_BYTES // size_px**2)
    with ReadingPool(read_for_cache, len(rows), processes) as pool:
        for start in range(0, len(rows), block):
            chosen = rows[start : start + block]
            jobs = [(str(radiographs.paths.get(names[row], "")), size_px) for row in chosen]
            for row, reading in zip(chosen, pool.each(jobs), strict=True):
                source_bytes, source_mtime_ns = stamps.get(row, (0, 0))
                if isinstance(reading, str):
                    unreadable[names[row]] = reading
                    unfinished.records[row]["source_bytes"] = source_bytes
                    unfinished.records[row]["source_mtime_ns"] = source_mtime_ns
                else:
                    pixels, record = reading
                    record["source_mtime_ns"] = source_mtime_ns
                    unfinished.write(row, pixels, record)
                done += 1
                report(done, len(names))
    return unreadable


def read_for_cache(job: Job) -> Reading:
    """Decode and squash one picture; the work of one process of the pool."""
    path, size_px = job
    if not path:
        return "the file is missing"
    try:
        picture = read_picture(Path(path))
    except UnreadablePictureError as error:
        return str(error)
    pixels = resize_uint8(picture.pixels, size_px)
    return pixels, record_of(picture, zlib.crc32(pixels.data))
