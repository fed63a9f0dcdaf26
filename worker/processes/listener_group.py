"""Several listener processes on one port: started, watched, restarted when they die, stopped together.

Python runs one thread at a time, so that one process receives at the speed of one core. Here each process has a
listening socket of its own on the same port (SO_REUSEPORT), and the system deals connections out. A process that dies
takes its own associations with it, whose senders were told nothing and send again; the others notice nothing.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from worker.foundation.addresses import reached_here
from worker.foundation.errors import AddressInUse, NotConfigured
from worker.foundation.service_process import Service, stop_in_order
from worker.processes.listener import SERVICE
from worker.rows.kept_stores import require_kept_stores
from worker.rows.service_lock import sole_process
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

logger = logging.getLogger(__name__)

LOOK_INTERVAL_SECONDS = 0.2


def run_listeners(settings: Settings) -> int:
    """Receive in ``listener_processes`` processes until SIGTERM or SIGINT. Returns the exit status, 0 when clean.

    Raises
    ------
    StartError
        Another listener has a port, or a process ended before any of them listened.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise NotConfigured("listener_processes is more than 1, but this system cannot share a port; set it to 1")
    members = [
        Service(f"listener {number}", ("worker", "listen", "--member", str(number)), essential=True, brings_work=True)
        for number in range(1, settings.listener_processes + 1)
    ]
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    environment = settings_environment(settings)
    require_kept_stores(settings)
    with sole_process(SERVICE, settings.data_dir, settings.listening_ports), _reserved_ports(settings):
        try:
            for member in members:
                member.start(environment)
            ready = False
            while not stopped.wait(LOOK_INTERVAL_SECONDS):
                ready = ready or _somebody_listens(settings)
                for member in members:
                    member.look_after(environment, ready=ready)
        finally:
            stop_in_order(members)
    return 0


@contextmanager
def _reserved_ports(settings: Settings) -> Iterator[None]:
    """Keep the ports ours, also while all processes are down; a bound socket that does not listen gets no connection.

    Raises
    ------
    AddressInUse
        A program that shares no ports has one of them.
    """
    host = settings.listen_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as held:
        for port in settings.listening_ports:
            reserved = held.enter_context(socket.socket(family))
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                reserved.bind((host, port))
            except OSError as error:
                raise AddressInUse(host, port, error.strerror or str(error)) from error
        yield


def _somebody_listens(settings: Settings) -> bool:
    try:
        host = reached_here(settings.listen_host)
        socket.create_connection((host, settings.listening_ports[0]), LOOK_INTERVAL_SECONDS).close()
    except OSError:  # not yet
        return False
    return True
