"""Which archived study is analysed again next, by whom, and what became of it: the rows of a backfill.

Nothing of a backfill waits in the table of runs or with the broker: a study's run is made at the moment it is taken,
already in hand, and nothing is taken while a run that counts waits for a worker. So no number of archived studies
stands in the way of one that has just come. A worker that dies leaves a lease that lapses: the run ends then, and the
study waits again, ``maximum_attempts`` times at most.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.active_bundle import active_bundle
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.leases import BACKFILL_QUEUE, Claim, locked_study
from worker.rows.run_tables import Backfill, BackfillStudy, Result, Run
from worker.rows.states import BackfillState, DeliveryState, RunState, RunTrigger, StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

OPEN_STATES = (BackfillState.WAITING, BackfillState.RUNNING)
PUT_OFF_SECONDS = 60.0
"""A study with something on its way is looked at again after this long."""
_TRIED_AT_ONCE = 20
_ABANDONED_AT_ONCE = 100


def live_runs_wait(session: Session) -> bool:
    """Return whether any run that counts waits for a worker; backfills stand back as long as one does."""
    waiting = select(Run.id).where(Run.state == RunState.QUEUED, ~Run.shadow)
    return session.scalar(waiting.limit(1)) is not None


def take_next(session: Session, backfill_id: int, worker_name: str, settings: Settings) -> Claim | None:
    """Take the next study of the backfill and make its run, in hand of this worker; commit before the work starts.

    Studies that may not be analysed (any more) are settled on the way, those with something on its way are put off.

    Returns
    -------
    Claim or None
        None when nothing may be taken now: a live run waits, others have the rest in hand, or nothing is left.
    """
    if live_runs_wait(session):
        return None
    backfill = session.get_one(Backfill, backfill_id)
    for mark in _waiting(session, backfill_id):
        study = locked_study(session, mark.study_instance_uid)
        now = database_now(session)
        if study is None:
            continue
        if (refusal := _refusal(study)) is not None:
            _change(
                session, mark.id, BackfillState.WAITING, state=BackfillState.SKIPPED, settled_at=now, reason=refusal
            )
        elif (obstacle := _obstacle(session, study, backfill)) is not None:
            later = now + timedelta(seconds=PUT_OFF_SECONDS)
            _change(session, mark.id, BackfillState.WAITING, not_before=later, reason=obstacle)
        elif _change(session, mark.id, BackfillState.WAITING, state=BackfillState.RUNNING, attempts=mark.attempts + 1):
            return _begin(session, study, backfill, mark, worker_name, now, settings)
    return None


def _waiting(session: Session, backfill_id: int) -> list[BackfillStudy]:
    now = database_now(session)
    query = select(BackfillStudy).where(
        BackfillStudy.backfill_id == backfill_id,
        BackfillStudy.state == BackfillState.WAITING,
        or_(BackfillStudy.not_before.is_(None), BackfillStudy.not_before <= now),
    )
    rows = query.order_by(BackfillStudy.id).limit(_TRIED_AT_ONCE).execution_options(populate_existing=True)
    return list(session.scalars(rows))


def _refusal(study: Study) -> str | None:
    if study.state == StudyState.HELD:
        return "held: its identity is in doubt"
    return "its results were taken back by a person" if study.retracted_at is not None else None


def _obstacle(session: Session, study: Study, backfill: Backfill) -> str | None:
    """Return what has to be over before the study's turn comes; None when nothing is in the way."""
    own = Run.study_instance_uid == study.study_instance_uid
    active = select(Run.id).where(own, Run.shadow == backfill.aside, Run.state.in_((RunState.QUEUED, RunState.RUNNING)))
    if study.due_at is not None or session.scalar(active.limit(1)) is not None:
        return "images of it have just come, or another run of it is under way"
    unsent = (
        select(Delivery.id)
        .join(Result, Result.id == Delivery.result_id)
        .where(Result.run_id == study.current_run_id, Delivery.state == DeliveryState.PENDING)
    )
    if not backfill.aside and session.scalar(unsent.limit(1)) is not None:
        return "its present results are still to be delivered"
    return None


