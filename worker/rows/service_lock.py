"""One process of a kind per data folder, or per place that shares it: a file lock that goes with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from worker.foundation.errors import AlreadyRunning


@contextmanager
def sole_process(service: str, data_dir: Path, ports: Sequence[int] = ()) -> Iterator[None]:
    """Hold ``<data_dir>/<service>.lock`` while the block runs; the folder is made if missing.

    Parameters
    ----------
    ports
        Where the service listens: those on other ports, or on other hosts, may run on the same data folder; one that
        is given no ports runs beside none of them.

    Raises
    ------
    AlreadyRunning
        Another living process holds it; the message names that process.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        whole = held.enter_context((data_dir / f"{service}.lock").open("a+", encoding="utf-8"))
        _lock(whole, fcntl.LOCK_SH if ports else fcntl.LOCK_EX, service, data_dir)
        if ports:
            place = "-".join([socket.gethostname(), *map(str, ports)])
            own = held.enter_context((data_dir / f"{service}@{place}.lock").open("a+", encoding="utf-8"))
            _lock(own, fcntl.LOCK_EX, service, data_dir)
            _name_holder(own)
        _name_holder(whole)
        yield


def _lock(lock: TextIO, kind: int, service: str, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        raise AlreadyRunning(service, data_dir, lock.read().strip() or "process not known") from error


def _name_holder(lock: TextIO) -> None:
    """Write who holds it; of several, the last to come. On a full disk nobody is named, and the lock holds as well."""
    try:
        lock.truncate(0)
        os.write(lock.fileno(), f"pid {os.getpid()} on {socket.gethostname()}".encode())  # past the buffer: once
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
