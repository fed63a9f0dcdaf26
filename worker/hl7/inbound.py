"""Stored HL7 messages applied one after the other, in the order in which they came; called by the sweeper."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore
from hl7_io.inbound import understand
from hl7_io.reading import read_message
from worker.hl7.inbound_effects import Effect, Origin, apply_meanings
from worker.rows.database import database_now
from worker.rows.site_tables import InboundMessage
from worker.rows.states import InboundState
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

logger = logging.getLogger(__name__)

BATCH_MESSAGES = 200
FIRST_WAIT_SECONDS = 60.0
"""Before a message is looked at again; doubles each time."""


def messages_to_apply(session: Session) -> list[int]:
    """Return the ids of the messages that are due, the oldest first, and count the attempt before it is made."""
    now = database_now(session)
    due = session.scalars(
        select(InboundMessage)
        .where(InboundMessage.state == InboundState.WAITING)
        .where(or_(InboundMessage.next_attempt_at.is_(None), InboundMessage.next_attempt_at <= now))
        .order_by(InboundMessage.id)
        .limit(BATCH_MESSAGES)
    ).all()
    for row in due:
        row.attempts += 1
        row.next_attempt_at = now + message_wait(row.attempts)
    return [row.id for row in due]


def message_wait(attempts: int) -> timedelta:
    """Return how long a message is left alone after the ``attempts``-th look at it."""
    return timedelta(seconds=FIRST_WAIT_SECONDS * 2 ** min(max(attempts - 1, 0), 20))


def apply_message(session: Session, message_id: int, settings: Settings, store: InstanceStore) -> Effect | None:
    """Do what one message says and note what became of it; None when it is settled already.

    Waiting for a study that does not come, or failing for an unexpected reason, ends after ``match_hours``.
    """
    row = session.get(InboundMessage, message_id, with_for_update=True)
    if row is None or row.state != InboundState.WAITING or row.content is None:
        return None
    listener = settings.hl7_listener or Hl7Listener()
    message = read_message(row.content, listener.character_set)
    envelope = understand(message, message.header.text(11))
    origin = Origin(row.message_type, row.sender, row.received_at, ZoneInfo(settings.time_zone))
    effect = apply_meanings(session, envelope.meanings, listener, store, origin)
    if effect.state == InboundState.WAITING and _is_over(row, listener, database_now(session)):
        effect = Effect(InboundState.UNMATCHED, effect.reason)
    row.state, row.reason = effect.state, effect.reason
    logger.info("HL7 message %d (%s) is %s: %s", row.id, row.message_type, effect.state, effect.reason)
    return effect


def give_up_message(session: Session, message_id: int, settings: Settings) -> None:
    """Note that applying a message failed for an unexpected reason, and stop trying when its time is over."""
    row = session.get_one(InboundMessage, message_id, with_for_update=True)
    row.reason = "it could not be applied; the sweeper's log says why"
    if _is_over(row, settings.hl7_listener or Hl7Listener(), database_now(session)):
        row.state = InboundState.UNMATCHED


def forget_old_messages(session: Session, settings: Settings) -> None:
    """Drop the patient data of messages older than ``keep_days``, and those that concerned nobody here entirely."""
    listener = settings.hl7_listener or Hl7Listener()
    oldest = database_now(session) - timedelta(days=listener.keep_days)
    old = InboundMessage.received_at < oldest
    session.execute(delete(InboundMessage).where(old, InboundMessage.state == InboundState.IGNORED))
    settled = InboundMessage.state != InboundState.WAITING
    session.execute(
        update(InboundMessage).where(old, settled, InboundMessage.content.is_not(None)).values(content=None)
    )


def _is_over(row: InboundMessage, listener: Hl7Listener, now: datetime) -> bool:
    return now - row.received_at > timedelta(hours=listener.match_hours)
