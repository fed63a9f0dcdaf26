"""A pynetdicom server with bounded reads: large ones for speed, limited ones against hostile peers.

Uses a few of pynetdicom's internals; its version is pinned and `tests/dicom_io/services/test_storage_scp.py` is the
contract.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from weakref import ref

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

import dicom_io.associations.closing
import dicom_io.associations.odd_negotiation  # noqa: F401 (of both, the import is the effect)
from dicom_io.associations.bounded_socket import BoundedSocket
from dicom_io.associations.fragment_order import misplaced, single_values
from dicom_io.associations.lasting import LastingAcse, LastingAssociation, LastingStateMachine
from dicom_io.associations.message_limits import give_up, outgrown
from dicom_io.associations.streaming import MAXIMUM_WAITING, StreamingDul
from dicom_io.associations.waking import UNSETTLED_SECONDS, WokenDimse
from dicom_io.data_sets.file_meta import encode_file_meta
from dicom_io.foundation.tls import CurrentTls, in_words
from dicom_io.storing.spool import SpooledDataSet

LOGGER = logging.getLogger(__name__)
_config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would put all messages in words nobody reads, and stumble over odd ones
_config.LOG_REQUEST_IDENTIFIERS = False  # nor decode each query for that, before anybody could refuse it

RECEIVE_BUFFER_BYTES = 4 << 20
"""SO_RCVBUF; measured: a third more throughput at 10 MB images than the system's default."""
ACCEPT_AGAIN_SECONDS = 0.5
"""After a connection could not be accepted for want of file descriptors or memory."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
HANDSHAKE_SECONDS = 10.0
"""For the whole TLS handshake."""
MAXIMUM_CANCELS = 10
"""Kept of one request, for whoever serves it to look at."""
MAXIMUM_UNASKED = 128
"""Connections that have not asked for an association yet; when one more comes, the oldest is closed."""
MAXIMUM_HANDSHAKES = 50
"""At once; when one more begins, the oldest is closed. Established ones count as associations instead."""
QUIET_SECONDS, ASK_AGAIN_SECONDS, ASKED_TIMES = 30, 10, 3
"""A line over which nothing came for so long is tried, again and so often: a dead one is noticed after a minute."""


class BoundedDimse(WokenDimse):
    """Aborts an association whose message outgrows its limit, and sends data sets to disk as they arrive."""

    maximum_instance_bytes: int
    spool_folder: Path | None = None
    """Where arriving data sets are written; None keeps them in memory."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Collect fragments; beyond the limit, or out of order, drop what was collected and abort."""
        for value in single_values(primitive):
            self._wait_for_room()
            if why := misplaced(self.message, value):
                give_up(self, why)
                return
            self.message = self.message or DIMSEMessage()
            if self.message.decode_msg(value, self.assoc):
                message, self.message = self.message, None
                self._hand_on(message)
            if self.refuse_oversized():
                return
            if self.spool_folder is not None:
                self._spool(self.spool_folder)

    def _wait_for_room(self) -> None:
        """Hold many messages of one PDU back as those of many are: each request may hold a file open."""
        association = self.assoc
        while self.msg_queue.qsize() >= MAXIMUM_WAITING and association.is_alive() and not association._kill:
            time.sleep(UNSETTLED_SECONDS)

    def _hand_on(self, message: DIMSEMessage) -> None:
        """Have a message served in its turn; pynetdicom serves events beside the others, and a release overtakes."""
        primitive: Any = message.message_to_primitive()
        if primitive.__class__ is not C_CANCEL:
            self.msg_queue.put((message.context_id, primitive))
        elif len(self.cancel_req) < MAXIMUM_CANCELS:
            self.cancel_req[cast(int, primitive.MessageIDBeingRespondedTo)] = primitive

    def _spool(self, folder: Path) -> None:
        """Let the data set that begins to arrive go to a file from here on."""
        message = self.message
        if not isinstance(message, C_STORE_RQ) or isinstance(message.data_set, SpooledDataSet):
            return
        command, context = message.command_set, self.assoc._accepted_cx.get(message.context_id or 0)
        if context is None:  # pynetdicom aborts for it once the message is whole
            return
        uids = (str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID))
        try:
            spooled = SpooledDataSet(folder, encode_file_meta(*uids, str(context.transfer_syntax[0])))
        except OSError as error:
            LOGGER.warning("an arriving data set is kept in memory, no file can be made (%s)", error.strerror)
            return
        spooled.write(cast(BytesIO, message.data_set).getvalue())
        message.data_set = spooled

    def refuse_oversized(self) -> bool:
        """Drop a message that grew beyond its limit and abort; say whether that was so."""
        data_set = self.message.data_set if self.message is not None else None
        why = outgrown(self.message)
        if data_set is not None and data_set.tell() > self.maximum_instance_bytes:
            why = f"a data set grew beyond maximum_instance_bytes ({self.maximum_instance_bytes})"
        if why is None:
            return False
        give_up(self, why)
        return True


