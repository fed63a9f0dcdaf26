"""How a process signs its rows: host and process id."""

from __future__ import annotations

import os
import socket


def worker_name() -> str:
    """Return ``host:pid``, unique among living workers."""
    return f"{socket.gethostname()}:{os.getpid()}"
