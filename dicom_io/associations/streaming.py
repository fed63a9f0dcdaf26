"""Receives data sets in large steps straight into their files, past pynetdicom's way of one PDU at a time.

pynetdicom 3.0.4 copies every fragment five times and asks ``select`` between any two; measured with 10 MB images, that
is two thirds of the time. Here, while the data set of a C-STORE request arrives (state Sta6, PS3.8 9.2), as much as
there is goes from the socket into one buffer and from there into the file and its hash. An ordinary request itself is
read here as well (`dicom_io.associations.store_request`). Everything else stays pynetdicom's; the end of a data set
whose request it has read is handed over to it as an empty last fragment.

This leans on private parts of pynetdicom. Where they are not those that it was written for
(`dicom_io.associations.private_parts`), the listener receives as pynetdicom does, only slower.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pynetdicom import fsm
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

from dicom_io.associations.data_pdu import data_pdu
from dicom_io.associations.fragment_run import HEAD_BYTES, LEAST_FRAGMENT_BYTES, FragmentRun
from dicom_io.associations.holding_socket import HoldingSocket
from dicom_io.associations.store_request import ArrivingStore, is_stored, plain_request
from dicom_io.associations.waking import WokenDimse, WokenDul
from dicom_io.data_sets.file_meta import encode_file_meta
from dicom_io.foundation.errands import Errand
from dicom_io.storing.spool import SpooledDataSet

LOGGER = logging.getLogger(__name__)

STEP_BYTES = 1 << 20
MAXIMUM_WAITING = 8
"""Requests of one association that wait for their turn; meanwhile nothing more is read from it."""
_IDLE_BUFFERS: deque[memoryview] = deque(maxlen=8)
"""Of associations that have ended: new memory for each costs as much as opening one."""
LOOK_SECONDS = 0.02
"""How long one turn waits for more of a data set before it looks after everything else."""

_PDU_HEAD, _FRAGMENT_HEAD = struct.Struct(">BxI"), struct.Struct(">BxIIBB")
_P_DATA_TF = 4
_COMMAND, _LAST = 1, 2  # bits of the message control header, PS3.8 E.2
_LENGTHS_BETWEEN, _HEADER_BYTES = 4, 2
"""From the PDU's length to that of its only fragment, and from there to its value."""

PRIVATE_PARTS = (
    DULServiceProvider._is_transport_event,
    DULServiceProvider._read_pdu_data,
    DULServiceProvider._decode_pdu,
    DIMSEMessage.decode_msg,
    DIMSEMessage.message_to_primitive,
    fsm,  # all of it: `dicom_io.associations.closing` replaces one of its methods
    vars(AssociationSocket)["ready"].fget,
    AssociationSocket.recv,
)
"""What this is written for."""


