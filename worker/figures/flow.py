"""What waits, what went through, what stopped: queues, throughput, failures and deliveries at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from worker.figures.time_buckets import bucket_start, hour_of
from worker.rows.delivery_tables import Delivery, DestinationOutage, Notification
from worker.rows.leases import BACKFILL_QUEUE
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, InboundState, RunState, StudyState
from worker.rows.study_tables import Instance, ReceivedNote, Study
from worker.sending.outbox import may_go

QUEUES = ("stat", "routine", "shadow")
WITHOUT_ANSWER = (StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED)
HOURS_SHOWN = 24


@dataclass(frozen=True)
class QueueFigures:
    """One queue: runs that wait, how long the oldest has, and runs in hand."""

    name: str
    waiting: int
    oldest_seconds: float | None
    running: int
    abandoned: int
    """In hand of a worker whose lease has lapsed; another one takes them."""


@dataclass(frozen=True)
class HourFigures:
    """One hour, UTC, the last one not over yet."""

    start: datetime
    received: int
    answered: int


@dataclass(frozen=True)
class FailureFigures:
    """Studies without an answer for one reason; unread ones only, for a person has seen the others."""

    state: str
    reason_code: str
    reason: str
    studies: int
    latest: datetime


@dataclass(frozen=True)
class FailedStudy:
    """One unread study that failed, with as little of the patient as finds it."""

    study_instance_uid: str
    accession_number: str
    calling_ae_title: str
    reason_code: str
    reason: str
    last_received_at: datetime


@dataclass(frozen=True)
class DestinationFigures:
    """One destination: what is on its way, what it took lately, what it will not take."""

    name: str
    pending: int
    oldest_pending_seconds: float | None
    unreachable: int
    """Pending, and the last attempt, if only of another study, ended before there was a connection."""
    uncommitted: int
    """Taken, and not committed yet where that is asked for."""
    refused: int
    failed: int
    delivered_last_day: int
    last_sent_at: datetime | None
    sent: int = 0
    """Taken, and nothing more asked of the destination."""
    committed: int = 0
    warned: int = 0
    """Of what was taken, what came with a warning (0xBxxx): stored, and perhaps changed there."""


def queue_figures(session: Session, now: datetime) -> list[QueueFigures]:
    """Return the queues in the order in which they are served."""
    figures = []
    for name in QUEUES:
        state = select(Run.state, func.count(), func.min(Run.queued_at)).where(Run.queue == name)
        rows = {
            row[0]: (row[1], row[2])
            for row in session.execute(
                state.where(Run.state.in_((RunState.QUEUED, RunState.RUNNING))).group_by(Run.state)
            )
        }
        waiting, oldest = rows.get(RunState.QUEUED, (0, None))
        lapsed = select(func.count()).where(Run.queue == name, Run.state == RunState.RUNNING, Run.lease_until < now)
        age = None if oldest is None else (now - oldest).total_seconds()
        running = rows.get(RunState.RUNNING, (0, None))[0]
        figures.append(QueueFigures(name, waiting, age, running, session.scalar(lapsed) or 0))
    return figures


def hour_figures(session: Session, now: datetime) -> list[HourFigures]:
    """Return the last hours, the oldest first; hours without anything are there, too."""
    current = now.replace(minute=0, second=0, microsecond=0)
    starts = [current - timedelta(hours=back) for back in reversed(range(HOURS_SHOWN))]
    received_hour, answered_hour = hour_of(session, Study.first_received_at), hour_of(session, Run.finished_at)
    received = session.execute(
        select(received_hour, func.count()).where(Study.first_received_at >= starts[0]).group_by(received_hour)
    )
    answered = session.execute(
        select(answered_hour, func.count())
        .where(Run.finished_at >= starts[0], ~Run.shadow, Run.outcome.is_not(None), Run.queue != BACKFILL_QUEUE)
        .group_by(answered_hour)
    )
    came, left = ({bucket_start(hour): count for hour, count in rows} for rows in (received, answered))
    return [HourFigures(start, came.get(start, 0), left.get(start, 0)) for start in starts]


def failure_figures(session: Session) -> list[FailureFigures]:
    """Return the reasons why unread studies have no answer, failures first."""
    rows = session.execute(
        select(
            Study.state,
            Study.reason_code,
            func.max(Study.reason),
            func.count(),
            func.max(Study.last_received_at),
        )
        .where(Study.state.in_(WITHOUT_ANSWER), Study.read_at.is_(None))
        .group_by(Study.state, Study.reason_code)
    )
    figures = [FailureFigures(row[0], row[1] or "", row[2] or "", row[3], row[4]) for row in rows]
    return sorted(figures, key=lambda item: (WITHOUT_ANSWER.index(StudyState(item.state)), -item.studies))


def failed_studies(session: Session, reason_code: str | None = None, limit: int = 50) -> Sequence[FailedStudy]:
    """Return the latest unread studies that failed, for one reason or for any."""
    query = select(Study).where(Study.state == StudyState.FAILED, Study.read_at.is_(None))
    if reason_code is not None:
        query = query.where(Study.reason_code == reason_code)
    return [
        FailedStudy(
            study.study_instance_uid, study.accession_number, study.calling_ae_title, study.reason_code or "",
            study.reason or "", study.last_received_at,
        )
        for study in session.scalars(query.order_by(Study.last_received_at.desc()).limit(limit))
    ]  # fmt: skip


def destination_figures(session: Session, now: datetime, names: Sequence[str]) -> list[DestinationFigures]:
    """Return the configured destinations, and those no longer configured that something still waits for.

    Parameters
    ----------
    names
        Of the configured destinations.
    """
    waiting = set(
        session.scalars(select(Delivery.destination).where(Delivery.state == DeliveryState.PENDING).distinct())
    )
    return [_destination(session, now, name) for name in (*names, *sorted(waiting - set(names)))]


def channel_figures(session: Session, now: datetime, names: Sequence[str]) -> list[DestinationFigures]:
    """Return the configured ways to tell people as destinations; what waits for the end of quiet hours is not late."""
    return [_channel(session, now, name) for name in names]


def _channel(session: Session, now: datetime, name: str) -> DestinationFigures:
    here = Notification.channel == name
    pending = here & (Notification.state == DeliveryState.PENDING)
    late = pending & or_(Notification.attempts > 0, Notification.next_attempt_at <= now)
    oldest = session.scalar(select(func.min(Notification.created_at)).where(late))
    failed = here & (Notification.state == DeliveryState.FAILED)
    return DestinationFigures(
        name,
        session.scalar(select(func.count()).where(pending)) or 0,
        None if oldest is None else (now - oldest).total_seconds(),
        session.scalar(select(func.count()).where(pending, Notification.attempts > 0)) or 0,
        0,
        0,
        session.scalar(select(func.count()).where(failed)) or 0,
        session.scalar(select(func.count()).where(here, Notification.sent_at >= now - timedelta(days=1))) or 0,
        session.scalar(select(func.max(Notification.sent_at)).where(here)),
    )


def _destination(session: Session, now: datetime, name: str) -> DestinationFigures:
    here = Delivery.destination == name
    counts = {
        row[0]: row[1]
        for row in session.execute(select(Delivery.state, func.count()).where(here).group_by(Delivery.state))
    }
    pending = here & (Delivery.state == DeliveryState.PENDING)
    oldest = session.scalar(select(func.min(Result.created_at)).join(Delivery).where(pending))
    awaiting = here & (Delivery.state == DeliveryState.SENT) & Delivery.commitment_due_at.is_not(None)
    uncommitted = session.scalar(select(func.count()).where(awaiting)) or 0
    taken = here & Delivery.state.in_((DeliveryState.SENT, DeliveryState.COMMITTED))
    warned = taken & Delivery.last_status.between(0xB000, 0xBFFF)
    return DestinationFigures(
        name,
        counts.get(DeliveryState.PENDING, 0),
        None if oldest is None else (now - oldest).total_seconds(),
        counts.get(DeliveryState.PENDING, 0)
        if session.get(DestinationOutage, name)
        else session.scalar(select(func.count()).where(pending, Delivery.unreachable)) or 0,
        uncommitted,
        counts.get(DeliveryState.REFUSED, 0),
        counts.get(DeliveryState.FAILED, 0),
        session.scalar(select(func.count()).where(here, Delivery.sent_at >= now - timedelta(days=1))) or 0,
        session.scalar(select(func.max(Delivery.sent_at)).where(here)),
        counts.get(DeliveryState.SENT, 0) - uncommitted,
        counts.get(DeliveryState.COMMITTED, 0),
        session.scalar(select(func.count()).where(warned)) or 0,
    )


def keeping_back(session: Session) -> int:
    """Return how many failed studies have earlier results that may not leave before another run has decided."""
    waiting = aliased(Delivery)
    query = (
        select(func.count(Run.study_instance_uid.distinct()))
        .join(Result, Result.run_id == Run.id)
        .join(waiting, waiting.result_id == Result.id)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .where(waiting.state == DeliveryState.PENDING, Study.state == StudyState.FAILED)
        .where(~may_go().where(Delivery.id == waiting.id).correlate(waiting).exists())
    )
    return session.scalar(query) or 0


def unread_notes(session: Session, since: datetime) -> Sequence[str]:
    """Return the studies that a rejection note came for which could not be read, the latest first."""
    query = (
        select(Instance.study_instance_uid)
        .join(ReceivedNote, ReceivedNote.instance_id == Instance.id)
        .where(ReceivedNote.state == InboundState.UNMATCHED, Instance.received_at >= since)
        .order_by(Instance.id.desc())
    )
    return list(dict.fromkeys(session.scalars(query)))
