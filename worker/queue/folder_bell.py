"""Tells a consumer of messages that wait as files when to look again, so that it need not look all the time.

kombu's filesystem transport sleeps between looks: a message waits half that sleep, twice for every study, and a process
that is free again waits as long before it gets the next one. Linux tells of a new file at once (inotify); elsewhere the
consumer looks as often as before.
"""

from __future__ import annotations

import os
import select
import sys
import weakref
from pathlib import Path

from dicom_io.foundation.bell import Bell

LOOK_SECONDS = 0.05
"""Between two looks where nothing tells of new files."""
SAFETY_SECONDS = 0.5
"""Between two looks where something does, for messages that were written on another machine."""
_MANY_BYTES = 4096


class FolderBell:
    """Rings when a file is moved into the folder, and when somebody rings it; one thread waits for it."""

    def __init__(self, folder: Path) -> None:
        self._watch = _watch(folder)
        self._bell = Bell()
        if self._watch is not None:
            weakref.finalize(self, os.close, self._watch)

    def ring(self) -> None:
        """Wake who waits, or will wait next; any thread may, also when nobody waits any more."""
        self._bell.ring()

    def wait(self, most_seconds: float) -> None:
        """Return when it rings or rang since the last wait, and after that time, or earlier to look all the same."""
        ends, look_seconds = select.poll(), LOOK_SECONDS if self._watch is None else SAFETY_SECONDS
        for end in (self._bell.listening, self._watch):
            if end is not None:
                ends.register(end, select.POLLIN)
        for ready, _ in ends.poll(1000 * max(0.0, min(most_seconds, look_seconds))):
            os.read(ready, _MANY_BYTES)


def _watch(folder: Path) -> int | None:
    """Return what can be waited for, or None where the system tells of no files."""
    if sys.platform != "linux":
        return None
    from inotify_simple import INotify, flags

    try:
        notifier = INotify(nonblocking=True, closefd=False)
        notifier.add_watch(folder, flags.MOVED_TO)
    except OSError:  # no more watches for this user
        return None
    descriptor: int = notifier.fd
    return descriptor
