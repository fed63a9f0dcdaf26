"""What a person may change by hand: analyse a study again, send its results again, mark it read; always audited."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from worker.arrival.analysable import is_analysable
from worker.arrival.completion import queue_run
from worker.foundation.errors import RunRefused, WorkerError, deletion_text, how_to_restore
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import READ, record
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, RunTrigger
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings


class UnknownStudy(WorkerError):
    """No study with this Study Instance UID was ever received."""

    def __init__(self, study_instance_uid: str) -> None:
        which = f"no study {study_instance_uid} was received" if study_instance_uid else "no study was named"
        super().__init__(f"{which}; `python -m worker studies` lists those that were received")


class NotStated(WorkerError):
    """A change by hand lacks its reason or the name of who makes it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"say the {what}: every change by hand is kept with a reason and a name")


def stated(what: str, value: str) -> str:
    """Return a reason or a name without blanks around it.

    Raises
    ------
    NotStated
        It is empty.
    """
    if not (value := " ".join(value.split())):
        raise NotStated(what)
    return value


@dataclass(frozen=True)
class Requeued:
    """What a requeue set in motion; ring the bells with it after the commit."""

    study_instance_uid: str
    run_number: int
    queue: str
    deliveries: int
    """Refused or failed deliveries that are due again at once."""


def requeue_study(session: Session, study_instance_uid: str, settings: Settings, actor: str) -> Requeued:
    """Queue a new run of the study and make its refused or failed deliveries due again; lifts a retraction.

    Raises
    ------
    UnknownStudy
        The study was never received.
    RunRefused
        The study cannot be analysed now: a run is under way, its identity is in doubt, retention deleted its images.
    """
    study = existing_study(session, study_instance_uid)
    _require_images(session, study_instance_uid)
    deliveries = resend_failed_deliveries(session, study, actor)
    if study.retracted_at is not None:
        study.retracted_at = None
        record(session, "retraction_lifted", actor=actor, study_instance_uid=study_instance_uid, reason=study.reason)
    queued = queue_run(session, study, RunTrigger.MANUAL, settings, actor=actor)
    return Requeued(study_instance_uid, queued.run_number, queued.queue, deliveries)


def _require_images(session: Session, study_instance_uid: str) -> None:
    deleted = select(Instance.deleted_at).where(is_analysable(study_instance_uid), Instance.deleted_at.is_not(None))
    if (deleted_at := session.scalar(deleted.limit(1))) is not None:
        raise RunRefused(study_instance_uid, f"{deletion_text(deleted_at)}; {how_to_restore(study_instance_uid)}")


def resend_failed_deliveries(session: Session, study: Study, actor: str) -> int:
    """Make refused and failed deliveries of the current run, and rejection notes, due now; returns how many."""
    now = database_now(session)
    statement = (
        select(Delivery)
        .join(Delivery.result)
        .where(Result.run.has(Run.study_instance_uid == study.study_instance_uid))
        .where(or_(Result.run_id == study.current_run_id, Result.kind == ResultKind.REJECTION_NOTE))
        .where(Delivery.state.in_((DeliveryState.REFUSED, DeliveryState.FAILED)))
    )
    stopped = session.scalars(statement).all()
    for delivery in stopped:
        delivery.state = DeliveryState.PENDING
        delivery.next_attempt_at, delivery.lost = now, 0
    if stopped:
        record(
            session,
            "resend",
            actor=actor,
            study_instance_uid=study.study_instance_uid,
            run_id=study.current_run_id,
            reason=f"{len(stopped)} stopped deliveries are due again",
            at=now,
        )
    return len(stopped)


def mark_read(session: Session, study_instance_uid: str, reader: str) -> None:
    """Note that a person has read the study; the first reader stays, a second mark changes nothing.

    Raises
    ------
    UnknownStudy
        The study was never received.
    """
    study = existing_study(session, study_instance_uid)
    if study.read_at is not None:
        return
    study.read_at = database_now(session)
    study.read_by = reader
    record(
        session,
        READ,
        actor=reader,
        study_instance_uid=study_instance_uid,
        details={"priority": study.priority},
        at=study.read_at,
    )


def mark_unread(session: Session, study_instance_uid: str, reader: str) -> None:
    """Take a read mark back, so that the study stands on the list again.

    Raises
    ------
    UnknownStudy
        The study was never received.
    """
    study = existing_study(session, study_instance_uid)
    if study.read_at is None:
        return
    record(
        session,
        "unread",
        actor=reader,
        study_instance_uid=study_instance_uid,
        reason=f"was marked read by {study.read_by}",
    )
    study.read_at = study.read_by = None


def existing_study(session: Session, study_instance_uid: str) -> Study:
    """Return the study's row, locked for writing where the database can.

    Raises
    ------
    UnknownStudy
        The study was never received.
    """
    study = session.get(Study, study_instance_uid, with_for_update=True)
    if study is None:
        raise UnknownStudy(study_instance_uid)
    return study
