"""Jobs shared out over worker processes that hold something costly between them, such as a network.

Ctrl-C and SIGTERM end the work at the next pause of every worker; a worker also ends when its parent is killed, so no
orphan goes on writing files.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from training.heads.errors import HeadError
from training.parallel import interruptible
from training.parent import end_with_parent

_SECONDS_BETWEEN_LOOKS = 0.5

State = TypeVar("State")
Job = TypeVar("Job")


class Pulse:
    """What the parent and its workers share while they work."""

    def __init__(self, counter: Any, stop: Any) -> None:
        self._counter, self._stop = counter, stop

    def advance(self, units: int) -> None:
        """Note that so many units more are done."""
        with self._counter.get_lock():
            self._counter.value += units

    @property
    def done(self) -> int:
        """Return the units done by all workers."""
        return int(self._counter.value)

    @property
    def stopping(self) -> bool:
        """Return whether the worker should leave its job as it is."""
        return bool(self._stop.is_set())

    def stop(self) -> None:
        """Ask every worker to leave its job."""
        self._stop.set()


class _Held:
    """What this worker process holds between jobs."""

    state: Any
    pulse: Pulse


def run_jobs(
    prepare: Callable[[], State],
    work: Callable[[State, Job, Pulse], None],
    jobs: Iterable[Job],
    workers: int,
    report: Callable[[int], None],
) -> None:
    """Run ``work(state, job, pulse)`` for every job, each in one of the worker processes.

    Parameters
    ----------
    prepare
        Makes the state of a worker, once, in that worker. It and ``work`` must be importable (picklable).
    report
        Called every half second with the units done so far.

    Raises
    ------
    TrainingInterruptedError
        SIGINT or SIGTERM came; finished jobs stay.
    HeadError
        A worker ended. What ``work`` raises is raised here too.
    """
    context = multiprocessing.get_context("spawn")
    pulse = Pulse(context.Value("q", 0), context.Event())
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(prepare, pulse))
    try:
        with interruptible():
            waiting = {pool.submit(_run, work, job) for job in jobs}
            while waiting:
                finished, waiting = wait(waiting, _SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                report(pulse.done)
    except BrokenProcessPool as error:
        raise HeadError(
            "a worker process ended, perhaps for lack of memory; the same command continues, try fewer --workers"
        ) from error
    finally:
        pulse.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _start(prepare: Callable[[], Any], pulse: Pulse) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    end_with_parent()
    torch.set_num_threads(1)
    _Held.state, _Held.pulse = prepare(), pulse


def _run(work: Callable[[Any, Any, Pulse], None], job: Any) -> None:
    if not _Held.pulse.stopping:
        work(_Held.state, job, _Held.pulse)
