"""A process of ``work`` that finds at its start that it cannot analyse: all of them end, as if none had been started.

The network is loaded after the fork, so only then is it known that the machine lacks what it needs, or that it computes
no number. What waits stays queued, and a supervisor tries again; the studies would fail one by one otherwise.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal

from worker.foundation.errors import StartError

logger = logging.getLogger(__name__)

_YES = b"1"
_found = mmap.mmap(-1, 1)
"""Whether one of the processes cannot analyse; being anonymous, it is shared by all that are forked."""


def forget() -> None:
    """Begin anew, before processes are forked that are to know of each other and of no earlier ones."""
    global _found
    _found = mmap.mmap(-1, 1)


def end_all(error: StartError) -> None:
    """Say once what is wrong, and have the process that started this one and the others stop."""
    if found():
        return
    _found[:] = _YES
    logger.error("%s", error)
    os.kill(os.getppid(), signal.SIGTERM)


def found() -> bool:
    """Return whether any process could not analyse."""
    return _found[:] == _YES
