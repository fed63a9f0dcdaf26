"""Ends associations whole where pynetdicom 3.0.4 leaves a piece; import it before opening or accepting associations.

``shutdown`` and ``close`` stand there in one ``try``: when the peer left first, ``shutdown`` fails, no ``close``
follows, and the file descriptor stays open until the garbage collector passes; a busy listener runs out.

A request of ours that the other side was faster than (an answer while the association is being released, an abort of
one that was rejected) is an invalid event to its state machine, and its thread dies of that with the socket open. Here
such a request is dropped: PS3.8 section 9.2.2 knows no action for it, and what ends the association is under way.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket

from pynetdicom.fsm import InvalidEventError, StateMachine
from pynetdicom.transport import AssociationSocket

logger = logging.getLogger(__name__)
_OUR_REQUESTS = {"Evt1", "Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"}
"""Events that a primitive at the head of the queue to the network stands for (PS3.8 table 9-10)."""
_do_action = StateMachine.do_action


def _shutdown_and_close(self: AssociationSocket) -> None:
    connection = self.socket
    if connection is not None:
        with contextlib.suppress(OSError):  # the peer has already closed
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def _do_action_or_drop(self: StateMachine, event: str) -> None:
    try:
        _do_action(self, event)
    except InvalidEventError as error:
        if event not in _OUR_REQUESTS:
            raise
        with contextlib.suppress(queue.Empty):  # its loop may have asked twice, and the first took it
            self.dul.to_provider_queue.get_nowait()  # as the action would have; only this thread takes from it
        logger.debug("came too late: %s", error)


AssociationSocket._shutdown_socket = _shutdown_and_close  # type: ignore[method-assign]
StateMachine.do_action = _do_action_or_drop  # type: ignore[method-assign]
