"""The line between a sender and an archive: a real TCP relay that can break off, or turn answers into warnings."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

SUCCESS = bytes.fromhex("00000009 02000000 0000")
"""(0000,0900) Status, 2 bytes: 0x0000, as it stands in a command set (PS3.7 6.3, implicit little endian)."""
WARNING = bytes.fromhex("00000009 02000000 00B0")
"""Coercion of data elements (PS3.4 table B.2-1): stored, with a warning."""
WARNING_STATUS = 0xB000
STORE_ANSWER = bytes.fromhex("00000001 02000000 0180")
"""(0000,0100) Command Field: C-STORE-RSP."""
_BACKLOG = 20
_READ_BYTES = 1 << 16
_LOOK_SECONDS = 0.05


class ArchiveLine:
    """Relays every connection to its port to the archive's port.

    `cut_after_bytes` closes a connection, both ways, once the sender has sent that much; `warn` answers stored objects
    with a warning. Both count what they did. `stall` leaves what is connected open and takes no more of it.
    """

    def __init__(self, archive_port: int) -> None:
        self._archive_port = archive_port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_BYTES)  # else a stalled line takes megabytes
        self.port = int(self._server.getsockname()[1])
        self.warn = False
        self.cut_after_bytes: int | None = None
        self.warnings = 0
        self.cuts = 0
        self._stalled: set[socket.socket] = set()
        self._senders: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="archive-line", daemon=True).start()

    def stall(self) -> None:
        """Take nothing more, without a word, from those connected now; at most one piece that is on its way."""
        self._stalled = set(self._senders)

    def close(self) -> None:
        """Take no more connections."""
        self._stalled = set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                sender, _address = self._server.accept()
                threading.Thread(target=self._relay, args=(sender,), daemon=True).start()

    def _relay(self, sender: socket.socket) -> None:
        try:
            archive = socket.create_connection(("127.0.0.1", self._archive_port), 10)
        except OSError:
            _reset(sender)
            return
        for end in (sender, archive):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._senders.add(sender)
        back = threading.Thread(target=self._answers, args=(archive, sender), daemon=True)
        back.start()
        self._objects(sender, archive)
        back.join()
        self._senders.discard(sender)
        sender.close()
        archive.close()

    def _objects(self, sender: socket.socket, archive: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while piece := sender.recv(_READ_BYTES):
                while sender in self._stalled:
                    time.sleep(_LOOK_SECONDS)
                limit = self.cut_after_bytes
                if limit is not None and passed + len(piece) >= limit:
                    archive.sendall(piece[: max(limit - passed, 0)])
                    self.cuts += 1
                    break
                archive.sendall(piece)
                passed += len(piece)
        for end in (sender, archive):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _answers(self, archive: socket.socket, sender: socket.socket) -> None:
        with suppress(OSError):
            while piece := archive.recv(_READ_BYTES):
                if self.warn and STORE_ANSWER in piece and SUCCESS in piece:
                    self.warnings += piece.count(SUCCESS)
                    piece = piece.replace(SUCCESS, WARNING)
                sender.sendall(piece)
        for end in (sender, archive):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """Close with a reset, as a port without a listener answers."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