class BoundedRequestHandler(RequestHandler):
    """Gives each accepted association the bounded socket and message provider."""

    server: BoundedServer

    def handle(self) -> None:
        """Secure the connection where TLS is wanted, then let pynetdicom serve it; called in a thread of its own."""
        if self.server.tls is not None:
            secured = self.server.secured(self.request, self.client_address[0])
            if secured is None:
                return
            self.request = secured
        super().handle()

    def _create_association(self) -> Association:
        association = super()._create_association()
        transport = cast(BoundedSocket, association.dul.socket)
        transport.__class__ = BoundedSocket  # made by pynetdicom, which offers no factory; state and events stay
        transport.maximum_pdu_bytes = self.server.ae.maximum_pdu_size
        transport.pdu_timeout_seconds = self.server.pdu_timeout_seconds
        association.__class__, association.acse.__class__ = LastingAssociation, LastingAcse  # all made by pynetdicom
        association.dul.state_machine.__class__ = LastingStateMachine
        dimse = BoundedDimse(association)
        dimse.maximum_instance_bytes = self.server.maximum_instance_bytes
        association.dimse = dimse
        if self.server.spool_folder is not None:
            dimse.spool_folder = self.server.spool_folder
            dimse.begin_waiting()
            association.dul.__class__ = StreamingDul  # made by pynetdicom as well
            cast(StreamingDul, association.dul).begin(
                self.server.ae.maximum_pdu_size,
                self.server.pdu_timeout_seconds,
                self.server.spool_folder,
                dimse.refuse_oversized,
            )
        self.server.make_room(association)
        return association


def _notice_dead_line(connection: socket.socket) -> None:
    """Have the system ask the peer's machine whether it is there, and take the connection for lost where it is not.

    Over a line that comes and goes a device connects anew each time, and what it left behind would fill every place
    until the network timeout. A machine that is there answers by itself, however long its program thinks.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # Linux; elsewhere the system's own two hours
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, QUIET_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_AGAIN_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASKED_TIMES)


def _plain(address: Any) -> Any:
    """Return an IPv4 address as such where it comes mapped into IPv6, as to a port of both (RFC 4291 2.5.5.2)."""
    mapped = getattr(ipaddress.ip_address(address[0].partition("%")[0]), "ipv4_mapped", None)
    return address if mapped is None else (str(mapped), address[1])


def _asks_for_nothing(association: Association | None) -> bool:
    if association is None or association.requestor.primitive is not None:
        return False
    return association.ident is None or association.is_alive()  # not started yet, or running


def end_without_request(event: Event) -> None:
    """Let the thread of a closed connection go that never asked for an association; a handler of EVT_CONN_CLOSE.

    pynetdicom 3.0.4 waits for the request until the ACSE timeout all the same, and counts an association meanwhile:
    monitors that only try the port would fill every place.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(cast(Any, None))  # read as "nothing came"


def drop_what_was_arriving(event: Event) -> None:
    """Delete the file of a data set whose connection ended before it was whole; a handler of EVT_CONN_CLOSE.

    Called by the thread that writes the file. Left alone, the file would go with the association, seconds later.
    """
    dimse = event.assoc.dimse
    message, dimse.message = dimse.message, None
    if message is not None and isinstance(message.data_set, SpooledDataSet):
        message.data_set.discard()


