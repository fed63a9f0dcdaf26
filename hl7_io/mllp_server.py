"""An MLLP server for hostile networks: known addresses only, bounded in connections, bytes and time, TLS if wanted."""

from __future__ import annotations

import ipaddress
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from dicom_io.foundation.tls import CurrentTls, in_words
from hl7_io.mllp import FrameReader, FrameTooLongError, MllpError, framed

logger = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HANDSHAKE_SECONDS = 10.0
ANSWER_SECONDS = 30.0
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True)
class Limits:
    """What one sender, or all of them, may take of us."""

    maximum_message_bytes: int = 10 << 20
    message_seconds: float = 30.0
    """From a message's first byte to its last."""
    idle_seconds: float = 3600.0
    """Between two messages of one connection."""
    maximum_connections: int = 25


class MllpServer(socketserver.ThreadingTCPServer):
    """Hands each message to `take` and sends back what it returns; one thread per connection.

    Parameters
    ----------
    take
        (message without its frame, sender's address) -> answer, empty for none; called from several threads.
    refuse
        (first bytes of a message that is too long, sender's address) -> answer, before the connection is closed.
    allowed
        Networks that may connect beside this machine.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        take: Callable[[bytes, str], bytes],
        refuse: Callable[[bytes, str], bytes],
        allowed: Sequence[Network] = (),
        limits: Limits | None = None,
        tls: CurrentTls | None = None,
    ) -> None:
        self.take = take
        self.refuse = refuse
        self.limits = limits or Limits()
        self._allowed = (*LOOPBACK, *allowed)
        self._tls = tls
        self._free = threading.BoundedSemaphore(self.limits.maximum_connections)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Conversation)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Let known addresses in, as many at once as allowed."""
        sender = ipaddress.ip_address(client_address[0].partition("%")[0])
        sender = getattr(sender, "ipv4_mapped", None) or sender
        if not any(sender in network for network in self._allowed):
            logger.warning("HL7 connection from %s turned away: not among the allowed hosts", sender)
            return False
        if not self._free.acquire(blocking=False):
            logger.warning("HL7 connection from %s turned away: %d are open", sender, self.limits.maximum_connections)
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for the connection; where the system has none left, the connection ends and takes no place."""
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:
            self._free.release()
            logger.warning("HL7 connection from %s turned away: %s", client_address[0], error)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, then let another one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended a conversation, without the data it choked on."""
        logger.exception("HL7 connection from %s ended by an error", client_address[0])

    def secured(self, connection: socket.socket) -> socket.socket:
        """Return the connection after its TLS handshake, where TLS is wanted; may take `HANDSHAKE_SECONDS`."""
        connection.settimeout(HANDSHAKE_SECONDS)
        return self._tls.context().wrap_socket(connection, server_side=True) if self._tls else connection

    def remember(self, connection: socket.socket, *, open_now: bool) -> None:
        """Keep in mind which connections `stop` has to end."""
        with self._lock:
            (self._open.add if open_now else self._open.discard)(connection)

    def stop(self) -> None:
        """Accept no more, end every connection between two messages or in the middle of one, and free the port."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it ended by itself


class _Conversation(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server, sender = cast(MllpServer, self.server), str(self.client_address[0])
        try:
            connection = server.secured(self.request)
        except OSError as error:
            logger.warning("HL7 connection from %s: no TLS, %s", sender, in_words(error))
            return
        server.remember(connection, open_now=True)
        try:
            self._converse(connection, server, sender)
        except (MllpError, OSError) as error:
            why = str(error) if isinstance(error, MllpError) else type(error).__name__
            logger.warning("HL7 connection from %s is closed: %s", sender, why)
        finally:
            server.remember(connection, open_now=False)
            connection.close()

    def _converse(self, connection: socket.socket, server: MllpServer, sender: str) -> None:
        limits = server.limits
        messages = FrameReader(connection, limits.maximum_message_bytes)
        while True:
            try:
                content = messages.read(limits.idle_seconds, limits.message_seconds)
            except FrameTooLongError as error:
                _answer(connection, server.refuse(error.head, sender))
                raise
            if content is None:
                return
            _answer(connection, server.take(content, sender))


def _answer(connection: socket.socket, answer: bytes) -> None:
    if answer:
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(framed(answer))
