"""Reads PDUs no longer than were offered, and waits for each no longer than it may take.

pynetdicom 3.0.4 reads 4096 bytes at a time, collects 4 GB where a peer announces them, and waits for the rest of a PDU
for as long as the connection is there.
"""

from __future__ import annotations

import socket
import time
from typing import cast

from dicom_io.associations.holding_socket import HoldingSocket

RECEIVE_STEP_BYTES = 1 << 20
MAXIMUM_NEGOTIATION_BYTES = 1 << 20
"""A-ASSOCIATE-RQ with 128 contexts of 40 transfer syntaxes has 350 kB; nothing honest is longer."""


class BoundedSocket(HoldingSocket):
    """Reads in large steps (pynetdicom: 4096 bytes) and refuses PDUs longer than we announced."""

    maximum_pdu_bytes: int
    pdu_timeout_seconds: float
    began_with: int | None = None
    """First byte that came; None before it."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes` bytes, fewer when the peer closed.

        Raises
        ------
        OSError
            The peer announced a longer PDU than we ever offered, fell silent, or takes too long over this one;
            pynetdicom ends the association.
        """
        if nr_bytes > max(self.maximum_pdu_bytes, MAXIMUM_NEGOTIATION_BYTES):
            raise OSError(f"peer announced a PDU of {nr_bytes} bytes; at most {self.maximum_pdu_bytes} were offered")
        connection = cast(socket.socket, self.socket)
        received = bytearray(nr_bytes)
        view = memoryview(received)
        held = self.take_held(nr_bytes)
        filled = len(held)
        received[:filled] = held
        give_up_at = time.monotonic() + self.pdu_timeout_seconds
        while filled < nr_bytes:
            count = connection.recv_into(view[filled:], min(RECEIVE_STEP_BYTES, nr_bytes - filled))
            if not count:
                return received[:filled]
            filled += count
            if self.began_with is None:
                self.began_with = received[0]
            if filled < nr_bytes and time.monotonic() > give_up_at:
                raise OSError(f"peer takes longer than {self.pdu_timeout_seconds:g} s over one PDU")
        return received
