"""What happens to the servers, processes and mounts of a test run that is killed: they end with it.

``finally`` does nothing after ``kill -9``. So a small process of its own waits at the other end of a pipe. When that
closes, because whoever wrote a will is gone in whatever way, it ends what is named there and still is what it was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TERM_SECONDS = 2.0
"""For a database to end in order; what takes longer is killed."""


def begun_at(pid: int) -> str:
    """Return when a process began, in clock ticks since the machine did (proc_pid_stat(5)); empty once it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):  # no such process, or no Linux
        return ""
    return "" if state == "Z" else fields[18]


@dataclass
class Will:
    """The pipe to the executor, which is started with the first line."""

    _executor: subprocess.Popen[str] | None = None
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def write(self, *words: object) -> None:
        """Add a line."""
        if sys.platform != "linux":
            return
        with self._writing:
            if self._executor is None:
                command = [sys.executable, "-S", __file__]
                own_session = True  # Ctrl-C at the terminal is not for it
                self._executor = subprocess.Popen(
                    command, stdin=subprocess.PIPE, text=True, start_new_session=own_session, cwd="/"
                )
            pipe: IO[str] | None = self._executor.stdin
            assert pipe is not None
            pipe.write(" ".join(map(str, words)) + "\n")
            pipe.flush()


_WILL = Will()


def ends_with_us(pid: int) -> None:
    """Have this process, and all that it will have started, end when ours does."""
    _WILL.write("process", pid, begun_at(pid))


def unmounted_with_us(folder: Path) -> None:
    """Have what is mounted at this folder unmounted when ours ends."""
    _WILL.write("mount", folder)


def execute(lines: Sequence[str]) -> None:
    """Do what a will says, the latest line first."""
    named, mounts = [], []
    for line in reversed(lines):
        kind, _, rest = line.partition(" ")
        if kind == "mount":
            mounts.append(rest)
        else:
            pid, _, began = rest.partition(" ")
            named.append((int(pid), began))
    living = _end(named, signal.SIGTERM)
    deadline = time.monotonic() + TERM_SECONDS
    while any(map(_is_there, living)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _end(living, signal.SIGKILL)
    for folder in mounts:
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", folder], check=False)


def _is_there(process: tuple[int, str]) -> bool:
    pid, began = process
    return bool(began) and begun_at(pid) == began


def _end(processes: Sequence[tuple[int, str]], number: int) -> list[tuple[int, str]]:
    """Send a signal to those that are still what they were, and to their descendants; return all of them."""
    found = [each for process in processes if _is_there(process) for each in _family(process[0])]
    known = [(pid, begun_at(pid)) for pid in dict.fromkeys(found)]
    for pid, _began in filter(_is_there, known):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # what a test has stopped hears nothing else
    return known


def _family(pid: int) -> list[int]:
    """Return the process and its descendants, parents first."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (thread / "children").read_text().split())
    return found


if __name__ == "__main__":
    execute(sys.stdin.read().splitlines())
