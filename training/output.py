"""Folders that results are written into: one training run at a time, and a refusal of the system in one sentence."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUN_LOCK_FILE = "run.lock"


class OutputError(Exception):
    """Results cannot be written; the message names the place and what to do."""


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make the folder, and turn what the system refuses inside the block into one sentence.

    Raises
    ------
    OutputError
        The disk is full, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        what = error.strerror or error
        raise OutputError(
            f"{folder}: results cannot be written ({what}); make room and run the same command again, or name another "
            "folder"
        ) from error


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a training run's folder for this process; the lock goes with the process, however it ends.

    Raises
    ------
    OutputError
        Another run is at work there, or the folder cannot be written to.
    """
    with writing_to(folder):
        lock = (folder / RUN_LOCK_FILE).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{folder}: another training run is at work in this folder; wait until it ends, or give another --out"
            ) from error
        yield
