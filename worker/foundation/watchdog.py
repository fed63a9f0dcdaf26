"""Ends a process in which nothing moves any more, because native code never lets go of the interpreter.

No thread of such a process renews a lease, no signal handler runs, no time limit of Python's own is noticed. The timer
of ``faulthandler`` needs no interpreter: it writes to standard error where every thread stands (files and lines, no
values) and ends the process, whose work somebody else then takes over.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from types import TracebackType
from typing import Self

SHORTEST_LIMIT_SECONDS = 10.0
"""On a busy machine every thread may wait for some seconds."""
LOOKS_PER_LIMIT = 10


class Watchdog:
    """Winds the timer up again and again while it can; one per process.

    Parameters
    ----------
    limit_seconds
        How long nothing may move; at least `SHORTEST_LIMIT_SECONDS`.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = max(limit_seconds, SHORTEST_LIMIT_SECONDS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wind_until_over, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wind_until_over(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._limit_seconds, exit=True, file=sys.stderr)
            if self._over.wait(self._limit_seconds / LOOKS_PER_LIMIT):
                return
