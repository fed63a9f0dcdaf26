"""A held study whose images agree by now whose they are goes on by itself: the doubt has no ground any more.

====================================================  ==================================================================
what came                                             the study goes on
====================================================  ==================================================================
new versions of images (C-STORE)                      where all images in force name one patient, as its row does
rejections, by a note or a person                     where all images left do
HL7 ADT                                               where they do once each image is corrected whose name the message
                                                      gives the patient, or whose Patient ID it merges into another
====================================================  ==================================================================

Another Patient ID than the study had, an image that another study has too, one that cannot be read back, and a study
that was retracted are left to a person (`worker.care.release`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.completion import queue_what_is_left
from worker.arrival.corrected_images import corrected_columns
from worker.arrival.correction import corrections_of
from worker.arrival.identity import WHOSE, conflict, contradiction, identity_columns
from worker.arrival.queued import QueuedRun
from worker.care.study_objects import Headed, ObjectUnreadable, adopt, is_in_force, objects_in_force, with_headers
from worker.rows.database import SessionFactory, database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.states import InboundState, RunTrigger, StudyState
from worker.rows.study_tables import IdentityCorrection, Instance, ReceivedNote, Study
from worker.settings.config import Settings

MOST_SPELLINGS = 50
"""Of one patient in one study; each is compared with each."""

logger = logging.getLogger(__name__)


def look_again(
    study_instance_uid: str, sessions: SessionFactory, store: InstanceStore, settings: Settings, *, actor: str
) -> QueuedRun | None:
    """Let a held study that is due go on if its images agree; else it waits for a person, and for what comes.

    Returns
    -------
    QueuedRun or None
        To ring for. None: it is not held, stays so, or has nothing to analyse, which the next sweep says.
    """
    with sessions() as session:
        held = select(Study.study_instance_uid).where(
            Study.study_instance_uid == study_instance_uid, Study.state == StudyState.HELD
        )
        if session.scalar(held) is None:
            return None
        objects = _readable(objects_in_force(session, study_instance_uid), store)
    with sessions.begin() as session:
        study = locked_study(session, study_instance_uid)
        now = database_now(session)
        if study is None or study.state != StudyState.HELD or study.due_at is None or study.due_at > now:
            return None
        if objects and _judged(objects_in_force(session, study_instance_uid)) != _judged([each for each, _ in objects]):
            return None  # one came or was rejected while they were read; the study is still due
        study.due_at = None
        corrections = corrections_of(session, study_instance_uid)
        tell = telling(session, objects)
        if study.retracted_at is not None or not _agree(session, study, tell, corrections):
            return None
        return _go_on(session, study, tell, corrections, settings, actor)


def _readable(instances: Sequence[Instance], store: InstanceStore) -> list[Headed]:
    try:
        return with_headers(instances, store)
    except ObjectUnreadable as error:
        logger.warning("a held study waits for a person: %s", error)
        return []


def telling(session: Session, objects: Sequence[Headed]) -> list[Headed]:
    """Return those that say whose the study is: not what a person left out, nor a note that names what it rejects."""
    notes = [instance.id for instance, _ in objects if instance.sop_class_uid == KEY_OBJECT_SELECTION]
    applied = select(ReceivedNote.instance_id).where(ReceivedNote.state == InboundState.APPLIED)
    done = set(session.scalars(applied.where(ReceivedNote.instance_id.in_(notes))))
    return [
        (instance, header)
        for instance, header in objects
        if instance.reason_code != ReasonCode.IDENTITY_CONFLICT and instance.id not in done
    ]


def _judged(instances: Sequence[Instance]) -> list[tuple[int, str | None]]:
    return [(instance.id, instance.reason_code) for instance in instances]


def _agree(
    session: Session, study: Study, objects: Sequence[Headed], corrections: Sequence[IdentityCorrection]
) -> bool:
    """Return whether all of these, as corrected, are one patient's: the one with the Patient ID of the study's row."""
    stated = [corrected_columns(identity_columns(header), corrections) for _, header in objects]
    named = list({tuple(columns[name] for name in WHOSE): columns for columns in stated}.values())
    if not named or len(named) > MOST_SPELLINGS or _is_elsewhere(session, study):
        return False
    if any(conflict(study, columns, replaces=True) for columns in named):
        return False
    return not any(contradiction(one, other) for one, other in combinations(named, 2))


def _is_elsewhere(session: Session, study: Study) -> bool:
    """Return whether another study has an image of this one."""
    others = aliased(Instance)
    shared = (
        select(others.id)
        .join(Instance, Instance.sop_instance_uid == others.sop_instance_uid)
        .where(is_in_force(study.study_instance_uid), others.study_instance_uid != study.study_instance_uid)
    )
    return session.scalar(shared.limit(1)) is not None


def _go_on(
    session: Session,
    study: Study,
    objects: Sequence[Headed],
    corrections: Sequence[IdentityCorrection],
    settings: Settings,
    actor: str,
) -> QueuedRun | None:
    """Queue the study; say why where nothing of it can be analysed."""
    adopt(study, [header for _, header in objects], corrections)
    record(
        session,
        "hold_lifted",
        actor=actor,
        study_instance_uid=study.study_instance_uid,
        from_state=StudyState.HELD,
        to_state=StudyState.RECEIVING,
        reason=f"{len(objects)} objects in force agree whose they are; the study goes on",
    )
    study.state, study.reason_code, study.reason = StudyState.RECEIVING, None, None
    queued = queue_what_is_left(session, study, RunTrigger.REPROCESS, settings, actor=actor)
    if queued is not None:
        logger.info("study=%s is held no longer: its images agree", study.study_instance_uid)
    return queued
