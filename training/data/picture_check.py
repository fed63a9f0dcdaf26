"""Decoding every picture without keeping it: which files are damaged, in colour, blank or of another size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.cache import ReportProgress
from training.data.cache_index import RECORD, CacheIndex, Records
from training.data.pictures import SourcePicture, UnreadablePictureError, read_picture
from training.data.radiographs import LabelledRadiographs
from training.data.reading_pool import ReadingPool


def check_pictures(
    radiographs: LabelledRadiographs, report: ReportProgress, processes: int | None = None
) -> CacheIndex:
    """Decode every listed picture that has a file and return what is known of each; as long as building a cache.

    Parameters
    ----------
    processes
        That decode; None: one for each core.

    Raises
    ------
    ReaderEndedError
        One of them was killed.
    """
    names = tuple(name for name in radiographs.listed if name in radiographs.paths)
    records, unreadable = np.zeros(len(names), RECORD), {}
    jobs = [str(radiographs.paths[name]) for name in names]
    report(0, len(names))
    with ReadingPool(check_picture, len(jobs), processes) as pool:
        for row, reading in enumerate(pool.each(jobs)):
            if isinstance(reading, str):
                unreadable[names[row]] = reading
            else:
                records[row] = reading
            report(row + 1, len(names))
    return CacheIndex(names, records, unreadable)


def check_picture(path: str) -> Records | str:
    """Return the record of one picture, or why it cannot be read; the work of one process of the pool."""
    try:
        return record_of(read_picture(Path(path)))
    except UnreadablePictureError as error:
        return str(error)


def record_of(picture: SourcePicture, pixels_crc32: int = 0) -> Records:
    """Return ``RECORD`` of a decoded picture; the modification time is not known here."""
    record = np.zeros((), RECORD)
    height_px, width_px = picture.pixels.shape
    facts = (1, picture.channels, picture.coloured, picture.blank, height_px, width_px)
    record[()] = (*facts, picture.source_bytes, 0, picture.source_crc32, pixels_crc32)
    return record
