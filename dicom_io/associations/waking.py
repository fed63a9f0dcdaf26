"""Wakes the two threads of an association when something happens; pynetdicom's look every millisecond whether it has.

One thread (``DULServiceProvider``) reads and writes the network, the other (``Association``) serves requests. Both
sleep between looks, so that an image waits for both sleeps, and an idle association costs two thousand looks a second.
Here the first waits for the network or for something to send, the second for a request, and goes from one request to
the next without a sleep. Both look around every `LOOK_SECONDS` all the same, for timers and whatever wakes nobody.

An object to be stored is not handed over at all: the thread that read it serves its request as well, for the sender
waits for the answer and nothing else comes meanwhile. Two threads that wake each other cost as much as the object's
rows.

This leans on private parts of pynetdicom, which `dicom_io.associations.private_parts` knows; where they differ
nobody gives an association these classes' ways.
"""

from __future__ import annotations

import os
import queue
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from dicom_io.associations.data_pdu import data_pdu_head
from dicom_io.associations.message_limits import BoundedAnswers
from dicom_io.associations.store_request import PlainStore
from dicom_io.associations.store_response import success_pdu
from dicom_io.associations.store_serving import serve_store
from dicom_io.foundation.bell import Bell
from dicom_io.foundation.readable import readable

LOOK_SECONDS = 0.02
UNSETTLED_SECONDS = 0.001
"""Between two looks while an association is closed, or its sender is held back."""
TOGETHER_BYTES = 256 << 10
"""Of a data set, sent at a time: most peers take fragments of 16 kB."""
_ITEM_HEAD_BYTES = 6
"""Of a presentation data value: length, context and message control header (PS3.8 9.3.5, E.2)."""
_MORE, _LAST, _LAST_OF_COMMAND = b"\x00", b"\x02", 0x03

PRIVATE_PARTS = (
    DULServiceProvider.run_reactor,
    DULServiceProvider._process_recv_primitive,
    DULServiceProvider.send_pdu,
    DULServiceProvider.stop_dul,
    DULServiceProvider.kill_dul,
    DULServiceProvider.peek_next_pdu,
    DULServiceProvider.idle_timer_expired,
    DIMSEServiceProvider.receive_primitive,
    DIMSEServiceProvider.get_msg,
    DIMSEServiceProvider.send_msg,
    C_STORE_RQ.encode_msg,
    C_STORE_RQ.primitive_to_message,
    AssociationSocket.send,
    Association._run_reactor,
    Association._serve_request,
)
"""What this is written for."""


class WokenDul(DULServiceProvider):
    """An upper layer that waits for the network and its own side at once; made by giving an existing one this class."""

    look_seconds = LOOK_SECONDS
    """How long it waits at most."""
    serves = False
    """Whether this thread serves a request just now, and leaves the network alone."""

    def begin_waiting(self) -> None:
        """Take over, before the thread is started."""
        self._bell = Bell()

    def send_pdu(self, primitive: Any) -> None:
        """Have something sent, at once."""
        super().send_pdu(primitive)
        self._bell.ring()

    def kill_dul(self) -> None:
        """Have the thread end, at once."""
        super().kill_dul()
        self._bell.ring()

    def idle_timer_expired(self) -> bool:
        """Say whether the peer was silent for too long; while it waits for an answer it is not."""
        return not self.serves and bool(super().idle_timer_expired())

    def send_at_once(self, pdu: bytes) -> bool:
        """Send P-DATA from the thread that asks, as the state machine would (PS3.8 DT-1 and AR-7); say whether it went.

        Not past what waits to be sent, and over TLS, which cannot be written to while it is read, only by this thread.
        """
        connection = self.socket.socket if self.socket is not None else None
        if connection is None or self.to_provider_queue.queue:
            return False
        if isinstance(connection, ssl.SSLSocket) and threading.current_thread() is not self:
            return False
        if self.state_machine.current_state not in ("Sta6", "Sta8"):
            return False
        cast(AssociationSocket, self.socket).send(pdu)
        return True

    @property
    def _run_loop_delay(self) -> float:  # an attribute there, slept for by the loop
        if threading.current_thread() is not self:
            return UNSETTLED_SECONDS
        return self._rest()

    @_run_loop_delay.setter
    def _run_loop_delay(self, seconds: float) -> None:
        """Pynetdicom sets it once, to what is UNSETTLED_SECONDS here."""

    def _rest(self) -> float:
        """Wait until there is something to do; return how long to sleep then."""
        self._pass_on()
        if self._kill_thread or self.to_provider_queue.queue or self.event_queue.queue:
            return 0.0
        connection = self.socket.socket if self.socket is not None else None
        if connection is None or self.state_machine.current_state in ("Sta1", "Sta13") or self._holds_back():
            return UNSETTLED_SECONDS
        if self._holds_something():
            return 0.0
        try:
            woken = readable((connection.fileno(), self._bell.listening), self.look_seconds)
        except (OSError, ValueError):  # the socket was closed meanwhile
            return UNSETTLED_SECONDS
        if self._bell.listening in woken:
            self._bell.hush()
        return 0.0

    def _pass_on(self) -> None:
        """Wake the association's thread for what its peer said."""
        if self.to_user_queue.queue and not self.assoc.dimse.msg_queue.queue:
            self.assoc.dimse.msg_queue.put((None, None))  # as pynetdicom wakes who waits for an answer

    def _holds_back(self) -> bool:
        """Say whether nothing is to be read now, whatever comes."""
        return False

    def _holds_something(self) -> bool:
        """Say whether something was read from the network already and still has to be looked at."""
        pending = getattr(cast(Any, self.socket).socket, "pending", None)  # TLS has a buffer of its own
        return bool(pending and pending())


