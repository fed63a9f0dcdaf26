"""``python -m worker up``: every process of one machine, restarted when it dies, stopped in order."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo
from worker.foundation.addresses import reached_here, require_free_port
from worker.foundation.service_process import Service, stop_in_order
from worker.processes.work import require_usable
from worker.rows.kept_stores import require_kept_stores
from worker.rows.service_lock import sole_process
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

logger = logging.getLogger(__name__)

LOOK_INTERVAL_SECONDS = 0.2
CONNECT_SECONDS = 2.0


def services(*, worklist: bool, hl7: bool = False, shadow: bool = False) -> list[Service]:
    """Return the processes of one machine in the order in which they start."""
    chosen = [
        Service("listener", ("worker", "listen"), essential=True, brings_work=True),
        Service("sweeper", ("worker", "sweep"), brings_work=True),
        Service("triage worker", ("worker", "work", "--queues", "stat,routine")),
        Service("delivery worker", ("worker", "work", "--queues", "delivery")),
    ]
    if hl7:
        chosen.append(Service("HL7 listener", ("worker", "hl7"), brings_work=True))
    if shadow:
        chosen.append(Service("shadow worker", ("worker", "shadow")))
    return [*chosen, Service("worklist page", ("worklist",))] if worklist else chosen


@dataclass
class Supervisor:
    """Starts, watches and stops the services of one data folder."""

    settings: Settings
    services: list[Service]
    ready: bool = False
    stopping: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    def run(self) -> int:
        """Supervise until asked to stop; return the exit status.

        Raises
        ------
        StartError
            Another supervisor has this data folder, the port is taken, or something is missing; nothing was started.
        ServiceGaveUp
            The listener ended before it ever answered.
        """
        require_kept_stores(self.settings)  # before the first file
        with sole_process("up", self.settings.data_dir):
            require_usable(self.settings, ("stat", "routine", "delivery"))
            for port in self.settings.listening_ports:
                require_free_port(self.settings.listen_host, port)
            if hl7 := self.settings.hl7_listener:
                require_free_port(hl7.host, hl7.port, "hl7_listener.port")
            self.environment = settings_environment(self.settings)
            try:
                for service in self.services:
                    service.start(self.environment)
                while not self.stopping:
                    self._look_after_all()
                    time.sleep(LOOK_INTERVAL_SECONDS)
            finally:
                stop_in_order(self.services)
        return 0

    def ask_to_stop(self, signal_number: int = 0, frame: FrameType | None = None) -> None:
        """Let ``run`` return after stopping everything; usable as a signal handler."""
        self.stopping = True

    def _look_after_all(self) -> None:
        for service in self.services:
            service.look_after(self.environment, ready=self.ready)
        if not self.ready and answers(self.settings):
            self.ready = True
            logger.info("ready: %s listens on %s", self.settings.ae_title, _listen_address(self.settings))


def run_up(settings: Settings, *, worklist: bool) -> int:
    """Run everything on this machine until SIGTERM or SIGINT.

    Parameters
    ----------
    worklist
        False leaves the radiologist's page out.

    Returns
    -------
    int
        Exit status, 0 after a clean stop.

    Raises
    ------
    StartError
        Something needed is missing, or another ``up`` runs on the same data folder.
    """
    chosen = services(worklist=worklist, hl7=settings.hl7_listener is not None, shadow=bool(settings.shadow_bundle))
    supervisor = Supervisor(settings, chosen)
    with _asked_by_signals(supervisor):
        return supervisor.run()


def answers(settings: Settings) -> bool:
    """Return whether our listener answers a C-ECHO, or at least turns an unknown caller away.

    Where there is only a port for TLS, a connection has to do: our own certificate need not be one it lets in.
    """
    host = reached_here(settings.listen_host)
    try:
        socket.create_connection((host, settings.listening_ports[0]), CONNECT_SECONDS).close()
    except OSError:  # not there yet; a whole association request would only fill the log
        return False
    if not settings.listen_plain:
        return True
    calling = settings.sources[0].ae_title if settings.sources else settings.ae_title
    problem = echo(Peer(settings.ae_title, host, settings.listen_port), calling)
    return not problem or "rejected the association" in problem


@contextmanager
def _asked_by_signals(supervisor: Supervisor) -> Iterator[None]:
    before = {number: signal.signal(number, supervisor.ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _listen_address(settings: Settings) -> str:
    return f"{settings.listen_host}:{' and '.join(str(port) for port in settings.listening_ports)}"
