"""The two threads of an association, made to outlive what peers send (PS3.8 9.2).

pynetdicom 3.0.4 ends a thread when something in it fails, as it does for a command set without a command field, an even
presentation context ID or a presentation context without a transfer syntax: the connection then stays open and silent
until a timeout. And it answers every six bytes of nonsense behind an abort with one abort more and a line in the log.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any, cast

from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE
from pynetdicom.fsm import StateMachine

from dicom_io.associations.unanswerable import unanswerable
from dicom_io.associations.waking import WokenDimse
from dicom_io.storing.spool import SpooledDataSet

LOGGER = logging.getLogger(__name__)
_ARTIM_EXPIRED, _INVALID_PDU = "Evt18", "Evt19"
_AWAITS_REQUEST, _AWAITS_CLOSE = "Sta2", "Sta13"
_ASSOCIATE_RQ, _TLS_HANDSHAKE = 0x01, 0x16
"""First byte of a request for an association (PS3.8 9.3.2), and of what a client of TLS begins with (RFC 8446 5.1)."""


class LastingAssociation(Association):
    """Ends with an abort when it cannot go on; made by giving an existing one this class."""

    def run(self) -> None:
        """Serve the peer; called in the association's own thread."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 (border to the network: whatever a peer sent must end in an abort)
            LOGGER.warning(
                "association with %s aborted, it cannot go on (%s)", self.requestor.address, type(error).__name__
            )
            self.abort()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve one request; called by pynetdicom and `dicom_io.associations.waking`."""
        if isinstance(msg, C_CANCEL):
            return  # of a request that was answered long ago; those of the present one lie elsewhere
        context = self._accepted_cx.get(context_id)
        abstract_syntax = context.abstract_syntax if context is not None else None
        why = unanswerable(msg, abstract_syntax, self.acceptor.accepted_common_extended)
        if not why:
            super()._serve_request(msg, context_id)
            return
        LOGGER.warning("association with %s aborted: %s", self.requestor.address, why)
        if isinstance(msg, C_STORE) and isinstance(arrived := cast(object, msg.DataSet), SpooledDataSet):
            arrived.discard()
        self.abort()


class LastingAcse(ACSE):
    """Has what came whole served before what came behind it ends the association; made as the association is.

    pynetdicom heeds a release or an abort first, and drops the requests that wait: their sender, released in peace,
    may take them for stored.
    """

    def is_release_requested(self) -> bool:
        """Say whether the peer wants to release; called by the association's thread."""
        self._serve_what_came_before()
        return super().is_release_requested()

    def is_aborted(self, abort_type: str = "both") -> bool:
        """Say whether the association is over."""
        self._serve_what_came_before()
        return super().is_aborted(abort_type)

    def _serve_what_came_before(self) -> None:
        if self.dul.peek_next_pdu() is not None and threading.current_thread() is self.assoc:
            cast(WokenDimse, self.assoc.dimse).serve_waiting()


class LastingStateMachine(StateMachine):
    """Takes what cannot be understood for an invalid PDU; made by giving an existing one this class."""

    def do_action(self, event: str) -> None:
        """Do what the event asks for in the present state."""
        if event == _INVALID_PDU and self.current_state == _AWAITS_CLOSE:
            event = _ARTIM_EXPIRED  # a peer that goes on talking nonsense is not waited for
        if event == _INVALID_PDU and self.current_state == _AWAITS_REQUEST:
            self._say_who_speaks_otherwise()
        try:
            super().do_action(event)
        except Exception as error:  # noqa: BLE001 (border to the network: whatever a peer sent must end in an abort)
            association, kind = self.dul.assoc, type(error).__name__
            address = (association.acceptor if association.is_requestor else association.requestor).address
            LOGGER.warning("association with %s aborted, a message cannot be understood (%s)", address, kind)
            self._give_up(event)

    def _say_who_speaks_otherwise(self) -> None:
        """Name the address of a client of something else, a port scanner or a device that wants the port for TLS."""
        began_with = getattr(self.dul.socket, "began_with", None)
        why = "it speaks no DICOM"
        if began_with == _TLS_HANDSHAKE:
            why = "it speaks TLS, and this port is the one without"
        elif began_with == _ASSOCIATE_RQ:
            why = "its association request cannot be understood"
        LOGGER.warning("connection from %s closed: %s", self.dul.assoc.requestor.address, why)

    def _give_up(self, event: str) -> None:
        """Abort as for an invalid PDU; where even that fails, hang up."""
        if event != _INVALID_PDU:
            self.dul._kill_thread = False  # set by pynetdicom, which is about to end without a word
            self.do_action(_INVALID_PDU)
            return
        self.dul.assoc._kill = True
        with contextlib.suppress(OSError):
            if self.dul.socket is not None:
                self.dul.socket.close()
