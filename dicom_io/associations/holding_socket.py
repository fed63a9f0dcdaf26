"""An association's socket that is read in large steps, and takes back what was read too early."""

from __future__ import annotations

import os
import socket
import ssl
from typing import cast

from pynetdicom.transport import AssociationSocket

from dicom_io.foundation.readable import readable

ACKNOWLEDGED_ANYWAY_BYTES = 1 << 18
"""A read of that much opens the window so far that the system tells the sender at once by itself."""


class HoldingSocket(AssociationSocket):
    """An association's socket that may hold bytes which were read too early; they are read first."""

    held: bytes = b""

    @property
    def ready(self) -> bool:
        """Say whether something can be read; as pynetdicom's, which takes no descriptor above 1023."""
        if self.held:
            return True
        if self.socket is None or self._is_connected is False:
            return False
        try:
            return self.arrives(0)
        except (OSError, ValueError):  # the socket was closed meanwhile
            self.event_queue.put("Evt17")
            return False

    def take_held(self, most_bytes: int) -> bytes:
        """Return held bytes and hold the rest."""
        taken, self.held = self.held[:most_bytes], self.held[most_bytes:]
        return taken

    @property
    def is_plain(self) -> bool:
        """Say whether there is no TLS, so that the system reads into several places at once."""
        return not isinstance(self.socket, ssl.SSLSocket)

    def read_into(self, *buffers: memoryview) -> int | None:
        """Read what has arrived; return how much that is, 0 if the peer closed, None where nothing has arrived.

        Over TLS into the first buffer only.

        The socket has a timeout, for pynetdicom's reading. Python's ``recv_into`` would ask ``poll`` first because of
        that, and each call lets other threads go first: with several associations that took more than the reading.
        """
        connection = cast(socket.socket, self.socket)
        if isinstance(connection, ssl.SSLSocket):
            return connection.recv_into(buffers[0]) if self.arrives(0) else None
        try:
            count = os.readv(connection.fileno(), buffers)
        except BlockingIOError:
            return None
        if count < ACKNOWLEDGED_ANYWAY_BYTES:
            _acknowledge_at_once(connection)
        return count

    def arrives(self, seconds: float) -> bool:
        """Say whether more comes from the network within that time."""
        connection = self.socket
        if connection is None:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        return bool(readable((connection.fileno(),), seconds))


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Let a sender go on that has Nagle's algorithm; measured: a quarter more with such senders (Linux only)."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
