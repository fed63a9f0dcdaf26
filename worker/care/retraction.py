"""A person takes a study's results back: nothing of them stays in force here, in archives, or at HL7 receivers.

The page may call this as the command line does; ring for the delivery after the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.reasons import ReasonCode
from worker.care.administration import existing_study, stated
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.run_tables import Run
from worker.rows.states import RunState, StudyState
from worker.rows.undoing import forget_answer, stop_runs
from worker.sending.rejection import TakenBack, Why, take_back
from worker.settings.config import Settings


class RetractionRefused(WorkerError):
    """The study cannot be retracted; the message says why."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"study {study_instance_uid} is not retracted: {why}")


@dataclass(frozen=True)
class Retracted:
    """What a retraction set in motion."""

    study_instance_uid: str
    taken_back: TakenBack

    @property
    def summary(self) -> str:
        """Return what happened, in a sentence."""
        told = self.taken_back.words or "no archive or receiver has anything of it"
        return f"study {self.study_instance_uid} is retracted: {told}; it is not analysed again unless requeued"


def retract_study(
    session: Session,
    study_instance_uid: str,
    *,
    reason: str,
    by: str,
    settings: Settings,
    title: RejectionTitle = RejectionTitle.PATIENT_SAFETY,
) -> Retracted:
    """Take back every result of the study; it stands as ``not_analysed(retracted)``, and images that come are stored.

    A held study stays held, too: a person still has to say whose it is before it can be analysed.

    Parameters
    ----------
    reason
        A sentence for the audit trail, archives and HL7 receivers; never patient data.
    by
        The person's name.
    title
        What the rejection notes to archives say.

    Raises
    ------
    UnknownStudy
        The study was never received.
    RetractionRefused
        It was retracted already.
    NotStated
        No reason or no name.
    StoreError
        The store of results is full.
    """
    reason, by = stated("reason", reason), stated("name", by)
    study = existing_study(session, study_instance_uid)
    if study.retracted_at is not None:
        raise RetractionRefused(study_instance_uid, "it was already")
    now, before, sentence = database_now(session), study.state, f"{by} took the results back: {reason}"
    stop_runs(session, study, ReasonCode.RETRACTED, sentence, now)
    runs = _answered(session, study_instance_uid)
    taken_back = take_back(session, runs, Why(title, f"a person took the results back ({reason})", by), settings)
    for run in runs:
        run.state = RunState.SUPERSEDED
    forget_answer(study, keep_set_priority=False)
    if study.state != StudyState.HELD:  # whose it is stays open, and must be settled before anything else
        study.state, study.reason_code, study.reason = StudyState.NOT_ANALYSED, ReasonCode.RETRACTED, sentence
    study.retracted_at, study.due_at = now, None
    record(
        session,
        "retracted",
        actor=by,
        study_instance_uid=study_instance_uid,
        from_state=before,
        to_state=study.state,
        reason="; ".join(part for part in (reason, taken_back.words) if part),
        details={"title": title.code_value},
        at=now,
    )
    session.flush()
    return Retracted(study_instance_uid, taken_back)


def _answered(session: Session, study_instance_uid: str) -> Sequence[Run]:
    """Return the study's runs that said something, earliest first."""
    return session.scalars(
        select(Run)
        .where(Run.study_instance_uid == study_instance_uid, Run.state.in_((RunState.DONE, RunState.SUPERSEDED)))
        .order_by(Run.id)
    ).all()
