"""After the database's clock was set back nothing waits for the hour that it showed before.

A machine may start with a clock that is hours fast (its hardware clock keeps local time, say) until NTP puts it right.
Leases, waits and rings that were written meanwhile lie hours ahead then: an archive that was away for a second would be
tried again after hours, and what a dead worker had in hand taken over no sooner. Each of them has a longest time that
it can be told for; what lies further ahead was told by the wrong clock. Who holds a lease still renews it and loses
nothing.

An image that comes now seems to have come before a run that began, and before a person read, in that hour: what was
replaced since would be sent, and what nobody has seen would stay marked read. Both are dated back, so that what comes
is looked at anew; the audit trail keeps the times that were written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, or_, select, true, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.care.received_notes import LONGEST_WAIT_SECONDS as LONGEST_NOTE_SECONDS
from worker.hl7.inbound import message_wait
from worker.rows.backfills import PUT_OFF_SECONDS
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, DestinationOutage, Notification
from worker.rows.events import record
from worker.rows.gaps import LONGEST_RETRY as LONGEST_GAP_RETRY
from worker.rows.room import LONGEST_PAUSE_SECONDS
from worker.rows.run_tables import BackfillStudy, Run
from worker.rows.site_tables import InboundMessage, ProcessHeartbeat, ReceptionGap
from worker.rows.states import BackfillState, DeliveryState, InboundState, RunState
from worker.rows.study_tables import ReceivedNote, Study
from worker.rows.workitem_tables import WorkitemEvent
from worker.sending.commitment import answer_wait
from worker.sending.notification_rows import latest_attempt, notification_lease
from worker.sending.outbox import LONGEST_ABSENCE_SECONDS, retry_delay
from worker.settings.config import Settings
from worker.ups.couriers import LONGEST_RETRY_SECONDS as LONGEST_COURIER_SECONDS

PARK_SECONDS = 60.0
"""A study that cannot be queued because of an unexpected error is left alone this long, so others get their turn."""
SET_BACK_SECONDS = 1.0
"""Less than this is no jump: the database answers sooner at one time than at another."""
LATER_SECONDS = 30.0
"""What lies ahead by less than this beyond its longest is no jump either: it may have been written after the time was
asked for, by a transaction that ours had to wait for."""


class ClockWatch:
    """Notices that the database's clock was set back, by the clock of this process that only measures durations."""

    def __init__(self) -> None:
        self._seen: tuple[datetime, float] | None = None

    def was_set_back(self, now: datetime) -> bool:
        """Return whether less time has passed on the database's clock (``now``, aware UTC) than since the last call."""
        measured, last = time.monotonic(), self._seen
        self._seen = now, measured
        if last is None:
            return False
        return (now - last[0]).total_seconds() < measured - last[1] - SET_BACK_SECONDS


BEFORE_SECONDS = 600.0
"""What was done by the wrong clock counts as done so long ago: before any image that came until it was noticed."""


@dataclass(frozen=True)
class _Wait:
    """A column that says until when something waits, or when somebody last did something about it."""

    column: InstrumentedAttribute[Any]
    longest: timedelta
    """How far ahead of now it can be told, at most."""
    of: ColumnElement[bool]
    """Rows that still wait."""
    becomes: timedelta = timedelta(0)
    """How far ahead of now it is put: a lease stays one."""

    def mend(self, session: Session, now: datetime) -> int:
        """Put what lies too far ahead where it belongs; return how many rows that were."""
        latest = now + self.longest + timedelta(seconds=LATER_SECONDS)
        ahead = update(self.column.class_).where(self.of, self.column > latest)
        changed = session.execute(
            ahead.values({self.column.key: now + self.becomes}), execution_options={"synchronize_session": False}
        )
        return changed.rowcount if isinstance(changed, CursorResult) else 0


@dataclass(frozen=True)
class _GrowingWait:
    """A column of a wait that is another one for each row: it grows with the attempts, or ends with quiet hours."""

    column: InstrumentedAttribute[Any]
    latest: Callable[[Any, datetime], datetime]
    """(row, now) -> the latest moment that it can be told."""
    of: ColumnElement[bool]

    def mend(self, session: Session, now: datetime) -> int:
        """End what lies too far ahead; return how many rows that were."""
        name, later = self.column.key, timedelta(seconds=LATER_SECONDS)
        rows = session.scalars(select(self.column.class_).where(self.of, self.column > now)).all()
        late = [row for row in rows if getattr(row, name) > self.latest(row, now) + later]
        for row in late:
            setattr(row, name, now)
        return len(late)


