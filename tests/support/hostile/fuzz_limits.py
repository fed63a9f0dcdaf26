"""Limits of a process that reads what is damaged; loads nothing of ours, which takes a second."""

from __future__ import annotations

import resource
import signal

ADDRESS_SPACE_BYTES = 4 << 30


def limited() -> None:
    """Bound the memory of this process and let it leave no core behind."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def timed(cpu_seconds: float) -> None:
    """End this process when it has used that much more processor time; 0 takes the limit away."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
