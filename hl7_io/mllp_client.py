"""Sends messages to a receiver and brings back its acknowledgements, over one connection for a batch."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dicom_io.foundation.tls import TlsFileError, TlsFiles, in_words
from hl7_io.mllp import ConnectionDroppedError, FrameReader, MllpError, PeerSilentError, framed

MAXIMUM_ANSWER_BYTES = 1 << 18


@dataclass(frozen=True)
class Receiver:
    """Where an HL7 receiver listens, and how long to be patient with it."""

    host: str
    port: int
    tls: TlsFiles | None = None
    connect_seconds: float = 10.0
    answer_seconds: float = 30.0


class NoConnectionError(MllpError):
    """The receiver cannot be reached."""


class MllpConnection:
    """One open connection; use it in a ``with`` block.

    Raises
    ------
    NoConnectionError
        Refused, unreachable, not in time, or TLS did not come about.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._connection = _connect(receiver)
        self._answers = FrameReader(self._connection, MAXIMUM_ANSWER_BYTES)

    def exchange(self, content: bytes, is_old: Callable[[bytes], bool] = lambda answer: False) -> bytes:
        """Send one message and return what is answered.

        Parameters
        ----------
        is_old
            Says of an answer that it is about a message that was sent before; the next one is waited for.

        Raises
        ------
        MllpError
            No answer in time, or the connection is gone; whether the receiver has the message is unknown.
        """
        deadline = time.monotonic() + self._receiver.answer_seconds
        self._connection.settimeout(self._receiver.answer_seconds)
        try:
            self._connection.sendall(framed(content))
        except TimeoutError:
            raise PeerSilentError("the receiver did not take the message in time") from None
        except OSError as error:
            raise ConnectionDroppedError(f"the connection broke while sending ({type(error).__name__})") from None
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            answer = self._answers.read(remaining, remaining)
            if answer is None:
                raise ConnectionDroppedError("the receiver closed the connection without an answer")
            if not is_old(answer):
                return answer

    def wait_for_refusal(self, seconds: float) -> None:
        """Wait a moment whether the receiver hangs up: with TLS 1.3 it refuses a certificate only after the handshake.

        Raises
        ------
        ConnectionDroppedError
            It did.
        """
        self._connection.settimeout(seconds)
        try:
            if not self._connection.recv(1):
                raise ConnectionDroppedError("the receiver closed the connection at once")
        except TimeoutError:
            return
        except OSError as error:
            raise ConnectionDroppedError(f"the receiver refused the connection: {in_words(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _connect(receiver: Receiver) -> socket.socket:
    place = f"{receiver.host}:{receiver.port}"
    try:
        connection = socket.create_connection((receiver.host, receiver.port), receiver.connect_seconds)
    except UnicodeError:
        raise NoConnectionError(f"no connection to {place}: this is no host name") from None
    except OSError as error:
        raise NoConnectionError(f"no connection to {place}: {error.strerror or type(error).__name__}") from None
    if receiver.tls is None:
        return connection
    try:
        return receiver.tls.context(server_side=False).wrap_socket(connection, server_hostname=receiver.host)
    except TlsFileError as error:
        connection.close()
        raise NoConnectionError(f"TLS file {error.filename} for {place} {error.strerror}") from None
    except OSError as error:
        connection.close()
        raise NoConnectionError(f"no TLS with {place}: {in_words(error)}") from None
