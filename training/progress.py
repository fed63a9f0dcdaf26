"""Progress of long work: a live bar on a terminal, a line every half minute in a log; rate and time left in both."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


class RateBar:
    """How much is done, how fast (units a second) and how long the rest will take.

    Parameters
    ----------
    title
        What is being done.
    unit
        What is counted, for the rate.
    total
        Units in all.
    done_before
        Units that an earlier run did; they do not count for the rate.
    """

    def __init__(self, title: str, unit: str, total: int, done_before: int = 0) -> None:
        self.title, self.unit, self.total, self.done_before = title, unit, total, done_before
        self.done, self.started = done_before, time.monotonic()
        self.last_line = self.started
        console = Console(stderr=True)
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        self.live = Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> RateBar:
        """Start the clock."""
        if self.live is not None:
            self.live.add_task(self.title, total=self.total, completed=self.done_before, rate="")
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar, or write the last line."""
        if self.live is not None:
            self.live.stop()
        elif self.done > self.done_before:
            logger.info("%s", self.line())

    @property
    def rate(self) -> float:
        """Return units a second since the start."""
        return (self.done - self.done_before) / max(time.monotonic() - self.started, 1e-9)

    def update(self, done: int, note: str = "") -> None:
        """Note that ``done`` units are done in all."""
        self.done = done
        now = time.monotonic()
        if self.live is not None:
            text = f"{self.rate:.1f} {self.unit}/s {note}"
            self.live.update(self.live.task_ids[0], completed=done, rate=text)
        elif now - self.last_line > _SECONDS_BETWEEN_LINES:
            self.last_line = now
            logger.info("%s", self.line(note))

    def line(self, note: str = "") -> str:
        """Return everything in one line."""
        share = f"{self.title}: {self.done}/{self.total}, {self.rate:.1f} {self.unit}/s"
        if self.done == self.total:
            return f"{share} {note}".rstrip()
        left = (self.total - self.done) / self.rate / 60 if self.rate > 0 else float("nan")
        return f"{share}, about {left:.1f} min left {note}".rstrip()
