"""Addresses to listen on, and the ones to call from the same machine."""

from __future__ import annotations

_ALL_OF_IPV4 = ("", "0.0.0.0")  # noqa: S104 (compared with, never bound)


def reached_here(listen_host: str) -> str:
    """Return the host under which a process of this machine that listens there is reached from it."""
    return "127.0.0.1" if listen_host in _ALL_OF_IPV4 else listen_host
