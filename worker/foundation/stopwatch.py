"""How long each stage of a run took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds by stage, from its making on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block towards the stage of this name."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def timings_seconds(self) -> dict[str, float]:
        """Return seconds by stage so far, rounded to 0.1 ms, and their ``total`` since the watch was made."""
        timings = self._seconds | {"total": time.perf_counter() - self._started}
        return {name: round(seconds, 4) for name, seconds in timings.items()}
