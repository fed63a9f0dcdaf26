"""What waits although somebody should have been told: bells to ring again, at most once per ``ring_again_seconds``.

What waits long need not have lost its message: no worker may be there, or too few. A queue that holds a message for all
that waits is therefore left alone; else messages would pile up for as long as nobody takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session

from worker.arrival.queued import QueuedRun
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import BACKFILL_QUEUE, give_up, is_claimable, locked_study
from worker.rows.run_tables import Run
from worker.rows.states import Priority, RunState, StudyState
from worker.rows.study_tables import Study
from worker.sending.commitment import due_commitments
from worker.sending.notification_rows import due_notifications, notifications_to_ring
from worker.sending.outage import destinations_to_try, is_reachable
from worker.sending.outbox import due_deliveries
from worker.settings.config import Settings

BATCH_RUNS = 200
_URGENT_FIRST = case((Study.priority == Priority.STAT, 0), (Study.priority == Priority.URGENT, 1), else_=2)


def queued_runs_to_ring(session: Session, settings: Settings) -> list[QueuedRun]:
    """Return queued runs that were last rung for too long ago, and note that they are rung for now."""
    now = database_now(session)
    return _rung(session, (Run.state == RunState.QUEUED) & _long_ago(now, settings), now)


def abandoned_runs_to_ring(session: Session, settings: Settings) -> list[QueuedRun]:
    """Return running runs whose lease has lapsed, and note that they are rung for now."""
    now = database_now(session)
    lapsed = (Run.state == RunState.RUNNING) & (Run.lease_until < now) & (Run.queue != BACKFILL_QUEUE)
    not_rung_since = or_(_long_ago(now, settings), Run.rung_at <= Run.lease_until)
    return _rung(session, lapsed & not_rung_since, now)


def runs_without_message(
    session: Session, runs: Sequence[QueuedRun], messages: Mapping[str, int | None]
) -> list[QueuedRun]:
    """Return those of the runs whose queue holds fewer messages than runs wait for one: any of them may be lost.

    Parameters
    ----------
    messages
        How many messages each queue holds; None where the broker does not answer, which nobody need ring then.
    """
    is_waiting = is_claimable(database_now(session)) & ~Run.shadow & (Study.state != StudyState.HELD)
    query = select(Run.queue, func.count().label("waiting")).join(
        Study, Study.study_instance_uid == Run.study_instance_uid
    )
    wanted = {row.queue: row.waiting for row in session.execute(query.where(is_waiting).group_by(Run.queue))}
    short = {queue for queue, held in messages.items() if held is not None and held < wanted.get(queue, 0)}
    return [run for run in runs if run.queue in short]


def deliveries_lack_messages(session: Session, messages: int | None) -> bool:
    """Return whether the queue of deliveries holds fewer messages than rows are due for one (None: no answer)."""
    now = database_now(session)
    due = (due_deliveries(now), due_commitments(now), due_notifications(now))
    counts = (rows.with_only_columns(func.count(), maintain_column_froms=True).order_by(None) for rows in due)
    return messages is not None and messages < sum(session.scalar(count) or 0 for count in counts)


def give_up_used_up_runs(session: Session, settings: Settings) -> int:
    """End runs that nobody works on and that have no attempt left as ``failed(poison)``; returns how many."""
    used_up = Run.attempts >= settings.maximum_attempts
    waiting = session.execute(
        select(Run.id, Run.study_instance_uid)
        .where(is_claimable(database_now(session)), used_up)
        .order_by(Run.study_instance_uid)
        .limit(BATCH_RUNS)
    ).all()
    for run_id, study_instance_uid in waiting:
        study = locked_study(session, study_instance_uid)
        now = database_now(session)
        run = session.scalars(
            select(Run).where(Run.id == run_id, is_claimable(now), used_up).execution_options(populate_existing=True)
        ).one_or_none()
        if study is not None and run is not None:
            give_up(session, study, run, now)
    return len(waiting)


def deliveries_to_ring(session: Session, settings: Settings) -> list[str]:
    """Return the studies with due deliveries or notifications, or objects to be asked about, not rung for lately.

    The most urgent first, then the oldest: after an archive was away, a STAT report does not wait behind the routine
    ones. Of what is for a destination that is away only the first is rung for, when it may be tried again. The ring is
    noted.
    """
    now = database_now(session)
    again = now - timedelta(seconds=settings.ring_again_seconds)
    lately = or_(Delivery.rung_at.is_(None), Delivery.rung_at < again)
    waits = or_(lately, Delivery.rung_at < Delivery.next_attempt_at)
    unasked = or_(lately, Delivery.rung_at < Delivery.commitment_due_at)
    deliveries = due_deliveries(now).where(waits).order_by(None).order_by(_URGENT_FIRST, Delivery.id)
    commitments = due_commitments(now).where(unasked)
    due = [
        *session.execute(deliveries.where(is_reachable()).limit(BATCH_RUNS)).all(),
        *session.execute(commitments.where(is_reachable()).limit(BATCH_RUNS)).all(),
    ]
    for name in destinations_to_try(session):
        there = (query.where(Delivery.destination == name).limit(1) for query in (deliveries, commitments))
        due += next((found for query in there if (found := session.execute(query).all())), [])
    for row in due:
        row.Delivery.rung_at = now
    told = notifications_to_ring(session, settings, BATCH_RUNS)
    return list(dict.fromkeys([*(row.Run.study_instance_uid for row in due), *told]))


def _long_ago(now: datetime, settings: Settings) -> ColumnElement[bool]:
    return or_(Run.rung_at.is_(None), Run.rung_at < now - timedelta(seconds=settings.ring_again_seconds))


def _rung(session: Session, condition: ColumnElement[bool], now: datetime) -> list[QueuedRun]:
    runs: Sequence[Run] = session.scalars(
        select(Run)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .where(condition, ~Run.shadow, Study.state != StudyState.HELD)  # the shadow worker looks for its runs itself
        .order_by(Run.queued_at)
        .limit(BATCH_RUNS)
    ).all()
    session.execute(
        update(Run).where(Run.id.in_([run.id for run in runs]), condition).values(rung_at=now),
        execution_options={"synchronize_session": False},
    )
    return [QueuedRun(run.id, run.study_instance_uid, run.run_number, run.queue) for run in runs]
