"""Addresses to listen on, and the ones to call from the same machine."""

from __future__ import annotations

import errno
import socket

from worker.foundation.errors import AddressInUse

_ALL_OF_IPV4 = ("", "0.0.0.0")  # noqa: S104 (compared with, never bound)


def reached_here(listen_host: str) -> str:
    """Return the host under which a process of this machine that listens there is reached from it."""
    return "127.0.0.1" if listen_host in _ALL_OF_IPV4 else listen_host


def require_free_port(host: str, port: int, key: str = "listen_port") -> None:
    """Refuse to start beside a program that has our port; its answers would pass for our listener's.

    Parameters
    ----------
    key
        Of the configuration, which says what the port is.

    Raises
    ------
    AddressInUse
        The address cannot be bound.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the listener: closing connections are no bar
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressInUse(host, port, error.strerror or str(error), key) from error


def is_of_this_machine(host: str) -> bool:
    """Return whether a process of this machine could listen there, on a port that is free."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
