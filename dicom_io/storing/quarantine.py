"""Refused objects, kept for an engineer to look at, as many as fit: nobody can fill the disk with them."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from os import stat_result
from pathlib import Path

LIMIT_BYTES = 1_000_000_000
"""Beyond this the oldest go."""
KEPT = 0.9
"""The share that is left then, so that the folder is not looked through for each object."""
COST_BYTES = 8192
"""Counted for an object beside its own bytes: two names, and two blocks that are not full."""


class Quarantine:
    """A folder of refused objects, named by their age, each with a ``.txt`` beside it that says why.

    Parameters
    ----------
    folder
        Made with the first object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bytes: int | None = None
        """Of all objects; None = nobody has looked yet."""
        self._lock = threading.Lock()

    def keep(self, pieces: Iterable[bytes | memoryview], reason: str) -> Path:
        """Keep an object and return its file; not fsynced, for its sender was told that it was refused.

        Parameters
        ----------
        reason
            One line that names no patient.

        Raises
        ------
        OSError
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        now_ns = time.time_ns()  # names sort by age, which trimming needs
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_ns // 10**9))
        path = self.folder / f"{stamp}.{now_ns % 10**9:09d}Z-{uuid.uuid4().hex[:8]}.bin"
        with path.open("wb") as file:
            file.writelines(pieces)
        path.with_suffix(".txt").write_text(reason + "\n")
        self._count(path.stat().st_size)
        return path

    def _count(self, added_bytes: int) -> None:
        with self._lock:
            if self._bytes is not None:
                self._bytes += added_bytes + COST_BYTES
            if self._bytes is None or self._bytes > LIMIT_BYTES:
                self._bytes = self._trim()

    def _trim(self) -> int:
        """Delete the oldest objects where there are too many; return the bytes of what is left."""
        files = still_there(sorted(self.folder.glob("*.bin")))
        sizes = [(path, seen.st_size + COST_BYTES) for path, seen in files]
        total_bytes = sum(size for _path, size in sizes)
        if total_bytes <= LIMIT_BYTES:
            return total_bytes
        for path, size in sizes[:-1]:
            if total_bytes <= KEPT * LIMIT_BYTES:
                break
            total_bytes -= size
            path.unlink(missing_ok=True)
            path.with_suffix(".txt").unlink(missing_ok=True)
        return total_bytes


def still_there(paths: Iterable[Path]) -> Iterator[tuple[Path, stat_result]]:
    """Yield each of these files with what the file system says of it; other listeners take theirs away meanwhile."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()
