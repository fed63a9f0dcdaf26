"""One supervised process: started so that it goes with its supervisor, asked to stop, waited for."""

from __future__ import annotations

import ctypes
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.foundation.errors import StartError

logger = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 40.0
"""A stopping process may finish what it has in hand this long (Celery's own soft shutdown takes 30 s)."""
FIRST_RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 30.0
STEADY_AFTER_SECONDS = 60.0
"""A process that lived this long is restarted at once again when it dies."""
_MOST_DOUBLINGS = 20
"""More of them reach `LONGEST_RESTART_SECONDS` anyway, and some time no float holds them."""
_PR_SET_PDEATHSIG = 1


class ServiceGaveUp(StartError):
    """A process without which nothing makes sense could not be started; its own message stands above."""


@dataclass
class Service:
    """One supervised process."""

    name: str
    module_arguments: Sequence[str]
    """What follows ``python -m``."""
    essential: bool = False
    """Without it nothing else makes sense: a failure before it was ready ends the whole start."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    brings_work: bool = False
    """Stopped before the others, so that nothing new comes in while they finish."""
    restarts: int = 0
    restart_at: float = 0.0

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process; it is told to stop when the supervisor dies."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self.module_arguments],
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the others in order
            preexec_fn=_stop_with_parent,
        )
        self.started_at = time.monotonic()
        logger.info("%s started (pid %d)", self.name, self.process.pid)

    def look_after(self, environment: Mapping[str, str], *, ready: bool) -> None:
        """Start the process again if it has ended; not at once when it has just done so.

        Parameters
        ----------
        ready
            Whether everything has worked before.

        Raises
        ------
        ServiceGaveUp
            This is essential and never worked.
        """
        if self.process is None or self.process.poll() is None:
            return
        if self.restart_at == 0.0:
            self._plan_restart(self.process.returncode, ready=ready)
        elif time.monotonic() >= self.restart_at:
            self._start_again(environment)

    def _start_again(self, environment: Mapping[str, str]) -> None:
        try:
            self.start(environment)
        except (OSError, subprocess.SubprocessError) as error:  # no memory just now, or no more processes
            self.restart_at = time.monotonic() + LONGEST_RESTART_SECONDS
            logger.error("%s cannot be started (%s); trying again in %.0f s", self.name, error, LONGEST_RESTART_SECONDS)
        else:
            self.restart_at = 0.0

    def _plan_restart(self, exit_status: int, *, ready: bool) -> None:
        if self.essential and not ready:
            raise ServiceGaveUp(
                f"the {self.name} ended with status {exit_status} before it was ready; see its message above"
            )
        lived_seconds = time.monotonic() - self.started_at
        self.restarts = 0 if lived_seconds >= STEADY_AFTER_SECONDS else self.restarts + 1
        doubled_seconds = FIRST_RESTART_SECONDS * 2 ** min(self.restarts - 1, _MOST_DOUBLINGS)
        wait_seconds = min(doubled_seconds, LONGEST_RESTART_SECONDS) if self.restarts else 0.0
        self.restart_at = time.monotonic() + wait_seconds
        logger.error("%s ended with status %d; starting it again in %.0f s", self.name, exit_status, wait_seconds)

    def ask_to_stop(self) -> None:
        """Send SIGTERM if the process lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait_until_stopped(self) -> None:
        """Wait for the end of a process that was asked to stop, and end it if it does not come."""
        if self.process is None:
            return
        try:
            self.process.wait(STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop within %.0f s and is killed", self.name, STOP_GRACE_SECONDS)
            self.process.kill()
            self.process.wait()
        logger.info("%s stopped", self.name)


def stop_in_order(services: Sequence[Service]) -> None:
    """Stop what brings work, then everything else; each group at once."""
    for group in ([s for s in services if s.brings_work], [s for s in services if not s.brings_work]):
        for service in group:
            service.ask_to_stop()
        for service in group:
            service.wait_until_stopped()


def _stop_with_parent() -> None:
    """Have the kernel send SIGTERM when the supervisor dies, so that kill -9 of it leaves no orphans (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
