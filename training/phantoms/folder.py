"""The folder of a drawn data set: ChestX-ray14's tables, written so that an interruption leaves no data set at all.

The table of labels makes a folder a data set, so it is written last and whole: whatever says that pictures are drawings
is on disk before it, and a folder without it is begun anew by the same command.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from training.data.cache_index import write_whole
from training.data.chestxray14 import BOX_LIST, ENTRY_FILES, TEST_LIST, TRAIN_VAL_LIST
from training.output import FULL, only_run

DATA_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox x,Bbox y,Bbox w,Bbox h"

BoxRow = tuple[str, str, float, float, float, float]
"""Picture, finding, and x, y, width and height in px of the 1024 px frame."""


class PhantomDatasetError(Exception):
    """The data set cannot be written as asked; the message says what to change."""


def require_no_data_set(folder: Path) -> None:
    """Refuse a folder that holds a data set already.

    Raises
    ------
    PhantomDatasetError
    """
    if any((folder / name).exists() for name in ENTRY_FILES.values()):
        raise PhantomDatasetError(f"{folder} already holds a data set: choose an empty folder")


@contextmanager
def drawing_into(folder: Path) -> Iterator[None]:
    """Make the folder for pictures, hold it, and turn what the system refuses inside the block into one sentence.

    Raises
    ------
    PhantomDatasetError
        The disk is full, or the folder cannot be written to; the same command begins anew.
    OutputError
        Another process draws into the folder.
    """
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with only_run(folder):  # two with other seeds would put the labels of one beside the pictures of the other
            yield
    except OSError as error:
        remedy = "make room" if error.errno in FULL else "name another folder"
        raise PhantomDatasetError(
            f"{error.filename or folder}: the data set cannot be written ({error.strerror or error}); {remedy} and run "
            "the same command again"
        ) from error


def write_tables(
    folder: Path,
    entry_file: str,
    entries: Iterable[Sequence[object]],
    boxes: Iterable[BoxRow],
    train_val: Iterable[str],
    test: Iterable[str],
) -> None:
    """Write the four files of the download, the table of labels last.

    Parameters
    ----------
    entry_file
        Name of the table of labels.
    entries
        Its eleven columns.
    train_val, test
        Names of pictures.
    """
    for file, names in ((TRAIN_VAL_LIST, train_val), (TEST_LIST, test)):
        write_whole("".join(f"{name}\n" for name in names).encode(), folder / file)
    rows = ([name, label, *(f"{side:.3f}" for side in sides)] for name, label, *sides in boxes)
    write_whole(_table(BOX_HEADER, rows), folder / BOX_LIST)
    write_whole(_table(DATA_ENTRY_HEADER, entries), folder / entry_file)


def _table(header: str, rows: Iterable[Sequence[object]]) -> bytes:
    stream = StringIO(newline="")
    stream.write(header + "\n")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()
