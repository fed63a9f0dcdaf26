"""Waits until something can be read, from descriptors of any number: ``select`` takes none above 1023 (FD_SETSIZE)."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence

_POLLS = hasattr(select, "poll")
"""Not on Windows, whose ``select`` takes sockets of any number, but nothing else."""


def readable(descriptors: Sequence[int], seconds: float) -> list[int]:
    """Return those that can be read by then, of which one suffices; also what was closed by the other side.

    Raises
    ------
    OSError, ValueError
        One is closed on this side.
    """
    if not _POLLS:
        return select.select(descriptors, [], [], seconds)[0]
    ends = select.poll()
    for descriptor in descriptors:
        ends.register(descriptor, select.POLLIN)
    found = ends.poll(1000 * seconds)
    for _descriptor, events in found:
        if events & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return [descriptor for descriptor, _events in found]
