"""Things done by another thread meanwhile: a hash, an fsync.

As `concurrent.futures` does them, with what is needed here and no more. Measured: giving work to a thread and waiting
for it takes that 60 microseconds of the processor, as long as hashing 100 kB, and this half of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any


class Errand:
    """One thing to do; any thread may wait for it."""

    def __init__(self, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.is_done = False
        self._act, self._arguments = act, arguments
        self._trouble: BaseException | None = None
        self._under_way = threading.Lock()
        self._under_way.acquire()

    def run(self) -> None:
        """Do it; called once, by the thread that took it."""
        try:
            self._act(*self._arguments)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread it belongs to)
            self._trouble = error
        del self._act, self._arguments  # what they hold must not wait for whoever forgets this last
        self.is_done = True
        self._under_way.release()

    def wait(self) -> None:
        """Return when it is done, well or not."""
        with self._under_way:
            return

    def finish(self) -> None:
        """Return when it is done, and raise what it raised."""
        self.wait()
        if self._trouble is not None:
            raise self._trouble


class ErrandThreads:
    """Threads that run errands, in the order in which they were given; started when used, never ended.

    Parameters
    ----------
    most
        How many there are at most.
    name
        Of the threads, for whoever looks at the process.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._begin_without_threads()
        os.register_at_fork(after_in_child=self._begin_without_threads)

    def _begin_without_threads(self) -> None:
        self._started = 0
        self._starting = threading.Lock()
        self._waiting: SimpleQueue[Errand] = SimpleQueue()

    def begin(self, act: Callable[..., object], *arguments: Any) -> Errand:
        """Have this done, and return at once."""
        errand = Errand(act, arguments)
        self._waiting.put(errand)
        if self._started < self._most:
            self._start_one()
        return errand

    def _start_one(self) -> None:
        with self._starting:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._waiting.get().run()
