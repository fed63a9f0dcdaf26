"""Keeps at most one association per peer open between two deliveries of a process, for a short while.

Opening, negotiating and releasing an association costs an archive and us more than a small object does. An archive has
few places, though, so a kept one goes after `idle_seconds` without a delivery, by a timer, and never grows old: a peer
that is configured anew, or whose certificate is, is met as it is now within a minute.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

from dicom_io.associations.kept_association import Call, KeptAssociation, Kind

MAXIMUM_AGE_SECONDS = 60.0
Place = tuple[str, str, int, str]


@dataclass(frozen=True)
class Keeping:
    """That an association is kept, for how long, and for what."""

    keeper: AssociationKeeper
    idle_seconds: float
    kinds: frozenset[Kind]
    """Proposed beside what is to be sent, so that a later delivery fits, too."""


class AssociationKeeper:
    """Where associations rest; any thread may ask. A fork neither uses nor ends those of its parent."""

    def __init__(self) -> None:
        self._resting: dict[Place, tuple[KeptAssociation, threading.Timer]] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._is_closed = False

    def take(self, call: Call, kinds: frozenset[Kind]) -> KeptAssociation | None:
        """Return the association that rests for this call, if it is as good as a new one for these kinds of object.

        One that is not is released: its peer may have no other place.
        """
        if os.getpid() != self._process:
            return None
        with self._lock:
            association, timer = self._resting.pop(_place(call), (None, None))
        if association is None or timer is None:
            return None
        timer.cancel()
        as_called = association.call == call and association.tls_stamps == call.tls_stamps()
        if as_called and _seconds_left(association) > 0 and association.takes(kinds):
            association.bear_silence(call.settings.connection_timeout_seconds)
            return association
        association.release()
        return None

    def keep(self, association: KeptAssociation, idle_seconds: float) -> None:
        """Let the association rest; release it where another one rests already, it is too old, or all is over."""
        seconds = min(idle_seconds, _seconds_left(association))
        if seconds <= 0 or not self._rests(association, seconds):
            association.release()

    def _rests(self, association: KeptAssociation, seconds: float) -> bool:
        """Let it rest, if it may."""
        if os.getpid() != self._process:
            return False
        place = _place(association.call)
        timer = threading.Timer(seconds, self._end, (place, association))
        timer.daemon = True
        with self._lock:
            if self._is_closed or place in self._resting:
                return False
            self._resting[place] = association, timer
            timer.start()
        return True

    def release_all(self) -> None:
        """Release what rests, and from now on all that would."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._is_closed = True
            all_resting, self._resting = list(self._resting.values()), {}
        for association, timer in all_resting:
            timer.cancel()
            association.release()

    def _end(self, place: Place, association: KeptAssociation) -> None:
        """Release an association that nobody has taken in time."""
        with self._lock:
            if self._resting.get(place, (None,))[0] is not association:
                return
            del self._resting[place]
        association.release()


def _place(call: Call) -> Place:
    """Return what one association is kept for at most."""
    return call.peer.ae_title, call.peer.host, call.peer.port, call.calling_ae_title


def _seconds_left(association: KeptAssociation) -> float:
    """Return how long the association may still be used."""
    return association.opened_at + MAXIMUM_AGE_SECONDS - time.monotonic()
