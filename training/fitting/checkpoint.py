"""Checkpoints: tensors and plain values in one file, written whole or not at all, read with ``weights_only``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint cannot be continued; the message says why and what to do."""


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write the values beside the file, flush them to disk and take the file's place in one step.

    Raises
    ------
    OSError
        The disk is full or the folder is not writable; an earlier checkpoint stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        torch.save(values, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the values of a checkpoint, or None where there is none.

    Parameters
    ----------
    fingerprint
        Hash of recipe, data and number of processes; a checkpoint of another run is refused.

    Raises
    ------
    CheckpointError
        The checkpoint belongs to another run.
    """
    if not path.exists():
        return None
    values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if values["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"{path} was made with another recipe, data set or number of processes; "
            "delete that file to start over, or give another --out"
        )
    return values
