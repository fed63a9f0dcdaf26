"""A lock that says who holds it, and that a disk without a byte left does not keep anybody from."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.foundation.errors import AlreadyRunning
from worker.rows.service_lock import sole_process


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own without room for a byte."""
    folder = tmp_path / "data"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError) as refused:
            while True:
                file.write(bytes(1 << 12))
        assert refused.value.errno == errno.ENOSPC
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_process_that_starts_on_a_full_disk_holds_its_lock(full_disk: Path) -> None:
    """What it does may be what makes room, and the listener says "send again later" where it would be gone."""
    held = sole_process("listener", full_disk, (104,))
    again = sole_process("listener", full_disk, (104,))
    with held, pytest.raises(AlreadyRunning, match="process not known"), again:
        pass
    with sole_process("listener", full_disk, (104,)):
        pass  # it has let go
