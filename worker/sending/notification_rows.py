"""The rows of the outbox to people: what is due through which channel, who has it in hand, what became of it.

One row per study, channel and priority, so that nobody is told twice of the same. As with deliveries a row is taken by
a conditional update with a lease and a fencing token, and tried again with doubling waits; it ends when it was told, or
when the study was read, taken back or lowered before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.delivery_tables import Notification
from worker.rows.states import DeliveryState, StudyState
from worker.rows.study_tables import Study
from worker.sending.outbox import Moment, retry_delay
from worker.settings.config import Settings
from worker.settings.notifications import Channel

STALE = "the study was read, taken back or given another priority before this was told"


@dataclass(frozen=True)
class Message:
    """One notification in hand: what is told, and the right to say what became of it."""

    notification_id: int
    fencing_token: int
    attempts: int
    """Including the one being made."""
    channel: str
    run_id: int
    study_instance_uid: str
    priority: str
    flagged_at: datetime
    source: str
    """AE title of the sender."""
    unread: int
    """Unread studies of this priority, this one included."""
    patient_name: str
    patient_id: str
    accession_number: str
    finding: str
    """Why, as on the worklist."""


def queue_notifications(session: Session, study: Study, run_id: int, settings: Settings) -> None:
    """Have people told of what the machine flagged, through every channel that wants this priority, once."""
    if study.priority is None or study.flagged_at is None or study.read_at or study.priority_set_by or study.historical:
        return
    wanting = [channel for channel in settings.channels if study.priority in channel.levels]
    if not wanting:
        return
    told = select(Notification.channel).where(
        Notification.study_instance_uid == study.study_instance_uid, Notification.priority == study.priority
    )
    known, now = set(session.scalars(told)), database_now(session)
    for channel in wanting:
        if channel.name not in known:
            session.add(
                Notification(
                    study_instance_uid=study.study_instance_uid,
                    run_id=run_id,
                    channel=channel.name,
                    priority=study.priority,
                    created_at=now,
                    next_attempt_at=_outside_quiet_hours(channel, now, settings),
                )
            )


def _outside_quiet_hours(channel: Channel, moment: datetime, settings: Settings) -> datetime:
    return channel.outside_quiet_hours(moment, ZoneInfo(settings.time_zone))


def due_notifications(now: Moment) -> Select[Notification, Study]:
    """Return the query for notifications that may be tried at ``now``, of studies that are not held, oldest first."""
    return (
        select(Notification, Study)
        .join(Study, Study.study_instance_uid == Notification.study_instance_uid)
        .where(_is_due(now), Study.state != StudyState.HELD)
        .order_by(Notification.id)
    )


def _is_due(now: Moment) -> ColumnElement[bool]:
    waited = or_(Notification.next_attempt_at.is_(None), Notification.next_attempt_at <= now)
    free = or_(Notification.lease_until.is_(None), Notification.lease_until <= now)
    return (Notification.state == DeliveryState.PENDING) & waited & free


def notifications_to_ring(session: Session, settings: Settings, limit: int) -> list[str]:
    """Return the studies with due notifications that were not rung for lately; note the ring."""
    now = database_now(session)
    lately = now - timedelta(seconds=settings.ring_again_seconds)
    waits = or_(
        Notification.rung_at.is_(None),
        Notification.rung_at < lately,
        Notification.rung_at < Notification.next_attempt_at,
    )
    due = session.execute(due_notifications(now).where(waits).limit(limit)).all()
    for notification, _study in due:
        notification.rung_at = now
    return [study.study_instance_uid for _notification, study in due]


def due_channels(session: Session, study_instance_uid: str, now: datetime) -> set[str]:
    """Return the names of the channels through which something of the study is due at ``now``."""
    return set(session.scalars(_due_channels(), {"study": study_instance_uid, "now": now}))


@cache
def _due_channels() -> Select[str]:
    """Return the query for channels by ``study`` and ``now``; putting it together takes longer than its answer."""
    due = due_notifications(bindparam("now")).where(Notification.study_instance_uid == bindparam("study"))
    return due.with_only_columns(Notification.channel).order_by(None).distinct()


def take_due(
    session: Session, study_instance_uid: str, channel: Channel | None, name: str, settings: Settings
) -> list[Message]:
    """Take what is due of the study through one channel; what nobody needs to hear any more ends here.

    A channel that is not configured any more (None) fails, and quiet hours that began meanwhile put it off.
    """
    now = database_now(session)
    due = due_notifications(now).where(
        Notification.study_instance_uid == study_instance_uid, Notification.channel == name
    )
    messages = []
    for row, study in session.execute(due).all():
        if study.read_at is not None or study.priority != row.priority:
            _change(session, row, state=DeliveryState.SUPERSEDED, last_answer=STALE)
        elif channel is None:
            _change(session, row, state=DeliveryState.FAILED, last_answer=f"channel {name} is not configured any more")
        elif (later := _outside_quiet_hours(channel, now, settings)) > now:
            _change(session, row, next_attempt_at=later)
        else:
            lease = now + notification_lease(channel, settings)
            token, attempts = row.fencing_token + 1, row.attempts + 1
            message = _message(session, row, study, token, attempts)
            if _change(session, row, fencing_token=token, attempts=attempts, lease_until=lease):
                messages.append(message)
    return messages


def notification_lease(channel: Channel, settings: Settings) -> timedelta:
    """Return how long a notification that was taken stays in hand; nobody renews it."""
    return timedelta(seconds=settings.lease_seconds + 4 * channel.timeout_seconds)


def latest_attempt(channel_name: str, moment: datetime, settings: Settings) -> datetime:
    """Return ``moment``, or the end of the channel's quiet hours that it falls into; a channel may be no more."""
    channel = next((channel for channel in settings.channels if channel.name == channel_name), None)
    return moment if channel is None else _outside_quiet_hours(channel, moment, settings)


