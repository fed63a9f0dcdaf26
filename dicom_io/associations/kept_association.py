"""An association that stays open between two deliveries, and notices by itself when its peer has enough of it.

Between deliveries its thread is held (`dicom_io.associations.reactor_pause`), which saves a thousand looks a second. It
is let go the moment the peer aborts, releases or closes, so that a release is answered at once; nothing is sent after
that.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import A_RELEASE_RQ

from dicom_io.associations.client import NoAssociation, ScuSettings, associate, bear_silence
from dicom_io.associations.private_parts import private_parts_changed
from dicom_io.associations.reactor_pause import HeldReactor, release
from dicom_io.associations.waking import RequestorDimse, WokenRequestorDul
from dicom_io.foundation.peer import Peer

Kind = tuple[str, str]
"""SOP Class UID and Transfer Syntax UID of an object."""


@dataclass(frozen=True)
class Call:
    """Who calls whom, and how patiently."""

    peer: Peer
    calling_ae_title: str
    settings: ScuSettings

    def tls_stamps(self) -> object:
        """Return what differs once a file for TLS was written or replaced."""
        return self.peer.tls.stamps() if self.peer.tls else None


class KeptAssociation:
    """An established association, and whether it can still be used; sending and ending it never happen at once."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.tls_stamps = call.tls_stamps()
        self.opened_at = time.monotonic()
        self._turn = threading.Lock()
        self._busy = False
        self._over = False
        self._association: Association | None = None
        self._reactor: HeldReactor | None = None

    @classmethod
    def open(cls, call: Call, kinds: Iterable[Kind]) -> KeptAssociation | NoAssociation:
        """Ask for an association on which these kinds of object can be sent."""
        kept = cls(call)
        handlers = [
            (evt.EVT_CONN_OPEN, _wake),
            (evt.EVT_PDU_RECV, kept._on_pdu),
            (evt.EVT_CONN_CLOSE, kept._on_end),
        ]
        proposed = {form for kind in kinds for form in forms(kind)}
        contexts = [build_context(sop_class_uid, syntax) for sop_class_uid, syntax in sorted(proposed)]
        association = associate(call.peer, contexts, call.calling_ae_title, call.settings, handlers)
        if isinstance(association, NoAssociation):
            return association
        with kept._turn:
            kept._association, kept._reactor = association, HeldReactor(association)
            if kept._over:
                kept._reactor.let_go()
        return kept

    @property
    def association(self) -> Association:
        """The association; send only between `begin` and `finish`."""
        if self._association is None:
            raise RuntimeError("this association was never opened; make it by `open`")
        return self._association

    def takes(self, kinds: Iterable[Kind]) -> bool:
        """Return whether the peer has accepted all these kinds of object."""
        return all(accepted_form(self.association, kind) is not None for kind in kinds)

    def begin(self) -> bool:
        """Claim the association for sending; False where its peer has ended it."""
        with self._turn:
            self._busy = not self._over
            return self._busy

    def finish(self) -> bool:
        """Give it back after `begin`; return whether the peer ended it meanwhile, or the connection was lost."""
        ended = self.association.dul.peek_next_pdu() is not None  # held, its thread has taken nothing of it
        with self._turn:
            self._busy = False
            if self._over:
                self._let_go()
        return ended

    def release(self) -> None:
        """End the association, if its peer has not done so."""
        if self.begin() and self.association.is_established:
            release(self.association)
        self._let_go()

    def bear_silence(self, seconds: float) -> None:
        """Be less patient with a connection that rested: what stands between may have dropped it without a word."""
        transport = self.association.dul.socket
        connection = transport.socket if transport is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):  # it has just been closed, which `begin` tells
                bear_silence(connection, seconds)

    def _on_pdu(self, event: Event) -> None:
        """Note a release by the peer; pynetdicom tells of other ends by itself. In the upper layer's thread."""
        if isinstance(event.pdu, A_RELEASE_RQ):
            self._on_end(event)

    def _on_end(self, event: Event) -> None:
        """Wake a sender that waits for an answer, as pynetdicom does after an abort; else let the thread go."""
        with self._turn:
            self._over = True
            if self._busy:
                event.assoc.dimse.msg_queue.put((None, None))
            else:
                self._let_go()

    def _let_go(self) -> None:
        if self._reactor is not None:
            self._reactor.let_go()


def forms(kind: Kind) -> tuple[Kind, ...]:
    """Return in what an object of this kind may be sent, best first.

    Some archives take nothing but the default transfer syntax, which has to be proposed, too (PS3.5 10.1).
    """
    sop_class_uid, transfer_syntax_uid = kind
    if transfer_syntax_uid == ExplicitVRLittleEndian:
        return kind, (sop_class_uid, str(ImplicitVRLittleEndian))
    return (kind,)


def accepted_form(association: Association, kind: Kind) -> Kind | None:
    """Return the first of the `forms` of this kind that the peer has accepted; None where it takes none."""
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
    }
    return next((form for form in forms(kind) if form in accepted), None)


def _wake(event: Event) -> None:
    """Let the upper layer wait for the network in place of looking a thousand times a second; in its own thread."""
    if _can_be_woken():
        upper_layer: Any = event.assoc.dul
        WokenRequestorDul.begin_waiting(upper_layer)
        upper_layer.__class__ = WokenRequestorDul  # made by pynetdicom, which offers no factory
        event.assoc.dimse.__class__ = RequestorDimse


@cache
def _can_be_woken() -> bool:
    return not private_parts_changed()
