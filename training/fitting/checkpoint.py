"""Checkpoints: tensors and plain values in one file, written whole or not at all, read with ``weights_only``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import DAMAGED

FORMAT = 2
"""Which values a checkpoint holds; a run is continued by the release that began it, or one that writes the same."""


class CheckpointError(Exception):
    """A checkpoint cannot be continued; the message says why and what to do."""


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write the values beside the file, flush them to disk and take the file's place in one step.

    Raises
    ------
    CheckpointError
        The disk is full or the folder is not writable; an earlier checkpoint stays as it was.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            torch.save(values | {"format": FORMAT}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError is torch's word for a write that failed
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        kept = "the one before it is whole" if path.exists() else "there was none before it"
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written ({_reason(error)}); {kept}. Make room and run the same command "
            "again: it continues"
        ) from error


def _reason(error: BaseException) -> str:
    """Return what the operating system said, which torch hides behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return (cause.strerror if cause is not None else None) or str(error).splitlines()[0]


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the values of a checkpoint, or None where there is none.

    Parameters
    ----------
    fingerprint
        Hash of recipe, data and number of processes; a checkpoint of another run is refused.

    Raises
    ------
    CheckpointError
        The checkpoint is damaged, or belongs to another run or another release.
    """
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise CheckpointError(
            f"{path} is damaged and cannot be continued; delete that file to start over, or give another --out"
        ) from error
    if not isinstance(values, dict) or "fingerprint" not in values:
        raise CheckpointError(f"{path} is not a checkpoint of a training run; delete that file, or give another --out")
    if values.get("format") != FORMAT and not values.get("finished"):
        raise CheckpointError(f"{path} was written by another release; finish with that, or delete it to start over")
    if values["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"{path} was made with another recipe, data set or number of processes; "
            "delete that file to start over, or give another --out"
        )
    return values