def _message(session: Session, row: Notification, study: Study, token: int, attempts: int) -> Message:
    unread = select(func.count()).where(
        Study.priority == row.priority, Study.read_at.is_(None), Study.state == StudyState.TRIAGED, ~Study.historical
    )
    return Message(
        notification_id=row.id,
        fencing_token=token,
        attempts=attempts,
        channel=row.channel,
        run_id=row.run_id,
        study_instance_uid=study.study_instance_uid,
        priority=row.priority,
        flagged_at=study.flagged_at or row.created_at,
        source=study.calling_ae_title,
        unread=session.scalar(unread) or 0,
        patient_name=study.patient_name,
        patient_id=study.patient_id,
        accession_number=study.accession_number,
        finding=study.priority_reason or "",
    )


def _change(session: Session, row: Notification, **values: Any) -> bool:
    """Change the row as long as nobody else has; returns whether it was changed."""
    changed = session.execute(
        update(Notification)
        .where(Notification.id == row.id, Notification.fencing_token == row.fencing_token)
        .where(Notification.state == DeliveryState.PENDING)
        .values(**values)
        .returning(Notification.id),
        execution_options={"synchronize_session": False},
    )
    return changed.one_or_none() is not None


def note_told(session: Session, message: Message, answer: str) -> bool:
    """Note that it was told; False when it is no longer in hand."""
    return _note(session, message, state=DeliveryState.SENT, last_answer=answer, sent_at=database_now(session))


def note_not_told(session: Session, message: Message, channel: Channel, why: str, settings: Settings) -> bool:
    """Put it back for another attempt after the backoff, outside quiet hours; False when it is no longer in hand."""
    due = database_now(session) + retry_delay(message.attempts, settings)
    return _note(session, message, last_answer=why, next_attempt_at=_outside_quiet_hours(channel, due, settings))


def _note(session: Session, message: Message, **values: Any) -> bool:
    changed: Sequence[int] = session.scalars(
        update(Notification)
        .where(Notification.id == message.notification_id, Notification.fencing_token == message.fencing_token)
        .where(Notification.state == DeliveryState.PENDING)
        .values(lease_until=None, **values)
        .returning(Notification.id),
        execution_options={"synchronize_session": False},
    ).all()
    return bool(changed)