class BoundedServer(ThreadedAssociationServer):
    """Accepts connections without ever waiting for one peer before serving the next."""

    daemon_threads = True
    maximum_instance_bytes: int = 1 << 30
    spool_folder: Path | None = None
    pdu_timeout_seconds: float = 60.0
    tls: CurrentTls | None = None

    def __init__(self, *arguments: Any, shared_port: bool = False, **keywords: Any) -> None:
        self._shared_port = shared_port
        self._unasked: list[ref[Association]] = []  # weak: what an association holds must go with it
        self._unasked_lock = threading.Lock()
        self._handshaking: dict[socket.socket, str] = {}
        """Connections in their TLS handshake, oldest first, and from where."""
        self._handshaking_lock = threading.Lock()
        super().__init__(*arguments, **(keywords | {"request_handler": BoundedRequestHandler}))

    def server_bind(self) -> None:
        """Bind with a large receive buffer, which accepted connections inherit."""
        listening = cast(socket.socket, self.socket)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if self._shared_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one connection; a TLS handshake happens later, in a thread of its own."""
        try:
            connection, address = cast(socket.socket, self.socket).accept()
        except OSError as error:
            if error.errno in _NO_ROOM:  # it waits in the queue of the port, which asks for it at once again
                LOGGER.warning("a connection waits: %s", error.strerror)
                time.sleep(ACCEPT_AGAIN_SECONDS)
            raise
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _notice_dead_line(connection)
        connection.settimeout(self.pdu_timeout_seconds)  # a peer silent inside a PDU must not hold its thread forever
        return connection, _plain(address)

    def make_room(self, newcomer: Association) -> None:
        """Count a connection that has asked for nothing yet; of too many close the oldest, never the newest.

        An honest peer asks within milliseconds, so those that wait longest are monitors and attackers.
        """
        with self._unasked_lock:
            self._unasked = [one for one in self._unasked if _asks_for_nothing(one())]
            self._unasked.append(ref(newcomer))
            oldest = self._unasked.pop(0)() if len(self._unasked) > MAXIMUM_UNASKED else None
        if oldest is not None:
            LOGGER.warning("connection from %s closed: too many ask for nothing", oldest.requestor.address)
            with contextlib.suppress(OSError, AttributeError):  # it has just gone by itself
                cast(Any, oldest.dul.socket).socket.shutdown(socket.SHUT_RDWR)

    def secured(self, connection: socket.socket, address: str) -> socket.socket | None:
        """Return the connection after its TLS handshake; None, and it is closed, where none came about in time."""
        if self.tls is None:
            raise RuntimeError("this server has no TLS to secure a connection with; set `tls`")
        try:
            connection = self.tls.context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            connection.settimeout(HANDSHAKE_SECONDS)
            with self._counted_handshake(connection, address):
                connection.do_handshake()
            connection.settimeout(self.pdu_timeout_seconds)
        except (OSError, ValueError) as error:  # ValueError: the peer went between accept and wrap_socket
            why = in_words(error) if isinstance(error, OSError) else "connection closed"
            LOGGER.warning("connection from %s closed: no TLS, %s", address, why)
            connection.close()
            return None
        return connection

    @contextlib.contextmanager
    def _counted_handshake(self, connection: ssl.SSLSocket, address: str) -> Iterator[None]:
        """Count a handshake; of too many close the oldest, never the newest: an honest one takes milliseconds."""
        with self._handshaking_lock:
            self._handshaking[connection] = address
            if len(self._handshaking) > MAXIMUM_HANDSHAKES:
                oldest = next(iter(self._handshaking))
                LOGGER.warning(
                    "connection from %s closed: too many are in their TLS handshake", self._handshaking.pop(oldest)
                )
                with contextlib.suppress(OSError):  # it has just gone by itself
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # not TLS's own, which its thread is inside
        try:
            yield
        finally:
            with self._handshaking_lock:
                self._handshaking.pop(connection, None)
