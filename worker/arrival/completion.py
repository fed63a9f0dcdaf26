"""Which studies are due for a run: a run starts on the first candidate images; later images make another run.

A study is due when its ``due_at`` has come: its association closed, or the quiet time passed since its last candidate.
An instance that waits for analysis has the disposition ``candidate``; the run that analysed it changes that.
A queued run absorbs what arrives before it is claimed; what arrives while it runs keeps the study due, and makes a
late-image run when it has ended. An image that cannot be analysed makes one, too, where others were: their report says
how many it lacks; and so does a processed copy, which may be all there is of its exposure. So does a corrected
identity: the results are issued again; and a new version of an analysed image that may not be analysed: a run then says
what is left of the answer.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.arrival.analysable import has_missed, is_analysable, is_waiting
from worker.arrival.copies import is_copy
from worker.arrival.correction import is_owed
from worker.arrival.queued import QueuedRun, queue_of, queued_event, run_row
from worker.arrival.why_not import why_not_analysed
from worker.foundation.errors import RunRefused
from worker.rows.active_bundle import active_bundle
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.replaced import is_outdated
from worker.rows.run_tables import Run
from worker.rows.states import RunState, RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

BATCH_STUDIES = 50


def due_studies(session: Session, now: datetime) -> list[str]:
    """Return the UIDs of studies that are due and have no run under way, the longest due first, a batch at most.

    A held study is due when something came that may settle whose it is (`worker.care.settled`).

    Parameters
    ----------
    now
        Aware UTC on the database's clock.
    """
    running = select(Run.id).where(
        Run.study_instance_uid == Study.study_instance_uid, Run.state == RunState.RUNNING, ~Run.shadow
    )
    due = (
        select(Study.study_instance_uid)
        .where(Study.due_at <= now, ~running.exists())
        .order_by(Study.due_at)
        .limit(BATCH_STUDIES)
    )
    return list(session.scalars(due).all())


def queue_if_due(
    session: Session, study_instance_uid: str, settings: Settings, now: datetime, *, actor: str
) -> QueuedRun | None:
    """Queue a run for one study that is due and has new images, a corrected identity or an answer that is outdated.

    Returns
    -------
    QueuedRun or None
        To ring for after the commit; None when there is nothing to run for.
    """
    study = locked_study(session, study_instance_uid)
    if study is None or study.state == StudyState.HELD or study.due_at is None or study.due_at > now:
        return None
    if study.retracted_at is not None:
        _stay_retracted(study)
        return None
    active = _active_run(session, study)
    if active is not None and active.state == RunState.RUNNING:
        return None  # stays due; looked at again when that run has ended
    study.due_at = None
    if active is not None:
        return None  # not claimed yet, so it will take the new images along
    waiting = _waiting_candidates(session, study)
    fit = waiting or _analysable(session, study)
    late = waiting or (fit and _says_too_little(session, study))
    if not late and not is_outdated(session, study) and not (fit and is_owed(session, study)):
        _say_why_not(session, study, actor, now)
        return None
    trigger = _trigger(session, study) if late else RunTrigger.REPROCESS
    return queue_run(session, study, trigger, settings, actor=actor)


def queue_run(session: Session, study: Study, trigger: RunTrigger, settings: Settings, *, actor: str) -> QueuedRun:
    """Add a run by the bundle of the study's source, as urgent as source and order are; ring for it after the commit.

    The claim binds the version of the bundle that is active then.

    Raises
    ------
    RunRefused
        The study is held, a run is queued or running already, or no image in it can be analysed and no answer of it
        is outdated.
    """
    uid = study.study_instance_uid
    locked_study(session, uid)
    if study.state == StudyState.HELD:
        raise RunRefused(uid, "its identity is in doubt; settle that first")
    if study.retracted_at is not None:
        raise RunRefused(uid, "a person took its results back; `python -m worker requeue` analyses it all the same")
    if (active := _active_run(session, study)) is not None:
        raise RunRefused(uid, f"run {active.run_number} is {active.state} already")
    if not _analysable(session, study) and not is_outdated(session, study):
        raise RunRefused(uid, "none of its images may be analysed; `python -m worker show` says why")
    own = Run.study_instance_uid == uid
    now = database_now(session)
    row = run_row(
        uid,
        1 + (session.scalar(select(func.max(Run.run_number)).where(own)) or 0),
        active_bundle(session, settings.bundle_of(study.calling_ae_title)),
        trigger,
        queue_of(study.order_priority, urgent_source=settings.is_urgent(study.calling_ae_title)),
        now,
    )
    run = Run(**row)
    session.add(run)
    session.flush()
    record(session, actor=actor, study_instance_uid=uid, run_id=run.id, from_state=study.state, **queued_event(row))
    study.state = StudyState.QUEUED
    study.due_at = None
    return QueuedRun(run.id, uid, run.run_number, run.queue)


def queue_what_is_left(
    session: Session, study: Study, trigger: RunTrigger, settings: Settings, *, actor: str
) -> QueuedRun | None:
    """Add a run as `queue_run` does; None where it refuses: the study is due then, and the sweeper says why."""
    session.flush()
    try:
        return queue_run(session, study, trigger, settings, actor=actor)
    except RunRefused:
        study.due_at = database_now(session)
        return None


def _active_run(session: Session, study: Study) -> Run | None:
    return session.scalars(
        select(Run)
        .where(
            Run.study_instance_uid == study.study_instance_uid,
            Run.state.in_((RunState.QUEUED, RunState.RUNNING)),
            ~Run.shadow,
        )
        .order_by(Run.id)
        .execution_options(populate_existing=True)
    ).first()


def _trigger(session: Session, study: Study) -> RunTrigger:
    before = session.scalar(select(Run.id).where(Run.study_instance_uid == study.study_instance_uid).limit(1))
    return RunTrigger.AUTO if before is None else RunTrigger.LATE_IMAGE


def _analysable(session: Session, study: Study) -> bool:
    found = select(Instance.id).where(is_analysable(study.study_instance_uid)).limit(1)
    return session.scalar(found) is not None


def _waiting_candidates(session: Session, study: Study) -> bool:
    waiting = select(Instance.id).where(is_waiting(study.study_instance_uid)).limit(1)
    return session.scalar(waiting) is not None


def _says_too_little(session: Session, study: Study) -> bool:
    """Return whether the report in force may say another number of images not analysed than there are now."""
    run = study.current_run
    if run is None or run.outcome != StudyState.TRIAGED:
        return False
    missed = select(func.count(Instance.id)).where(has_missed(study.study_instance_uid))
    return session.scalar(missed) != (run.images_not_analysed or 0) or _has_unjudged_copy(session, study)


def _has_unjudged_copy(session: Session, study: Study) -> bool:
    """Return whether a processed copy has come since the last run began: it may be all there is of its exposure."""
    uid = study.study_instance_uid
    last = select(func.max(Run.started_at)).where(Run.study_instance_uid == uid, ~Run.shadow).scalar_subquery()
    unjudged = select(Instance.id).where(is_copy(uid), Instance.received_at > last)
    return session.scalar(unjudged.limit(1)) is not None


def _stay_retracted(study: Study) -> None:
    """Leave a study alone whose results a person took back, whatever has come since."""
    study.due_at = None
    if study.state != StudyState.NOT_ANALYSED:
        study.state, study.reason_code = StudyState.NOT_ANALYSED, ReasonCode.RETRACTED
        study.reason = ReasonCode.RETRACTED.sentence


def _say_why_not(session: Session, study: Study, actor: str, now: datetime) -> None:
    if study.current_run_id is not None or study.state == StudyState.FAILED:
        return  # it has an answer, or a failure that must stay visible; what came since changes nothing
    why = why_not_analysed(session, study.study_instance_uid)
    study.historical = why.reason_code == ReasonCode.HISTORICAL
    if (study.state, study.reason_code) == (why.state, why.reason_code):
        return
    record(
        session,
        "not_queued",
        actor=actor,
        study_instance_uid=study.study_instance_uid,
        from_state=study.state,
        to_state=why.state,
        reason=why.reason,
        details={"reason_code": why.reason_code, "instances": why.images},
        at=now,
    )
    study.state, study.reason_code, study.reason = why.state, why.reason_code, why.reason
