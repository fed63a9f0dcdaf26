"""Keeps pynetdicom's association thread from taking the answers that a sender is waiting for.

Every ``send_`` method of `Association` asks the association's own thread (the reactor) to pause, and reads "paused" off
a flag that the thread also raises for a moment on every turn of its loop (pynetdicom 3.0.4,
``Association._run_reactor``). On a busy machine the sender then goes on while the thread does not pause; the thread
takes the response off the queue ("Received unexpected C-STORE service message"), and the sender waits until the DIMSE
timeout for an answer that has long come. Here the thread is held at its checkpoint for as long as something is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association

LOOK_SECONDS = 0.05
RELEASE_SECONDS = 5.0
"""How long an answer to our release is waited for; nothing depends on it."""


class _Gate(threading.Event):
    """Stands in for the reactor's checkpoint; ``set`` has no effect until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self._opened = False

    def wait(self, timeout: float | None = None) -> bool:
        """Hold whoever comes, and note that somebody came."""
        self.reached.set()
        return super().wait(timeout)

    def set(self) -> None:
        """Let through what waits, once the gate is open."""
        if self._opened:
            super().set()

    @property
    def holds(self) -> bool:
        """Say whether somebody waits here."""
        return self.reached.is_set() and not self._opened

    def open(self) -> None:
        """Become an ordinary event that is set."""
        self._opened = True
        self.set()


class HeldAssociation(Association):
    """Says that its thread pauses while that is held; made by giving an existing one this class.

    pynetdicom reads that off a flag, and serves an N-EVENT-REPORT, asked for or not, in a thread of its own that ends
    by taking the flag down. Whoever sent the next request then waited for ever, and busily.
    """

    @property
    def _is_paused(self) -> bool:  # an attribute there
        gate = self._reactor_checkpoint
        return bool(self.__dict__.get("_is_paused")) or (isinstance(gate, _Gate) and gate.holds)

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        self.__dict__["_is_paused"] = value


class HeldReactor:
    """An association's thread, held at its checkpoint until it is let go; made, it is there."""

    def __init__(self, association: Association) -> None:
        self._gate = _Gate()
        association.__class__ = HeldAssociation  # made by pynetdicom, which offers no factory
        association._reactor_checkpoint = self._gate
        while not self._gate.reached.wait(LOOK_SECONDS) and association.is_alive():
            continue

    def let_go(self) -> None:
        """Let the thread go on, for good."""
        self._gate.open()


@contextmanager
def reactor_held(association: Association) -> Iterator[None]:
    """Hold the association's thread at its checkpoint for the length of the block; it goes on afterwards.

    The block may send and release. What the peer says unasked, a release or an abort, waits until afterwards.
    """
    reactor = HeldReactor(association)
    try:
        yield
    finally:
        reactor.let_go()


def release(association: Association) -> None:
    """Release an association whose thread is held.

    As `Association.release` does, which first waits until the thread says that it pauses. pynetdicom serves an event
    (N-EVENT-REPORT) in a thread of its own, which ends by saying that nobody does: when that came in between, the
    wait had no end.
    """
    association.acse_timeout = min(RELEASE_SECONDS, association.acse_timeout or RELEASE_SECONDS)
    association.acse.negotiate_release()
