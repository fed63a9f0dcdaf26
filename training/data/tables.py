"""CSV tables as they come: plain or gzipped, with or without a byte order mark, columns found by name."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from training.data.radiographs import LayoutError

_SHOWN = 160
"""Letters of a wrong header that are told: a file that is no table may be one line."""


def plain_or_gzipped(path: Path) -> Path | None:
    """Return the file, or the one with ``.gz`` behind its name, or None where there is neither."""
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and stripped cells of every line that is not empty, the header included.

    Raises
    ------
    LayoutError
        As ``file_text``, or the file is no table.
    FileNotFoundError
    """
    reader = csv.reader(StringIO(file_text(path), newline=""))
    try:
        for row in reader:
            if row:
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise _unreadable(path, error) from error


def file_text(path: Path) -> str:
    """Return what a plain or gzipped text file says, without its byte order mark.

    Raises
    ------
    LayoutError
        It cannot be opened, is not in UTF-8, or its compression is broken.
    FileNotFoundError
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    except FileNotFoundError:
        raise  # whoever asks knows which file should be there
    except OSError as error:
        why = error.strerror or error
        raise LayoutError(f"{path}: cannot be read ({why}); it must be a file you may read") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        marked = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
        raise LayoutError(
            f"{path}: not text in UTF-8, from byte {error.start + marked + 1} on; save it in UTF-8 (spreadsheets call "
            "that CSV UTF-8), or take the file from its source again"
        ) from error


def _unreadable(path: Path, error: Exception) -> LayoutError:
    return LayoutError(f"{path}: cannot be read as a table ({error}); take the file from its source again")


def column_places(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    """Return where the columns stand.

    Raises
    ------
    LayoutError
        One is absent.
    """
    absent = [column for column in columns if column not in header]
    if absent:
        found = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(header[:8])[:_SHOWN])
        raise LayoutError(f"{path}: no column {absent[0]!r}; found {found or 'an empty file'}")
    return [header.index(column) for column in columns]
