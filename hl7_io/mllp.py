"""MLLP: one HL7 message between a start block (0x0B) and an end block (0x1C 0x0D), over TCP or TLS."""

from __future__ import annotations

import socket
import time

START_BLOCK, END_BLOCK, CARRIAGE_RETURN = b"\x0b", b"\x1c", b"\x0d"
_CHUNK_BYTES = 65536
_HEAD_BYTES = 4096


class MllpError(Exception):
    """Nothing more can be had over this connection; the text says why and holds nothing of any message."""


class PeerSilentError(MllpError):
    """The peer did not send what was waited for in time."""


class ConnectionDroppedError(MllpError):
    """The peer closed the connection, or the network did."""


class FrameTooLongError(MllpError):
    """A message is longer than allowed; `head` is how it begins, enough to answer it."""

    def __init__(self, maximum_bytes: int, received: bytearray) -> None:
        super().__init__(f"a message is longer than {maximum_bytes} bytes")
        self.head = bytes(received[1 : _HEAD_BYTES + 1])


class NotMllpError(MllpError):
    """What came is not framed as MLLP."""


def framed(content: bytes) -> bytes:
    """Return the message in MLLP's frame."""
    return START_BLOCK + content + END_BLOCK + CARRIAGE_RETURN


class FrameReader:
    """Takes messages off a connection, one after the other, within limits of size and time."""

    def __init__(self, connection: socket.socket, maximum_bytes: int) -> None:
        self._connection = connection
        self._maximum_bytes = maximum_bytes
        self._received = bytearray()

    def read(self, idle_seconds: float, message_seconds: float) -> bytes | None:
        """Return the next message without its frame; None when the peer closed between two messages.

        Parameters
        ----------
        idle_seconds
            Longest wait for the first byte.
        message_seconds
            Longest time from the first byte to the end, however the bytes trickle.

        Raises
        ------
        MllpError
            Silence, a drop in the middle, too many bytes, or bytes that are no MLLP.
        """
        if not self._wait_for_start(time.monotonic() + idle_seconds):
            return None
        deadline, searched = time.monotonic() + message_seconds, 1
        while (end := self._received.find(END_BLOCK, searched)) < 0:
            if len(self._received) > self._maximum_bytes:
                raise FrameTooLongError(self._maximum_bytes, self._received)
            searched = len(self._received)
            if not self._receive(deadline):
                raise ConnectionDroppedError("the connection ended in the middle of a message")
        if end > self._maximum_bytes:
            raise FrameTooLongError(self._maximum_bytes, self._received)
        content = bytes(self._received[1:end])
        del self._received[: end + 1]
        return content

    def _wait_for_start(self, deadline: float) -> bool:
        """Pass over line ends up to a start block; False when the peer closed instead."""
        while True:
            stripped = self._received.lstrip(b"\r\n")
            self._received = bytearray(stripped)
            if self._received:
                break
            if not self._receive(deadline):
                return False
        if self._received[:1] != START_BLOCK:
            raise NotMllpError("what came does not begin with an MLLP start block (0x0B)")
        return True

    def _receive(self, deadline: float) -> bool:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise PeerSilentError("no complete message came in time")
        self._connection.settimeout(remaining)
        try:
            chunk = self._connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            raise PeerSilentError("no complete message came in time") from None
        except OSError as error:
            raise ConnectionDroppedError(f"the connection broke ({type(error).__name__})") from None
        self._received += chunk
        return bool(chunk)
