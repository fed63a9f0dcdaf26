"""Loading many modules at once. Here because the command lines of ``worker`` and ``training`` both know ``model``."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_looked_for() -> Iterator[None]:
    """Load modules in this block: Python would look for garbage among them again and again, a sixth of a start."""
    looked_for = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked_for:
            gc.enable()


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Load the command line in this block: Ctrl-C ends the process at once, as it does any program without Python.

    Nothing is begun yet that would have to be undone, and an exception would show a stack of other people's modules.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else the signal is ignored, as for a command in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextmanager
def children_without_ctrl_c() -> Iterator[None]:
    """Start processes in this block that a terminal's Ctrl-C does not reach, which is for their parent to pass on.

    While they load, it would end each of them in a stack trace.
    """
    from multiprocessing import resource_tracker  # here: few commands have children

    resource_tracker.ensure_running()  # started with them, it would unblock the signal
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
