"""Wakes a thread that waits for file descriptors, from any other thread."""

from __future__ import annotations

import os
import weakref


class Bell:
    """A pipe that whoever waits for the network can wait for, too."""

    def __init__(self) -> None:
        self.listening, self._ringing = os.pipe()
        for end in (self.listening, self._ringing):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)

    def ring(self) -> None:
        """Wake who waits, or will wait next; any thread may."""
        try:
            os.write(self._ringing, b"\0")
        except BlockingIOError:
            return  # it is full of rings already

    def hush(self) -> None:
        """Forget all rings so far."""
        try:
            os.read(self.listening, 4096)
        except BlockingIOError:
            return