class StreamingDul(WokenDul):
    """The upper layer of one association that may receive objects; made by giving an existing one this class."""

    maximum_pdu_bytes: int

    def begin(
        self,
        maximum_pdu_bytes: int,
        pdu_timeout_seconds: float,
        spool_folder: Path,
        refuse_oversized: Callable[[], bool],
    ) -> None:
        """Take over, before the thread is started.

        Parameters
        ----------
        spool_folder
            Where arriving data sets are written.
        refuse_oversized
            Ends the association of a data set that grew too long, and says whether that was so.
        """
        self.maximum_pdu_bytes = maximum_pdu_bytes
        self._pdu_timeout_seconds = pdu_timeout_seconds
        self._spool_folder = spool_folder
        self._refuse_oversized = refuse_oversized
        self._give_up_at = 0.0
        """Monotonic clock; of the fragment under way."""
        self._buffer: memoryview | None = None
        self._other_buffer: memoryview | None = None
        """Lent to whoever hashes what it holds, until `_hashing` is done."""
        self._hashing: Errand | None = None
        self._run: FragmentRun | None = None
        """How the fragments of the data set under way look, once one has come that is not the last."""
        self._left: int | None = None
        """Bytes that are still to come of the fragment under way; None between fragments."""
        self._is_last = False
        self._unread = False
        """Whether what the socket holds was never looked at; else it is the beginning of something."""
        self.begin_waiting()

    def run(self) -> None:
        """Serve the association in this thread, and leave the buffers to another one."""
        super().run()
        if self._hashing is not None:
            self._hashing.wait()
        _IDLE_BUFFERS.extend(buffer for buffer in (self._buffer, self._other_buffer) if buffer is not None)
        self._buffer = self._other_buffer = None

    def _holds_something(self) -> bool:
        return bool(cast(HoldingSocket, self.socket).held) or super()._holds_something()

    def _holds_back(self) -> bool:
        """Let a sender that waits for no answer wait for us; each request holds a file open."""
        return self.assoc.dimse.msg_queue.qsize() >= MAXIMUM_WAITING

    def _is_transport_event(self) -> bool:
        """Read what came; called by the reactor on every turn."""
        if self._holds_back() or self.event_queue.queue:  # which may be the end of the association
            return False
        transport = cast(HoldingSocket, self.socket)
        if self.state_machine.current_state == "Sta13":
            transport.held = b""  # of an association that is over; pynetdicom would wait for the rest of a PDU
        try:
            sink = self._sink()
            if sink is not None:
                return self._stream(sink, transport)
            if self._awaits_request():
                return self._begin(transport)
        except (OSError, ValueError):  # ValueError: the socket was closed meanwhile
            self._lose_sender()
            return True
        return bool(super()._is_transport_event())

    def _lose_sender(self) -> None:
        sender = self.assoc.requestor
        LOGGER.warning("connection of %s at %s lost while a data set arrived", sender.ae_title, sender.address)
        self.event_queue.put("Evt17")

    def _sink(self) -> SpooledDataSet | None:
        """Return the file of the data set that is arriving, if one is."""
        message = self.assoc.dimse.message
        if message is None or self.state_machine.current_state != "Sta6":
            return None
        return message.data_set if isinstance(message.data_set, SpooledDataSet) else None

    def _awaits_request(self) -> bool:
        return self.assoc.dimse.message is None and self.state_machine.current_state == "Sta6"

    def _begin(self, transport: HoldingSocket) -> bool:
        """Take in an ordinary C-STORE request and what came of its data set, or leave to pynetdicom what came instead.

        Returns whether anything came.
        """
        self._unread = bool(transport.held)
        filled = self._fill(transport)
        if filled is None:
            return False
        if not filled:
            self.event_queue.put("Evt17")
            return True
        view = cast(memoryview, self._buffer)[:filled]
        request_bytes = self._take_request(view)
        sink = self._sink()
        if sink is None:
            transport.held, self._unread = bytes(view) + transport.held, True
            return bool(super()._is_transport_event())
        self._take(sink, transport, view[request_bytes:])
        return True

    def _take_request(self, view: memoryview) -> int:
        """Have what begins with an ordinary C-STORE request arrive, and return how long that is; else do nothing."""
        if len(view) < HEAD_BYTES:
            return 0
        kind, pdu_bytes, fragment_bytes, context_id, control = _FRAGMENT_HEAD.unpack_from(view)
        ends_at = _PDU_HEAD.size + pdu_bytes
        whole = ends_at <= len(view) and fragment_bytes == pdu_bytes - _LENGTHS_BETWEEN
        if kind != _P_DATA_TF or not whole or control & (_COMMAND | _LAST) != (_COMMAND | _LAST):
            return 0
        command, context = bytes(view[HEAD_BYTES:ends_at]), self.assoc._accepted_cx.get(context_id)
        if context is None or not is_stored(str(context.abstract_syntax)):
            return 0
        request = plain_request(command)
        if request is None:
            return 0
        uids = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        try:
            sink = SpooledDataSet(self._spool_folder, encode_file_meta(*uids, str(context.transfer_syntax[0])))
        except OSError:
            return 0  # tried again, and told, where pynetdicom's requests get their files
        self.assoc.dimse.message = ArrivingStore(request, context_id, command, sink)
        return int(ends_at)

    def _stream(self, sink: SpooledDataSet, transport: HoldingSocket) -> bool:
        """Take the data set in until it ends, nothing more comes, or somebody wants to say something."""
        came = False
        while not self._kill_thread and not self.to_provider_queue.queue:
            self._unread = self._unread and bool(transport.held)
            take_in = self._take_run if self._in_a_run(transport) else self._take_any
            ended = take_in(sink, transport)
            if ended is None:
                if not transport.arrives(LOOK_SECONDS):
                    break
                continue
            came = True
            if ended:
                break
        return came

    def _take_any(self, sink: SpooledDataSet, transport: HoldingSocket) -> bool | None:
        """Read and take apart what came; return whether there is something else to do next, None where nothing came."""
        filled = self._fill(transport)
        if not filled:
            return self._came_nothing(filled)
        self._idle_timer.restart()
        return self._take(sink, transport, cast(memoryview, self._buffer)[:filled])

    def _came_nothing(self, filled: int | None) -> bool | None:
        if filled is None:
            return None
        self._lose_sender()
        return True

    def _in_a_run(self, transport: HoldingSocket) -> bool:
        """Say whether what comes next can be laid out: fragments like the one before, which was not the last."""
        if self._run is None or self._is_last or self._unread:
            return False
        return transport.is_plain and len(transport.held) < HEAD_BYTES

    def _take_run(self, sink: SpooledDataSet, transport: HoldingSocket) -> bool | None:
        """As `_take_any`, of fragments that all look the same; what looks otherwise is held for that."""
        run, buffer, left = cast(FragmentRun, self._run), cast(memoryview, self._buffer), self._left or 0
        count = transport.read_into(*run.layout(buffer, left, transport.held))
        if not count:
            return self._came_nothing(count)
        self._idle_timer.restart()
        found = run.gathered(buffer, left, transport.held, count)
        if found.began:
            self._give_up_at = time.monotonic() + self._pdu_timeout_seconds
        self._left = found.left_bytes or None
        self._require_haste()
        transport.held, self._unread = found.behind, len(found.behind) >= HEAD_BYTES
        if found.value_bytes:
            self._write(sink, buffer[: found.value_bytes])
        return self._refuse_oversized()

    def _write(self, sink: SpooledDataSet, values: memoryview) -> None:
        """Write and hash what is in the buffer, and go on with the other one when that is no longer needed."""
        hashing = sink.append(values)
        if hashing is None:
            return
        if self._hashing is not None:
            self._hashing.wait()
        self._buffer, self._other_buffer = self._other_buffer or _some_buffer(), self._buffer
        self._hashing = hashing

    def _require_haste(self) -> None:
        """Cut a peer that drips."""
        if self._left and time.monotonic() > self._give_up_at:
            raise OSError(f"peer takes longer than {self._pdu_timeout_seconds:g} s over one PDU")

    def _fill(self, transport: HoldingSocket) -> int | None:
        """Put what is held and what has arrived into the buffer; return how much that is, 0 if the peer closed.

        None where nothing has arrived; then what is held stays held.
        """
        if self._buffer is None:
            self._buffer = _some_buffer()
        held_bytes = min(len(transport.held), STEP_BYTES)
        count = 0 if self._unread else transport.read_into(self._buffer[held_bytes:])
        if count is None or not (count or self._unread):
            return count
        self._buffer[:held_bytes] = transport.take_held(held_bytes)
        self._unread = False
        return held_bytes + count

    def _take(self, sink: SpooledDataSet, transport: HoldingSocket, view: memoryview) -> bool:
        """Write what came of the data set; return whether there is something else to do next."""
        pieces: list[memoryview] = []
        position, ended, other = 0, False, False
        while not ended:
            if self._left is None:
                size = self._fragment_bytes(view[position:])
                if size is None or size < 0:
                    other = size is not None
                    break
                self._left = size
                self._give_up_at = time.monotonic() + self._pdu_timeout_seconds
                position += HEAD_BYTES
            step = min(self._left, len(view) - position)
            if step:
                pieces.append(view[position : position + step])
            position += step
            self._left -= step
            if self._left:
                break
            self._left = None
            ended = self._is_last
        self._require_haste()
        sink.write_all(pieces)
        behind = transport.held  # more was held than fits into the buffer
        transport.held = bytes(view[position:]) + behind
        if self._refuse_oversized():
            return True
        if ended:
            self._end(sink, transport)
        elif other:
            self._read_pdu_data()
        if ended or other or behind:
            self._unread = bool(transport.held)
        return ended or other

    def _end(self, sink: SpooledDataSet, transport: HoldingSocket) -> None:
        """Hand over a data set that is whole."""
        self._run = None
        sink.end()
        dimse, message = self.assoc.dimse, cast(DIMSEMessage, self.assoc.dimse.message)
        context_id = cast(int, message.context_id)
        if isinstance(message, ArrivingStore):
            dimse.message = None
            cast(WokenDimse, dimse).take_store(message.message_to_primitive(), context_id)
            return
        transport.held = data_pdu(context_id, bytes([_LAST])) + transport.held
        self._read_pdu_data()

    def _fragment_bytes(self, view: memoryview) -> int | None:
        """Return the length of the fragment that begins here; None when that cannot be said yet, -1 if it is no such.

        Only PDUs with one fragment of a data set count: what every sender sends in the middle of one.
        """
        if len(view) < _PDU_HEAD.size:
            return None
        kind, pdu_bytes = _PDU_HEAD.unpack_from(view)
        if kind != _P_DATA_TF or not _LENGTHS_BETWEEN + _HEADER_BYTES <= pdu_bytes <= self.maximum_pdu_bytes:
            return -1
        if len(view) < HEAD_BYTES:
            return None
        *_, fragment_bytes, context_id, control = _FRAGMENT_HEAD.unpack_from(view)
        if fragment_bytes != pdu_bytes - _LENGTHS_BETWEEN or control & _COMMAND:
            return -1
        if context_id != cast(DIMSEMessage, self.assoc.dimse.message).context_id:
            return -1
        self._is_last, value_bytes = bool(control & _LAST), int(fragment_bytes) - _HEADER_BYTES
        if not self._is_last and value_bytes >= LEAST_FRAGMENT_BYTES:
            self._note_run(bytes(view[:HEAD_BYTES]), value_bytes)
        return value_bytes

    def _note_run(self, head: bytes, value_bytes: int) -> None:
        if self._run is None or self._run.head != head:
            self._run = FragmentRun(head, value_bytes, STEP_BYTES)


def _some_buffer() -> memoryview:
    """Return a buffer of `STEP_BYTES` with whatever was in it before."""
    try:
        return _IDLE_BUFFERS.pop()
    except IndexError:
        return memoryview(bytearray(STEP_BYTES))
