"""One process of a kind per data folder: a file lock that goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.foundation.errors import AlreadyRunning


@contextmanager
def sole_process(service: str, data_dir: Path) -> Iterator[None]:
    """Hold ``<data_dir>/<service>.lock`` while the block runs; the folder is made if missing.

    Raises
    ------
    AlreadyRunning
        Another living process holds it; the message names that process.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / f"{service}.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise AlreadyRunning(service, data_dir, lock.read().strip() or "process not known") from error
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield
