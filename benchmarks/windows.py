"""Timed windows: several ways to do the same, in turn, with what other processes took of the machine meanwhile.

Absolute times differ between machines and hours; ratios of medians of interleaved windows travel. A window in which
other processes took much of the CPU says little and is discarded where enough quiet ones are left.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_tree import descendants

REPETITIONS = 5
QUIET_SHARE = 0.15
"""Of all cores, taken by other processes."""
_MOST_ROUNDS = 4 * REPETITIONS
_TRIALS = 3


@dataclass(frozen=True)
class Window:
    """One repetition."""

    seconds: float
    others: float
    """Share of all cores that other processes took, 0..1; 0 where the system does not tell."""


@dataclass(frozen=True)
class Measured:
    """All repetitions of one way."""

    windows: tuple[Window, ...]

    @property
    def kept(self) -> tuple[Window, ...]:
        """Return the quiet windows, or all where there are too few of them."""
        quiet = tuple(window for window in self.windows if window.others <= QUIET_SHARE)
        return quiet if len(quiet) >= REPETITIONS else self.windows

    @property
    def noisy(self) -> bool:
        """Return whether other processes disturbed the measurement."""
        return any(window.others > QUIET_SHARE for window in self.kept)

    @property
    def median_seconds(self) -> float:
        """Return the median of the kept windows."""
        return statistics.median(window.seconds for window in self.kept)


def in_turn(
    ways: Mapping[str, Callable[[], object]],
    least_seconds: float = 0.0,
    prepare: Callable[[str], object] | None = None,
    processes: Sequence[int] = (),
    most_rounds: int = _MOST_ROUNDS,
) -> dict[str, Measured]:
    """Run every way once unmeasured, then all of them in turn until each has five quiet windows, or twenty in all.

    Parameters
    ----------
    least_seconds
        A way that is faster is repeated within its window until it takes this long; its time is that of one run.
    prepare
        Called with a way's name before each of its windows, unmeasured; every window is then one run.
    processes
        Pids of servers that work for the ways; what they and their children take is not "other processes".
    """
    ready = prepare or (lambda name: None)
    runs = {}
    for name, way in ways.items():
        ready(name)
        runs[name] = _runs_for(way, least_seconds if prepare is None else 0.0)
    windows: dict[str, list[Window]] = {name: [] for name in ways}
    for round_number in range(most_rounds):
        for name, way in ways.items():
            ready(name)
            windows[name].append(_window(way, runs[name], processes))
        enough = all(sum(w.others <= QUIET_SHARE for w in found) >= REPETITIONS for found in windows.values())
        if enough and round_number + 1 >= REPETITIONS:
            break
    return {name: Measured(tuple(found)) for name, found in windows.items()}


@dataclass
class Others:
    """What other processes took of the machine; known when the block is over."""

    share: float = 0.0
    """Of all cores, 0..1."""


@contextmanager
def processors_taken_by_others(processes: Sequence[int]) -> Iterator[Others]:
    """Find out while the block runs; `processes` and their children are not "others"."""
    others = Others()
    busy, own, started = _machine_seconds(), _tree_seconds(processes), time.perf_counter()
    yield others
    seconds = time.perf_counter() - started
    taken = _machine_seconds() - busy - (_tree_seconds(processes) - own)
    others.share = min(1.0, max(0.0, taken) / (seconds * (os.cpu_count() or 1)))


def _runs_for(way: Callable[[], object], least_seconds: float) -> int:
    way()
    if not least_seconds:
        return 1
    shortest = min(_window(way, 1).seconds for _ in range(_TRIALS))
    return max(1, round(least_seconds / max(shortest, 1e-9)))


def _window(way: Callable[[], object], runs: int, processes: Sequence[int] = ()) -> Window:
    busy, own, started = _machine_seconds(), _own_seconds(processes), time.perf_counter()
    for _ in range(runs):
        way()
    seconds = time.perf_counter() - started
    others = max(0.0, _machine_seconds() - busy - (_own_seconds(processes) - own))
    return Window(seconds / runs, min(1.0, others / (seconds * (os.cpu_count() or 1))))


def _own_seconds(processes: Sequence[int]) -> float:
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + _tree_seconds(processes)


def _tree_seconds(processes: Sequence[int]) -> float:
    return sum(_seconds_of(pid) for root in processes for pid in descendants(root))


def _seconds_of(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that ended (proc(5), ``stat``)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _machine_seconds() -> float:
    """Return the CPU seconds of all processes since the machine started; 0 where there is no /proc."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