def _begin(
    session: Session,
    study: Study,
    backfill: Backfill,
    mark: BackfillStudy,
    worker_name: str,
    now: datetime,
    settings: Settings,
) -> Claim:
    uid = study.study_instance_uid
    highest = session.scalar(select(func.max(Run.run_number)).where(Run.study_instance_uid == uid)) or 0
    run = Run(
        study_instance_uid=uid,
        run_number=highest + 1,
        bundle=backfill.bundle or active_bundle(session, settings.bundle_of(study.calling_ae_title)),
        trigger=RunTrigger.REPROCESS,
        state=RunState.RUNNING,
        queue=BACKFILL_QUEUE,
        shadow=backfill.aside,
        attempts=1,
        lease_until=now + timedelta(seconds=settings.lease_seconds),
        fencing_token=1,
        worker_name=worker_name,
        queued_at=now,
        started_at=now,
        timings_seconds={},
    )
    session.add(run)
    session.flush()
    _change(session, mark.id, BackfillState.RUNNING, run_id=run.id, not_before=None, reason=None)
    return Claim(run.id, uid, run.run_number, run.bundle, run.trigger, 1, 1, worker_name, backfill=True)


def settle(session: Session, run_id: int, state: BackfillState, reason: str | None = None) -> None:
    """Note what became of the study that this run was made for, unless that is known already."""
    session.execute(
        update(BackfillStudy)
        .where(BackfillStudy.run_id == run_id, BackfillStudy.state == BackfillState.RUNNING)
        .values(state=state, reason=reason, settled_at=database_now(session)),
        execution_options={"synchronize_session": False},
    )


def settle_or_retry(session: Session, run_id: int, reason: str, settings: Settings) -> None:
    """Let the study wait for another attempt, or, where none is left, note that it failed."""
    mark = session.scalars(
        select(BackfillStudy)
        .where(BackfillStudy.run_id == run_id, BackfillStudy.state == BackfillState.RUNNING)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if mark is None:
        return
    if mark.attempts >= settings.maximum_attempts:
        settle(session, run_id, BackfillState.FAILED, f"{reason} ({mark.attempts} attempts)")
        return
    later = database_now(session) + timedelta(seconds=settings.ring_again_seconds)
    _change(session, mark.id, BackfillState.RUNNING, state=BackfillState.WAITING, not_before=later, reason=reason)


def end_abandoned_runs(session: Session, settings: Settings) -> int:
    """End runs of backfills whose worker gives no sign of life, so that nothing waits for them; returns how many."""
    lapsed = (
        Run.state == RunState.RUNNING,
        Run.queue == BACKFILL_QUEUE,
        Run.lease_until < database_now(session),
    )
    found = session.execute(select(Run.id, Run.study_instance_uid).where(*lapsed).limit(_ABANDONED_AT_ONCE)).all()
    for run_id, uid in found:
        locked_study(session, uid)
        now = database_now(session)
        ended = session.execute(
            update(Run)
            .where(Run.id == run_id, *lapsed)
            .values(
                state=RunState.FAILED,
                fencing_token=Run.fencing_token + 1,
                lease_until=None,
                finished_at=now,
                reason_code=ReasonCode.POISON,
                reason="its worker ended before it did; the study waits again",
            )
            .returning(Run.id),
            execution_options={"synchronize_session": False},
        ).one_or_none()
        if ended is not None:
            settle_or_retry(session, run_id, "its worker ended before it did", settings)
    return len(found)


def settle_ended_runs(session: Session, backfill_id: int) -> None:
    """Settle studies whose run has ended although nobody lived to say so."""
    left = (
        select(Run.id, Run.state)
        .join(BackfillStudy, BackfillStudy.run_id == Run.id)
        .where(BackfillStudy.backfill_id == backfill_id, BackfillStudy.state == BackfillState.RUNNING)
        .where(Run.state != RunState.RUNNING)
    )
    for run_id, state in session.execute(left).all():
        done = state in (RunState.DONE, RunState.SUPERSEDED)
        settle(session, run_id, BackfillState.DONE if done else BackfillState.FAILED)


def end_if_done(session: Session, backfill_id: int) -> bool:
    """Note the end of a backfill of which no study is open; returns whether it has ended."""
    backfill = session.get_one(Backfill, backfill_id, populate_existing=True)
    if backfill.ended_at is not None:
        return True
    is_open = select(BackfillStudy.id).where(
        BackfillStudy.backfill_id == backfill_id, BackfillStudy.state.in_(OPEN_STATES)
    )
    if backfill.listed_at is None or session.scalar(is_open.limit(1)) is not None:
        return False
    backfill.ended_at = database_now(session)
    record(session, "backfill_ended", actor=backfill.ordered_by, details={"backfill": backfill_id})
    return True


def _change(session: Session, mark_id: int, before: BackfillState, **values: Any) -> bool:
    """Change the row as long as it is in this state; returns whether it was."""
    changed = session.execute(
        update(BackfillStudy)
        .where(BackfillStudy.id == mark_id, BackfillStudy.state == before)
        .values(**values)
        .returning(BackfillStudy.id),
        execution_options={"synchronize_session": False},
    )
    return changed.one_or_none() is not None
