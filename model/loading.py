"""Loading many modules at once. Here because the command lines of ``worker`` and ``training`` both know ``model``."""

from __future__ import annotations

import gc
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
