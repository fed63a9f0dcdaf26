"""Features on disk: Parquet shards of a fixed number of pictures, and the manifest that vouches for them.

A shard is written whole or not at all; the settings it was made with stand in its schema. ``manifest.json`` comes last
and holds the sha256 of every shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.labels import LABELS
from training.data.cache import file_sha256
from training.data.cache_index import read_json, write_whole
from training.heads.errors import HeadError

NOTICE = "Not a medical device. Not for diagnostic use."
MANIFEST = "manifest.json"
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One picture before its features are known."""

    image_index: str
    patient_id: str
    part: str
    flipped: bool
    """Mirrored left to right on its way to the network."""
    age_years: int | None
    sex: str
    targets: tuple[int, ...]
    """0 or 1 in the order of ``LABELS``."""


@dataclass(frozen=True)
class FeatureTable:
    """Rows with their features, in the order of the shards."""

    image_index: NDArray[np.str_]
    patient_id: NDArray[np.str_]
    part: NDArray[np.str_]
    age_years: NDArray[np.float32]
    """NaN where unknown."""
    sex: NDArray[np.str_]
    targets: NDArray[np.float32]
    """float32 [N, 14] of 0 and 1."""
    features: NDArray[np.float32]
    """float32 [N, F]."""


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return folder / f"shard-{number:05d}.parquet"


def write_shard(path: Path, rows: list[FeatureRow], features: NDArray[np.float32], facts: dict[str, str]) -> None:
    """Write one shard whole or not at all.

    Parameters
    ----------
    rows, features
        The pictures and their float32 [len(rows), F].
    facts
        What the schema says beside the columns: sha256 of the settings, the mark of the split.

    Raises
    ------
    OSError
        The disk is full or the folder is not writable.
    """
    columns = {
        "image_index": pa.array([row.image_index for row in rows], pa.string()),
        "patient_id": pa.array([row.patient_id for row in rows], pa.string()),
        "part": pa.array([row.part for row in rows], pa.string()),
        "flipped": pa.array([row.flipped for row in rows], pa.bool_()),
        "age_years": pa.array([row.age_years for row in rows], pa.int16()),
        "sex": pa.array([row.sex for row in rows], pa.string()),
        "targets": _fixed_lists(np.array([row.targets for row in rows], np.uint8).reshape(-1, len(LABELS))),
        "features": _fixed_lists(features),
    }
    table = pa.table(columns).replace_schema_metadata({**facts, "notice": NOTICE})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(sink.getvalue().to_pybytes(), path)


def shard_facts(path: Path) -> dict[str, str] | None:
    """Return what the schema of a shard says, with its number of ``rows``; None where there is no readable shard."""
    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid):
        return None
    facts = {key.decode(): text.decode() for key, text in (footer.metadata or {}).items()}
    return {**facts, "rows": str(footer.num_rows)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of finished features.

    Raises
    ------
    HeadError
        There is none.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest is not None:
        return manifest
    if (folder / SETTINGS).exists():
        raise HeadError(f"{folder}: the features are not finished; run the same `python -m training features` again")
    raise HeadError(f"{folder}: no features; make them with `python -m training features`")


def read_features(folder: Path) -> FeatureTable:
    """Read every shard of finished features into memory, 4 * F bytes a picture.

    Raises
    ------
    HeadError
        The features are not finished, or a shard is missing or altered.
    """
    tables = []
    for shard in read_manifest(folder)["shards"]:
        path = folder / shard["file"]
        if not path.exists() or file_sha256(path) != shard["sha256"]:
            raise HeadError(f"{path} is missing or altered; run the same `python -m training features` again")
        tables.append(pq.read_table(path))
    table = pa.concat_tables(tables)
    return FeatureTable(
        image_index=_texts(table["image_index"]),
        patient_id=_texts(table["patient_id"]),
        part=_texts(table["part"]),
        age_years=table["age_years"].cast(pa.float32()).to_numpy(),
        sex=_texts(table["sex"]),
        targets=_matrix(table["targets"]).astype(np.float32),
        features=_matrix(table["features"]),
    )


def _texts(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_pylist(), dtype=np.str_)


def _fixed_lists(values: NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    width = column.type.list_size
    return np.concatenate([chunk.flatten().to_numpy().reshape(-1, width) for chunk in column.chunks])
