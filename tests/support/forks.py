"""Real processes of the worker without their second of imports: forks of one that has imported everything (Linux).

A fork is what ``python -m MODULE ...`` is: a child of the test with this environment, folder and output, its own pid to
kill, and whatever it starts in turn. Only what Python and our modules do while they are loaded is not done again, so
each kind is also started from nothing somewhere, as by ``test_end_to_end.py``.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT_OF_ITS_OWN = ("LD_PRELOAD", "PYTHONPATH", "OMP_NUM_THREADS")
"""Takes effect only where a process begins from nothing."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
MESSAGE_BYTES = 1 << 20
_libc = ctypes.CDLL(None)


def forking_is_enough(variables: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Return whether a fork is the same as a fresh process with these variables beside those of this process."""
    return sys.platform == "linux" and not set(ENVIRONMENT_OF_ITS_OWN) & set(variables)


@dataclass(frozen=True)
class Order:
    """A process to make."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    supervisor: bool = False
    """Whether it starts services, which are to be forks, too."""
    as_service: bool = False
    """As a supervisor starts it: in a session of its own, and asked to stop when its supervisor dies."""

    @property
    def command(self) -> list[str]:
        """What starts the same process from nothing."""
        return [sys.executable, "-W", "ignore", "-m", self.module, *self.arguments]


class Fork:
    """A child of this process, with those parts of ``subprocess.Popen`` that tests and supervisors use."""

    def __init__(self, pid: int, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.args = arguments
        self.returncode: int | None = None
        self._waiting = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, minus the signal's number where one ended it; None while it runs."""
        with self._waiting:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended; ``TimeoutExpired`` when it has not by then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Where forks are ordered; the server ends when this end of the channel closes."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ordering = threading.Lock()

    def start(self, order: Order, stdout: int, stderr: int) -> Fork:
        """Make this process, with these descriptors as its output.

        Raises
        ------
        RuntimeError
            The server is gone, or has a thread, of which a fork would be without.
        """
        with self._ordering:
            _libc.prctl(_SUBREAPER, 1)  # only so long: other orphans are none of ours
            try:
                socket.send_fds(self._channel, [json.dumps(asdict(order)).encode()], [stdout, stderr])
                answer = self._channel.recv(MESSAGE_BYTES).decode()
            finally:
                _libc.prctl(_SUBREAPER, 0)
        if not answer.isdigit():
            raise RuntimeError(f"no fork of {order.module} {order.arguments}: {answer or 'the server is gone'}")
        return Fork(int(answer), [order.module, *order.arguments])


_servers: list[Forks] = []


def forks() -> Forks:
    """Return this process's server, which is started when it is first asked for and ends with it."""
    if not _servers:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "fork_server", str(its.fileno())],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            pass_fds=[its.fileno()],
        )
        its.close()
        _servers.append(Forks(ours))
        atexit.register(process.wait)
        atexit.register(process.kill)
    return _servers[0]


Started: TypeAlias = Fork | subprocess.Popen[bytes]


def start_command(order: Order, log: Path, *, forked: bool = True) -> Started:
    """Start what is ordered, as a fork or from nothing, with what it writes appended to this file."""
    with log.open("ab") as output:
        if forked and forking_is_enough():
            return forks().start(order, output.fileno(), output.fileno())
        return subprocess.Popen(
            order.command, cwd=order.folder, env=order.environment, stdout=output, stderr=subprocess.STDOUT
        )


def run_command(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float = 100.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m MODULE ARGUMENTS`` to its end, as a fork where that can be, and return what it wrote."""
    order = Order(module, list(arguments), dict(environment), str(folder))
    if not forking_is_enough():
        return subprocess.run(
            order.command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = forks().start(order, output.fileno(), errors.fileno())
        try:
            process.wait(seconds)
        finally:
            process.kill()
        written = [Path(f"/proc/self/fd/{file.fileno()}").read_text() for file in (output, errors)]
    return subprocess.CompletedProcess(process.args, process.returncode, *written)
