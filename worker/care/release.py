"""Settling a held study: a person says whose it is, the images of anybody else are left out, and the work goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.analysable import WORTH_ANOTHER_TRY
from worker.arrival.completion import queue_what_is_left
from worker.arrival.correction import agree_on, corrections_of
from worker.care.administration import existing_study
from worker.care.identity_correction import CAUSE
from worker.care.study_objects import Headed, ObjectUnreadable, adopt, objects_in_force, with_headers
from worker.care.whose_study import ReleaseRefused, WhoseStudy, choose
from worker.rows.events import record
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import Disposition, RunState, RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.rows.undoing import forget_answer
from worker.sending.rejection import TakenBack, Why, take_back
from worker.settings.config import Settings

_ANALYSABLE = (Disposition.CANDIDATE, Disposition.ANALYSED)


@dataclass(frozen=True)
class Released:
    """What a release set in motion; ring the bell with it after the commit."""

    study_instance_uid: str
    run_number: int | None
    """None when no image of this patient may be analysed; the study then says so itself."""
    queue: str
    left_out: int
    """Images of somebody else, not analysed from now on."""
    taken_back: TakenBack
    """Results of images now left out that archives and receivers already have; ring for the delivery."""

    @property
    def summary(self) -> str:
        """Return what happened and what is left to do, in sentences."""
        run = f"run {self.run_number} is queued ({self.queue})" if self.run_number else "it has no image to analyse"
        left_out = f"; {self.left_out} images of another patient are left out" if self.left_out else ""
        taken_back = f"; {self.taken_back.words}" if self.taken_back.words else ""
        return f"study {self.study_instance_uid} is released: {run}{left_out}{taken_back}"


def release_study(
    session: Session,
    store: InstanceStore,
    study_instance_uid: str,
    whose: WhoseStudy,
    actor: str,
    *,
    settings: Settings,
) -> Released:
    """Let a held study go on as the study of one patient; written to the audit trail without naming the patient.

    Parameters
    ----------
    whose
        The patient.
    settings
        Where results are kept, and how notes to archives are made.

    Raises
    ------
    UnknownStudy
        The study was never received.
    ReleaseRefused
        It is not held, the choice is open or fits no image, or a stored file cannot be read back.
    """
    study = existing_study(session, study_instance_uid)
    if study.state != StudyState.HELD:
        raise ReleaseRefused(study_instance_uid, f"it is {study.state}, not held")
    headers = _headers(session, study_instance_uid, store)
    corrections = corrections_of(session, study_instance_uid)
    choice = choose(study_instance_uid, headers, whose, corrections)
    chosen = choice.objects
    others = [instance for instance, _ in headers if instance not in dict(chosen)]
    left_out = _leave_out(others)
    _take_back([instance for instance, _ in chosen])
    taken_back = _withdraw_answers(session, study, _runs_about(session, study, others, chosen), settings, actor)
    adopt(study, [header for _, header in chosen], corrections)
    if choice.demographics:
        corrections = [*corrections, agree_on(session, study, choice.demographics, cause=CAUSE)]
        adopt(study, [header for _, header in chosen], corrections)
    record(
        session,
        "released",
        actor=actor,
        study_instance_uid=study_instance_uid,
        from_state=StudyState.HELD,
        to_state=StudyState.RECEIVING,
        reason=f"{len(chosen)} objects belong to the patient chosen, {len(others)} do not",
        details={"left_out": [instance.sop_instance_uid for instance in others], "one_patient": whose.one_patient},
    )
    study.state, study.reason_code, study.reason = StudyState.RECEIVING, None, None
    queued = queue_what_is_left(session, study, RunTrigger.MANUAL, settings, actor=actor)
    if queued is None:
        return Released(study_instance_uid, None, "", left_out, taken_back)
    return Released(study_instance_uid, queued.run_number, queued.queue, left_out, taken_back)


def _headers(session: Session, study_instance_uid: str, store: InstanceStore) -> list[Headed]:
    try:
        return with_headers(objects_in_force(session, study_instance_uid), store)
    except ObjectUnreadable as error:
        raise ReleaseRefused(study_instance_uid, str(error)) from error


def _leave_out(instances: Sequence[Instance]) -> int:
    """Take images of somebody else out of every later run; returns how many."""
    fit = [
        i for i in instances if i.disposition in _ANALYSABLE or i.reason_code in WORTH_ANOTHER_TRY or i.image_verdict
    ]
    for instance in fit:
        instance.disposition = Disposition.NOT_ANALYSED
        instance.reason_code = ReasonCode.IDENTITY_CONFLICT
        instance.reason = "It carries another patient than the one the study was released for."
    return len(fit)


def _take_back(instances: Sequence[Instance]) -> None:
    """Let images be analysed again that an earlier release had left out."""
    for instance in instances:
        if instance.reason_code == ReasonCode.IDENTITY_CONFLICT:
            instance.disposition, instance.reason_code, instance.reason = Disposition.CANDIDATE, None, None


def _runs_about(session: Session, study: Study, others: Sequence[Instance], chosen: Sequence[Headed]) -> Sequence[Run]:
    """Return the runs that looked at images of somebody else, or at older versions of images that named another."""
    theirs = {instance.id for instance in others}
    named = {instance.patient_id for instance, _ in chosen}
    older = select(Instance).where(Instance.study_instance_uid == study.study_instance_uid, ~Instance.current)
    theirs |= {instance.id for instance in session.scalars(older) if instance.patient_id not in named}
    return session.scalars(
        select(Run)
        .where(Run.predictions.any(Prediction.instance_id.in_(theirs)))
        .where(Run.study_instance_uid == study.study_instance_uid)
    ).all()


def _withdraw_answers(session: Session, study: Study, runs: Sequence[Run], settings: Settings, actor: str) -> TakenBack:
    """Take back what these runs said."""
    why = Why(RejectionTitle.WRONG_WORKLIST_ENTRY, "the images were another patient's", actor)
    taken_back = take_back(session, runs, why, settings)
    for run in runs:
        run.state = RunState.SUPERSEDED
        if run.id == study.current_run_id:
            forget_answer(study, keep_set_priority=False)
    return taken_back
