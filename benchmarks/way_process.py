"""A way of doing the work in a process of its own, as it is used: neither has the other's memory, caches or threads.

What the plain way needs (torch, its gradients, float64 pictures) would else be mapped and freed between two runs of
ours, in the same process, which no installation does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.receivers import ROOT

CHILD = "--child"
"""What a benchmark's module is started with, followed by the way and its folder, to `serve`."""
_DONE = "done"


@dataclass
class WayProcess:
    """A process that does its work when told to, with one thread."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, module: str, way: str, folder: Path) -> WayProcess:
        """Start one; it is not ready yet."""
        command = [sys.executable, "-W", "ignore", "-m", module, CHILD, way, str(folder)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return cls(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, **pipes))

    def tell(self, word: str) -> None:
        """Ask for something."""
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)

    def wait(self) -> None:
        """Wait until it has done what it was asked for, or, at first, is ready.

        Raises
        ------
        RuntimeError
            It ended instead.
        """
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != _DONE:
            raise RuntimeError(f"a process that analyses ended with status {self.process.wait()}")

    def run(self, word: str) -> None:
        """Ask for something and wait until it is done."""
        self.tell(word)
        self.wait()

    @property
    def resident_mib(self) -> float:
        """Return its memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def way_processes(module: str, ways: list[str], folder: Path) -> Iterator[list[WayProcess]]:
    """Yield a process for each of the ways, ready."""
    found = [WayProcess.start(module, way, folder) for way in ways]
    try:
        for child in found:
            child.wait()
        yield found
    finally:
        for child in found:
            child.process.kill()
            child.process.wait()


def serve(do: Callable[[str], object]) -> None:
    """Be such a process, ready now: do what every line read asks for."""
    print(_DONE, flush=True)
    for line in sys.stdin:
        do(line.strip())
        print(_DONE, flush=True)
