"""The two small files of a picture cache: what it was made with (``manifest.json``), each picture (``index.parquet``).

``manifest.json`` is written last: a cache without it is unfinished.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from model.preprocess import PREPROCESSING_ID

PIXELS_FILE, INDEX_FILE, MANIFEST_FILE = "pixels.npy", "index.parquet", "manifest.json"
FORMAT = 1
"""Raised whenever an older cache could no longer be read."""

RECORD = np.dtype(
    [
        ("done", "u1"),
        ("channels", "u1"),
        ("coloured", "u1"),
        ("blank", "u1"),
        ("height_px", "<u4"),
        ("width_px", "<u4"),
        ("source_bytes", "<u8"),
        ("source_mtime_ns", "<i8"),
        ("source_crc32", "<u4"),
        ("pixels_crc32", "<u4"),
    ]
)
"""What is kept of each picture. ``done`` is 1 when its pixels are in the cache; ``channels`` as in ``SourcePicture``;
size and crc32 of the source file and of the cached row tell a changed file and a damaged cache."""

Records = NDArray[np.void]
"""``RECORD`` [N]."""


@dataclass(frozen=True)
class CacheIndex:
    """Which picture is in which row."""

    names: tuple[str, ...]
    records: Records
    unreadable: dict[str, str]
    """Pictures without usable pixels, and why; their rows are black."""


def cache_settings(size_px: int, *, dicom: bool) -> dict[str, Any]:
    """Return everything that pixels depend on besides their source."""
    versions = {"pillow": PIL.__version__}
    if dicom:
        import imagecodecs  # a second to load, and PNG needs neither
        import pydicom

        versions |= {"pydicom": pydicom.__version__, "imagecodecs": imagecodecs.__version__}
    return {
        "format": FORMAT,
        "size_px": size_px,
        "preprocessing": PREPROCESSING_ID,
        "resize_filter": "Pillow BILINEAR, antialiased, whole picture squashed to the square",
        **versions,
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say in which settings a cache differs from the wanted one; empty when it does not."""
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    return ", ".join(f"{key} {found.get(key)} where {wanted.get(key)} is wanted" for key in keys)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a file's values, None where it is not there or is no JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write a file whole or not at all."""
    write_whole(json.dumps(values, indent=1, ensure_ascii=False).encode(), path)


def write_index(index: CacheIndex, path: Path) -> None:
    """Write names, records and reasons as Parquet, whole or not at all."""
    columns: dict[str, Any] = {"name": list(index.names)}
    columns |= {field: index.records[field] for field in RECORD.names or () if field != "done"}
    columns["unreadable"] = [index.unreadable.get(name) for name in index.names]
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    write_whole(sink.getvalue().to_pybytes(), path)


def read_index(path: Path) -> CacheIndex:
    """Read what ``write_index`` wrote.

    Raises
    ------
    OSError, pyarrow.ArrowInvalid, KeyError
        The file is missing or damaged.
    """
    table = pyarrow.parquet.read_table(path)
    names = tuple(table["name"].to_pylist())
    reasons = table["unreadable"].to_pylist()
    unreadable = {name: reason for name, reason in zip(names, reasons, strict=True) if reason is not None}
    records = np.zeros(len(names), RECORD)
    for field in RECORD.names or ():
        records[field] = 1 if field == "done" else table[field].to_numpy()
    records["done"][[reason is not None for reason in reasons]] = 0
    return CacheIndex(names, records, unreadable)


def write_whole(content: bytes, path: Path) -> None:
    """Write a file beside its name, sync it and rename it; of two processes that write it the later one's stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
