"""A process and what it has started, as Linux lists them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the process and everything it started that still lives, parents first; on other systems itself alone."""
    found = [pid]
    for parent in found:
        threads: list[Path] = []
        with suppress(OSError):  # it ended meanwhile
            threads = list(Path(f"/proc/{parent}/task").glob("*/children"))
        for thread in threads:
            with suppress(OSError):
                found.extend(int(child) for child in thread.read_text().split())
    return found
