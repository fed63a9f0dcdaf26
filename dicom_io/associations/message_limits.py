"""How much of a DIMSE message is taken in before anybody has looked at it, how much of an answer is decoded, and how
long all answers to one request may take.

pynetdicom 3.0.4 collects a command set, and every data set but that of a C-STORE request, in memory for as long as it
comes, and decodes whatever an archive answers.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.associations.fragment_order import misplaced, single_values
from dicom_io.associations.numbered_requests import NumberedRequests
from dicom_io.data_sets.nesting import TooManyItemsError, require_few_items

LOGGER = logging.getLogger(__name__)

MAXIMUM_COMMAND_BYTES = 1 << 16
"""A command set has a dozen elements of at most 64 bytes (PS3.7 annex E); some peers add private ones."""
MAXIMUM_MESSAGE_BYTES = 16 << 20
"""Of a data set that is not to be stored: ten thousand objects of a storage commitment are 2 MB."""
MAXIMUM_ANSWER_BYTES = 1 << 20
"""Of one match, or of a reply."""
MOST_ITEMS, DEEPEST = 1000, 16
"""Items in an answer, and how deep they are nested; we ask for none."""
MAXIMUM_OBJECT_BYTES = 1 << 30
"""Of an object that comes over an association of ours (C-GET), which is collected in memory."""
MOST_WAITING, BREATH_SECONDS = 1000, 0.05
"""Answers that nobody has looked at yet; once there are more, one is read from the network in so long."""
_DATA_SETS = ("Identifier", "ActionReply", "EventReply")
"""Where pynetdicom keeps what it would decode of an answer, still encoded."""


def outgrown(message: DIMSEMessage | None) -> str | None:
    """Say what of a message that is still coming has outgrown its limit; None where nothing has.

    The data set of a C-STORE request has a limit of its own (`dicom_io.associations.server`).
    """
    if message is None:
        return None
    if message.encoded_command_set.tell() > MAXIMUM_COMMAND_BYTES:
        return f"a command set grew to more than {MAXIMUM_COMMAND_BYTES} bytes"
    if isinstance(message, C_STORE_RQ) or message.data_set is None:
        return None
    if message.data_set.tell() > MAXIMUM_MESSAGE_BYTES:
        return f"a data set that is not to be stored grew to more than {MAXIMUM_MESSAGE_BYTES} bytes"
    return None


def give_up(dimse: DIMSEServiceProvider, why: str) -> None:
    """Drop the message that is coming and abort its association."""
    LOGGER.warning("association aborted: %s", why)
    dimse.message = None
    dimse.dul.event_queue.put("Evt19")  # PS3.8 table 9-10: invalid PDU, the state machine sends A-ABORT


class BoundedAnswers(NumberedRequests):
    """The messages of an association of ours; made by giving an existing provider this class.

    What is beyond measure is taken for no answer: pynetdicom aborts then, and whoever asked is told so.
    """

    answer_by: float | None = None
    """When the last answer must be there, on the monotonic clock; None while nobody waits with a limit."""
    was_too_slow = False
    """Whether the request that was made last was not answered by then."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Collect fragments; end the association of a message that grows beyond its limit, or comes out of order."""
        if self.msg_queue.qsize() > MOST_WAITING:
            time.sleep(BREATH_SECONDS)  # the peer waits in its turn, as nothing is read meanwhile
        for value in single_values(primitive):
            why = misplaced(self.message, value)
            if why is None:
                super().receive_primitive(value)
                why = self._outgrown()
            if why is not None:
                give_up(self, why)
                self.msg_queue.put((None, None))  # whoever waits for the answer need not wait for the rest of it
                return

    def _outgrown(self) -> str | None:
        data_set = self.message.data_set if self.message is not None else None
        if data_set is not None and data_set.tell() > MAXIMUM_OBJECT_BYTES:
            return f"an object grew to more than {MAXIMUM_OBJECT_BYTES} bytes"
        return outgrown(self.message)

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message and its context; nothing in place of one that must not be decoded, or is stray."""
        context_id, message = self._next(block)
        if message is not None and block and (why := self.stray(message)):
            return self._not_taken("is not taken", why)
        if message is None or isinstance(message, C_STORE):  # objects are looked into where they are received
            return context_id, message
        try:
            self._require_small(context_id, message)
        except TooManyItemsError as error:
            return self._not_taken("is not decoded", str(error))
        return context_id, message

    def _not_taken(self, what: str, why: str) -> tuple[None, None]:
        """Abort over an answer that is none; pynetdicom would, too, and put it down to a timeout."""
        LOGGER.warning("association aborted: an answer of %s %s: %s", self.assoc.acceptor.ae_title, what, why)
        self.assoc.abort()
        return None, None

    def _next(self, block: bool) -> Any:
        """Return what comes next, waiting for it no longer than its request has left."""
        if not block or self.answer_by is None:
            return super().get_msg(block)
        left, patience = self.answer_by - time.monotonic(), self.dimse_timeout
        try:
            if left > 0:
                return self.msg_queue.get(timeout=left if patience is None else min(left, patience))
        except queue.Empty:
            left = self.answer_by - time.monotonic()
        self.was_too_slow = left <= 0
        return None, None

    def _require_small(self, context_id: int | None, message: Any) -> None:
        encoded = next((value for name in _DATA_SETS if (value := getattr(message, name, None)) is not None), None)
        context = self.assoc._accepted_cx.get(context_id or 0)
        if encoded is None or context is None:
            return
        content = encoded.getvalue()
        if len(content) > MAXIMUM_ANSWER_BYTES:
            raise TooManyItemsError(f"more than {MAXIMUM_ANSWER_BYTES} bytes")
        require_few_items(content, str(context.transfer_syntax[0]), most_items=MOST_ITEMS, deepest=DEEPEST)


@contextmanager
def answered_within(association: Association, seconds: float) -> Iterator[None]:
    """End the association if the answers to what the block asks have not all come by then; see `was_too_slow`."""
    dimse: Any = association.dimse
    dimse.answer_by, dimse.was_too_slow = time.monotonic() + seconds, False
    try:
        yield
    finally:
        dimse.answer_by = None


def was_too_slow(association: Association) -> bool:
    """Say whether the last request made in `answered_within` was not answered in time."""
    dimse: Any = association.dimse
    return bool(dimse.was_too_slow)
