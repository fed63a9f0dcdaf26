"""The two threads of an association, made to outlive what peers send (PS3.8 9.2).

pynetdicom 3.0.4 ends a thread when something in it fails, as it does for a command set without a command field, an even
presentation context ID or a presentation context without a transfer syntax: the connection then stays open and silent
until a timeout. And it answers every six bytes of nonsense behind an abort with one abort more and a line in the log.
"""

from __future__ import annotations

import contextlib
import logging

from pynetdicom.association import Association
from pynetdicom.fsm import StateMachine

LOGGER = logging.getLogger(__name__)
_ARTIM_EXPIRED, _INVALID_PDU = "Evt18", "Evt19"
_AWAITS_CLOSE = "Sta13"


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


class LastingStateMachine(StateMachine):
    """Takes what cannot be understood for an invalid PDU; made by giving an existing one this class."""

    def do_action(self, event: str) -> None:
        """Do what the event asks for in the present state."""
        if event == _INVALID_PDU and self.current_state == _AWAITS_CLOSE:
            event = _ARTIM_EXPIRED  # a peer that goes on talking nonsense is not waited for
        try:
            super().do_action(event)
        except Exception as error:  # noqa: BLE001 (border to the network: whatever a peer sent must end in an abort)
            address, kind = self.dul.assoc.requestor.address, type(error).__name__
            LOGGER.warning("association with %s aborted, a message cannot be understood (%s)", address, kind)
            self._give_up(event)

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