def mend_waits(sessions: SessionFactory, settings: Settings, actor: str) -> int:
    """Put what lies too far ahead where it belongs; return how many waits and leases that were.

    Each column in a transaction of its own: few rows are locked at a time.
    """
    mended: dict[str, int] = {}
    waits = (*_waits_of_studies(settings), *_waits_of_deliveries(settings), *_waits_of_the_site(), *_done())
    for wait in waits:
        with sessions.begin() as session:
            if count := wait.mend(session, database_now(session)):
                mended[str(wait.column)] = count
    if mended:
        with sessions.begin() as session:
            reason = "the clock of the database was set back; what waited for the hour that it showed before goes on"
            record(session, "clock_set_back", actor=actor, reason=reason, details=mended)
    return sum(mended.values())


def _waits_of_studies(settings: Settings) -> Iterator[_Wait | _GrowingWait]:
    lease = timedelta(seconds=settings.lease_seconds)
    due = timedelta(seconds=max(settings.quiet_time_seconds, PARK_SECONDS))
    active = Run.state.in_((RunState.QUEUED, RunState.RUNNING))
    yield _Wait(Study.due_at, due, Study.due_at.is_not(None))
    yield _Wait(Run.lease_until, lease, Run.state == RunState.RUNNING, lease)
    yield _Wait(Run.rung_at, timedelta(seconds=LONGEST_PAUSE_SECONDS), active)
    put_off, waiting = timedelta(seconds=PUT_OFF_SECONDS), BackfillStudy.state == BackfillState.WAITING
    yield _Wait(BackfillStudy.not_before, put_off, waiting)
    again, noted = timedelta(seconds=LONGEST_NOTE_SECONDS), ReceivedNote.state == InboundState.WAITING
    yield _Wait(ReceivedNote.next_attempt_at, again, noted)
    told = InboundMessage.state == InboundState.WAITING
    yield _GrowingWait(InboundMessage.next_attempt_at, lambda row, now: now + message_wait(row.attempts), told)


def _waits_of_deliveries(settings: Settings) -> Iterator[_Wait | _GrowingWait]:
    lease = timedelta(seconds=settings.lease_seconds)
    retry = timedelta(seconds=settings.delivery_longest_retry_seconds)
    away = timedelta(seconds=settings.acse_timeout_seconds + LONGEST_ABSENCE_SECONDS)
    pending, sent = Delivery.state == DeliveryState.PENDING, Delivery.state == DeliveryState.SENT
    yield _Wait(Delivery.next_attempt_at, max(retry, lease), pending)
    yield _Wait(Delivery.lease_until, lease, pending, lease)
    yield _Wait(Delivery.rung_at, timedelta(0), or_(pending, sent))
    yield _GrowingWait(Delivery.commitment_due_at, lambda row, now: now + _commitment_wait(row, settings), sent)
    yield _Wait(DestinationOutage.next_attempt_at, away, true())
    telling = max((notification_lease(channel, settings) for channel in settings.channels), default=lease)
    untold = Notification.state == DeliveryState.PENDING
    yield _Wait(Notification.lease_until, telling, untold, telling)
    yield _Wait(Notification.rung_at, timedelta(0), untold)
    yield _GrowingWait(
        Notification.next_attempt_at, lambda row, now: latest_attempt(row.channel, now + retry, settings), untold
    )


def _commitment_wait(delivery: Delivery, settings: Settings) -> timedelta:
    """Return the longer of the waits for an answer to the request, and after one that was not taken."""
    asked = max(delivery.commitment_requests, 1)
    return max(answer_wait(asked, settings), retry_delay(asked, settings))


def _waits_of_the_site() -> Iterator[_Wait]:
    yield _Wait(ReceptionGap.next_attempt_at, LONGEST_GAP_RETRY, ReceptionGap.closed_at.is_(None))
    courier = timedelta(seconds=LONGEST_COURIER_SECONDS)
    yield _Wait(WorkitemEvent.next_attempt_at, courier, WorkitemEvent.done_at.is_(None))
    yield _Wait(ProcessHeartbeat.seen_at, timedelta(0), true())


def _done() -> Iterator[_Wait]:
    ago = timedelta(seconds=-BEFORE_SECONDS)
    yield _Wait(Run.started_at, timedelta(0), Run.started_at.is_not(None), ago)
    yield _Wait(Study.read_at, timedelta(0), Study.read_at.is_not(None), ago)
