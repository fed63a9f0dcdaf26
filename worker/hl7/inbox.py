"""HL7 messages on their way in: written down and committed, then acknowledged; the sweeper applies them in order.

========================================  =============================================================
received                                  answered
========================================  =============================================================
an ADT or an ORU^R01 that can be read     AA, once its row is committed; the same bytes again too
no HL7, an unknown character set          AR, error 100
more than one message in one frame        AR, error 100
another message type                      AR, error 200
MSH-10 or a needed identifier is missing  AR or AE, error 101; a missing segment AE, error 100
another processing id                     AR, error 202
a message that is too long                AR, error 207, and the connection is closed
one with more than 100 merges or reports  AR, error 207
the database does not take it             AE, error 207: the sender tries again
========================================  =============================================================

A sender that asks for the enhanced mode (MSH-15, MSH-16) hears CA, CE and CR, when it wants to.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from hl7_io.acknowledgement import Answer, build_acknowledgement
from hl7_io.inbound import Envelope, RefusedMessage, understand
from hl7_io.reading import Message, UnreadableError, read_message
from worker.arrival.identity import storable
from worker.foundation.failpoints import failpoint
from worker.rows.database import DATABASE_GONE, SessionFactory, database_now, inserting
from worker.rows.site_tables import InboundMessage
from worker.rows.states import InboundState
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

logger = logging.getLogger(__name__)

ACCEPTED = Answer("AA")
UNAVAILABLE = Answer("AE", "207", "the message could not be stored; send it again")
TOO_LONG = Answer("AR", "207", "the message is longer than allowed")


class Inbox:
    """Takes messages in for one listener; safe to call from several threads."""

    def __init__(self, settings: Settings, listener: Hl7Listener, sessions: SessionFactory) -> None:
        self._listener = listener
        self._sessions = sessions
        self._zone = ZoneInfo(settings.time_zone)

    def take(self, content: bytes, peer_address: str) -> bytes:
        """Store one message and return what its sender is told; empty when it wants to hear nothing."""
        message: Message | None = None
        try:
            message = read_message(content, self._listener.character_set)
            envelope = understand(message, self._listener.processing_id)
            with self._sessions.begin() as session:
                new = _entered(session, envelope, content, peer_address)
            failpoint("after_row_before_reply")
            logger.info("HL7 %s from %s: %s", envelope.message_type, peer_address, "stored" if new else "known already")
            answer = ACCEPTED
        except UnreadableError as error:
            answer = Answer("AR", "100", str(error))
        except RefusedMessage as error:
            answer = error.answer
        except (DBAPIError, *DATABASE_GONE) as error:
            logger.error("HL7 message from %s not stored (%s)", peer_address, _cause(error))
            answer = UNAVAILABLE
        return self._answered(answer, message, peer_address)

    def refuse_too_long(self, head: bytes, peer_address: str) -> bytes:
        """Return what the sender of an oversized message is told, as far as its beginning can be read."""
        try:
            message = read_message(head.split(b"\r", 1)[0], self._listener.character_set)
        except UnreadableError:
            message = None
        return self._answered(TOO_LONG, message, peer_address)

    def _answered(self, answer: Answer, message: Message | None, peer_address: str) -> bytes:
        if answer is not ACCEPTED:
            logger.warning("HL7 message from %s: %s (%s)", peer_address, answer.code, answer.error_text)
        wanted = _in_the_mode_asked_for(answer, message)
        if wanted is None:
            return b""
        return build_acknowledgement(wanted, message, uuid.uuid4().hex[:20], datetime.now(UTC).astimezone(self._zone))


def _cause(error: Exception) -> str:
    return type(getattr(error, "orig", None) or error).__name__


def _entered(session: Session, envelope: Envelope, content: bytes, peer_address: str) -> bool:
    """Write the message down; False when the very same bytes came before."""
    row = {
        "received_at": database_now(session),
        "peer_address": peer_address,
        "sender": storable(envelope.sender),
        "message_type": storable(envelope.message_type),
        "control_id": storable(envelope.control_id),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content": content,
        "state": InboundState.WAITING,
        "attempts": 0,
    }
    statement = inserting(session, InboundMessage).values(row).on_conflict_do_nothing().returning(InboundMessage.id)
    return session.execute(statement).one_or_none() is not None


def _in_the_mode_asked_for(answer: Answer, message: Message | None) -> Answer | None:
    """Return the answer as MSH-15 and MSH-16 ask for it (HL7 v2.5.1 2.9.2); None when it is not wanted."""
    if message is None:
        return answer
    wishes = {15: message.header.text(15), 16: message.header.text(16)}
    if not any(wishes.values()):
        return answer
    when = {"AL": True, "NE": False, "ER": answer.code != "AA", "SU": answer.code == "AA", "": False}
    if when.get(wishes[15], True):
        return replace(answer, code=f"C{answer.code[1]}")
    return answer if when.get(wishes[16], True) else None
