"""Folders that results are written into: one training run at a time, and a refusal of the system in one sentence."""

from __future__ import annotations

import errno
import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.bundle_writing import require_replaceable

RUN_LOCK_FILE = "run.lock"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room."""


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
        remedy = "make room and run the same command again, or name another folder"
        if error.errno not in FULL:
            remedy = "name a folder that you may write to and run the same command again"
        raise OutputError(f"{folder}: results cannot be written ({error.strerror or error}); {remedy}") from error


def require_place(folder: Path) -> None:
    """Refuse a folder that a bundle could not be put into, before the work that makes the bundle.

    Raises
    ------
    BundleError
        Something that is no bundle is there already.
    OutputError
        Nothing can be written beside it.
    """
    require_replaceable(folder)
    with writing_to(folder.parent), tempfile.TemporaryDirectory(dir=folder.parent):
        pass


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, a head or drawings for this process; the lock goes with the process, however it ends.

    Raises
    ------
    OutputError
        Another command is at work there, or the folder cannot be written to.
    """
    with writing_to(folder):
        lock = (folder / RUN_LOCK_FILE).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{folder}: another training run is at work in this folder; wait until it ends, or name another folder"
            ) from error
        yield
