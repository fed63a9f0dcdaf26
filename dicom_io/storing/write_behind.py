"""Has the kernel begin to write a file to disk while it still grows, so that little is left for the fsync at its end.

What is on disk is what `os.fsync` says, all the same. Measured with 10 MB objects on ext4: fsync took a third of the
time of receiving, and with `begin_writing` it overlaps with the network; with room reserved, writing takes a sixth less
of the processor. Python offers neither ``sync_file_range(2)`` nor all of ``fallocate(2)``; where they are missing (they
are Linux's own), or the file system has no such thing, nothing happens.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

STEP_BYTES = 1 << 20
"""Begun at a time: small steps would make many small writes of it."""
RESERVED_BYTES = 2 << 20
"""Room taken at a time for a file that is longer than a step."""
_SYNC_FILE_RANGE_WRITE, _SYNC_FILE_RANGE_ALL = 2, 7
_NO_SUCH_THING = (errno.EINVAL, errno.ENOSYS, errno.ESPIPE)
_FALLOC_FL_KEEP_SIZE = 1


def _found(name: str, *kinds: Any) -> Callable[..., int] | None:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    function.argtypes = kinds
    function.restype = ctypes.c_int
    found: Callable[..., int] = function
    return found


_sync_file_range = _found("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_fallocate = _found("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def begin_writing(descriptor: int, start: int, end: int) -> None:
    """Begin to write bytes `start` to `end` of the file; returns while they are under way, and tells of no trouble."""
    if _sync_file_range is not None and end > start:
        _sync_file_range(descriptor, start, end - start, _SYNC_FILE_RANGE_WRITE)


def wait_written(descriptor: int) -> None:
    """Write the bytes that are left and wait for all of them, but not for the file system's journal.

    An fsync, also of the file's folder at the same time, then begins one transaction of the journal, which has nothing
    to wait for; else it takes two.

    Raises
    ------
    OSError
        The disk refused. The kernel tells of that once: here, and not at the fsync any more.
    """
    if _sync_file_range is None or not _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_ALL):
        return
    number = ctypes.get_errno()
    if number not in _NO_SUCH_THING:
        raise OSError(number, os.strerror(number))


def reserve(descriptor: int, start: int) -> int:
    """Take room behind byte `start` without making the file longer; return where it ends, and tell of no trouble.

    What is not used must be given back by ``ftruncate`` to the file's length.
    """
    if _fallocate is not None:
        _fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, start, RESERVED_BYTES)
    return start + RESERVED_BYTES