class WokenRequestorDul(WokenDul):
    """The same for an association that we asked for, from its connection on; no timer runs while it waits."""

    look_seconds = 0.5
    _sends_at_once = True

    def send_pdu(self, primitive: Any) -> None:
        """Have something sent; data at once, by the thread that asks: it reads no faster than the peer takes."""
        if isinstance(primitive, P_DATA) and self._sends_at_once:
            self._send_fragments(primitive.presentation_data_value_list)
        else:
            super().send_pdu(primitive)

    def send_data_set(self, context_id: int, file: BinaryIO, length_bytes: int, most_bytes: int) -> None:
        """Send a data set in fragments, several with each call of the network: it costs as much as their bytes.

        Parameters
        ----------
        file
            Stands where the data set begins; read until its `length_bytes` are sent.
        most_bytes
            That the peer takes in one PDU (PS3.8 D.1); 0 is any length.
        """
        step = (most_bytes - _ITEM_HEAD_BYTES) if most_bytes else length_bytes
        together = step * max(1, TOGETHER_BYTES // step)
        for sent in range(0, length_bytes, together):
            chunk = memoryview(file.read(min(together, length_bytes - sent)))
            ends = range(step, len(chunk) + step, step)
            fragments = [
                (context_id, (_LAST if sent + end >= length_bytes else _MORE) + chunk[end - step : end]) for end in ends
            ]
            self._send_fragments(fragments)

    def _send_fragments(self, fragments: Sequence[tuple[int, bytes]]) -> None:
        """Send fragments of a message; once one has gone the other way none may overtake it."""
        pieces: list[bytes] = []
        for context_id, value in fragments:
            pieces += (data_pdu_head(context_id, len(value)), value)
        self._sends_at_once = self._sends_at_once and self.send_at_once(b"".join(pieces))
        if not self._sends_at_once:
            for fragment in fragments:
                primitive = P_DATA()
                primitive.presentation_data_value_list.append(fragment)
                super().send_pdu(primitive)

    def _pass_on(self) -> None:
        """Nothing: whoever asked for the association waits for the answer itself."""


class RequestQueue(queue.Queue[Any]):
    """What the association's thread is to do, and whether it is doing the last thing that it took."""

    is_served = False

    @property
    def is_at_rest(self) -> bool:
        """Say whether everything that was put here has been done."""
        with self.mutex:  # `_get` is called with it
            return not self.queue and not self.is_served

    def _get(self) -> Any:
        item = super()._get()
        self.is_served = item[1] is not None
        return item


class RequestorDimse(BoundedAnswers):
    """Sends the data set of a file without making an object of each fragment; its upper layer is that above."""

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message."""
        if not isinstance(primitive, C_STORE) or primitive._dataset_path is None:
            super().send_msg(primitive, context_id)
            return
        self.number(primitive)
        path, offset = cast(tuple[Path, int], primitive._dataset_path)
        message = C_STORE_RQ()
        message.primitive_to_message(primitive)
        upper_layer, most_bytes = cast(WokenRequestorDul, self.dul), self.maximum_pdu_size
        with path.open("rb") as file:
            for fragment in message.encode_msg(context_id, most_bytes):
                upper_layer.send_pdu(fragment)
                (_context_id, value), *_none = fragment.presentation_data_value_list
                if value[0] & _LAST_OF_COMMAND == _LAST_OF_COMMAND:
                    break  # pynetdicom would go on with the data set
            length_bytes = file.seek(0, os.SEEK_END) - offset
            file.seek(offset)
            upper_layer.send_data_set(context_id, file, length_bytes, most_bytes)


class WokenDimse(DIMSEServiceProvider):
    """Serves one request after the other while they come."""

    woken = False
    """Whether this and the upper layer have been given their new ways; else pynetdicom's are kept."""
    msg_queue: RequestQueue

    def begin_waiting(self) -> None:
        """Take over, before the association's thread is started."""
        self.woken, self.msg_queue = True, RequestQueue()

    def take_store(self, request: PlainStore, context_id: int) -> None:
        """Have an object stored and its sender answered; by this thread, the upper layer's, unless others come first.

        Whoever holds the association's thread to send something of its own, or has not established the association
        yet, has the request wait.
        """
        association, upper_layer = self.assoc, cast(WokenDul, self.dul)
        free = association.is_established and association._reactor_checkpoint.is_set()
        if not free or not self.msg_queue.is_at_rest:
            self.msg_queue.put((context_id, request))
            return
        upper_layer.serves = True
        try:
            serve_store(association, request, context_id)
        finally:
            upper_layer.serves = False

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; the answer to most requests, that an object is stored, without detours."""
        pdu = _success_pdu(primitive, context_id) if self.woken else b""
        most_bytes = self.maximum_pdu_size or sys.maxsize  # PS3.8 D.1: 0 is any length
        if not pdu or len(pdu) > most_bytes or not cast(WokenDul, self.dul).send_at_once(pdu):
            super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> Any:
        """Return what came, waiting for it a little; called without `block` by the association's loop only.

        Requests are served here, before the loop would sleep again. ``(None, None)`` lets the loop look around.
        """
        if block or not self.woken:
            return super().get_msg(block)
        association = self.assoc
        while True:
            try:
                context_id, request = self.msg_queue.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                return None, None
            if request is None or context_id is None:
                return None, None
            self._serve(request, context_id)
            if association._kill or self.dul.to_user_queue.queue or not association._reactor_checkpoint.is_set():
                return None, None

    def serve_waiting(self) -> None:
        """Serve what came whole; called by the association's thread before it heeds what ends the association."""
        while self.msg_queue.queue and not self.assoc._kill:
            context_id, request = self.msg_queue.get_nowait()
            if request is not None:
                self._serve(request, context_id)

    def _serve(self, request: Any, context_id: int) -> None:
        association = self.assoc
        if isinstance(request, PlainStore):
            association._is_paused = True
            serve_store(association, request, context_id)
            association._is_paused = False
        else:
            association._serve_request(request, context_id)
        self.msg_queue.is_served = False


def _success_pdu(primitive: object, context_id: int) -> bytes:
    """Return the encoded answer to a C-STORE request that succeeded; empty for everything else."""
    if not isinstance(primitive, C_STORE):
        return b""
    answer = cast(Any, primitive)
    if answer.Status != 0x0000 or answer.MessageIDBeingRespondedTo is None:
        return b""
    if answer.ErrorComment is not None or answer.OffendingElement is not None:
        return b""
    uids = str(answer.AffectedSOPClassUID), str(answer.AffectedSOPInstanceUID)
    return success_pdu(context_id, answer.MessageIDBeingRespondedTo, *uids)
