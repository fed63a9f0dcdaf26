"""Closes association sockets whose peer is already gone; import it before opening or accepting associations.

pynetdicom 3.0.4 calls ``shutdown`` and ``close`` in one ``try``: when the peer left first, ``shutdown`` fails, no
``close`` follows, and the file descriptor stays open until the garbage collector passes; a busy listener runs out.
"""

from __future__ import annotations

import contextlib
import socket

from pynetdicom.transport import AssociationSocket


def _shutdown_and_close(self: AssociationSocket) -> None:
    connection = self.socket
    if connection is not None:
        with contextlib.suppress(OSError):  # the peer has already closed
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


AssociationSocket._shutdown_socket = _shutdown_and_close  # type: ignore[method-assign]
