"""CSV tables as they come: plain or gzipped, with or without a byte order mark, columns found by name."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.radiographs import LayoutError


def plain_or_gzipped(path: Path) -> Path | None:
    """Return the file, or the one with ``.gz`` behind its name, or None where there is neither."""
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and stripped cells of every line that is not empty, the header included.

    Raises
    ------
    LayoutError
        The file is not text, or its compression is broken.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise LayoutError(
            f"{path}: cannot be read as a table ({error}); take the file from its source again"
        ) from error


def column_places(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    """Return where the columns stand.

    Raises
    ------
    LayoutError
        One is absent.
    """
    absent = [column for column in columns if column not in header]
    if absent:
        raise LayoutError(f"{path}: no column {absent[0]!r}; found {', '.join(header[:8]) or 'an empty file'}")
    return [header.index(column) for column in columns]
