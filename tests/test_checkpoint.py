from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from training.fitting.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

VALUES = {"fingerprint": "a", "finished": False, "weights": torch.arange(100_000, dtype=torch.float32)}


@contextmanager
def _files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_and_the_checkpoint_before_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    save_checkpoint(path, VALUES)
    before = path.read_bytes()
    with _files_of_at_most(50_000), pytest.raises(CheckpointError, match=r"cannot be written .*whole.*continues"):
        save_checkpoint(path, VALUES | {"finished": True})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]
    loaded = load_checkpoint(path, "a")
    assert loaded is not None
    assert torch.equal(loaded["weights"], VALUES["weights"])


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing_half_written(tmp_path: Path) -> None:
    with _files_of_at_most(50_000), pytest.raises(CheckpointError, match="there was none before it"):
        save_checkpoint(tmp_path / "checkpoint.pt", VALUES)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_checkpoint_of_another_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"fingerprint": "a", "finished": False}, path)
    with pytest.raises(CheckpointError, match="another release"):
        load_checkpoint(path, "a")
