from __future__ import annotations

from pathlib import Path

import pytest
import torch
from file_limits import files_of_at_most

from training.fitting.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

VALUES = {"fingerprint": "a", "finished": False, "weights": torch.arange(100_000, dtype=torch.float32)}


def test_a_full_disk_is_named_and_the_checkpoint_before_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.pt"
    save_checkpoint(path, VALUES)
    before = path.read_bytes()
    with files_of_at_most(50_000), pytest.raises(CheckpointError, match=r"cannot be written .*whole.*continues"):
        save_checkpoint(path, VALUES | {"finished": True})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]
    loaded = load_checkpoint(path, "a")
    assert loaded is not None
    assert torch.equal(loaded["weights"], VALUES["weights"])


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing_half_written(tmp_path: Path) -> None:
    with files_of_at_most(50_000), pytest.raises(CheckpointError, match="there was none before it"):
        save_checkpoint(tmp_path / "checkpoint.pt", VALUES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"junk\n", b"PK\x03\x04 cut", b"\x80\x02}q\x00", b"\x80\x02K", None])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, VALUES)
    path.write_bytes(path.read_bytes()[:-5000] if content is None else content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged .*delete that file to start over"):
        load_checkpoint(path, "a")


@pytest.mark.parametrize("values", [[1, 2], {"finished": True}])
def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(tmp_path: Path, values: object) -> None:
    torch.save(values, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint of a training run"):
        load_checkpoint(tmp_path / "checkpoint.pt", "a")


def test_an_unfinished_checkpoint_of_another_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"fingerprint": "a", "finished": False}, path)
    with pytest.raises(CheckpointError, match="another release"):
        load_checkpoint(path, "a")
