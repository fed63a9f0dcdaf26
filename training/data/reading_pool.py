"""Processes that decode or draw pictures, in the order asked for; they end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Generic, TypeVar

from training.parent import end_with_parent

Job = TypeVar("Job")
Answer = TypeVar("Answer")

_WORTH_A_PROCESS = 64
"""Pictures that are decoded while a process starts."""
_JOBS_AT_A_TIME = 4


def cores() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ReaderEndedError(Exception):
    """A process that reads or draws pictures was ended, by the system for lack of memory or by a decoder's crash."""


class ReadingPool(Generic[Job, Answer]):
    """Does jobs side by side, or in this process where there are few.

    Parameters
    ----------
    work
        A function of a module, so that a process can be told which.
    jobs
        How many there will be in all.
    processes
        None: one for each core.
    worth_a_process
        Fewer jobs than this are done sooner than a process starts.

    Raises
    ------
    ReaderEndedError
        From ``each``.
    """

    def __init__(
        self, work: Callable[[Job], Answer], jobs: int, processes: int | None, worth_a_process: int = _WORTH_A_PROCESS
    ) -> None:
        self.work = work
        wanted = min(cores() if processes is None else processes, -(-jobs // worth_a_process))
        self._executor: ProcessPoolExecutor | None = None
        if wanted > 1:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(wanted, context, initializer=end_with_parent)

    def each(self, jobs: Sequence[Job]) -> Iterator[Answer]:
        """Yield the answers in the order of the jobs."""
        if self._executor is None:
            yield from map(self.work, jobs)
            return
        try:
            yield from self._executor.map(self.work, jobs, chunksize=_JOBS_AT_A_TIME)
        except BrokenProcessPool as error:
            raise ReaderEndedError(
                "a process that reads or draws pictures was killed, perhaps for lack of memory; run the same command "
                "again"
            ) from error

    def __enter__(self) -> ReadingPool[Job, Answer]:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what is not begun and end the processes."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
