"""The rows of one received instance, in one transaction: study, instance, what is to become of it, and the event.

==========================================  ==================================================================
received                                    becomes
==========================================  ==================================================================
the same bytes again                        nothing new; where retention had deleted them they are kept anew
other bytes under a known SOP Instance UID  a new version; the old one stays, no longer current
one of our own results                      ``ignored(own_result)``, known by equipment or by its UID
a Key Object Selection of others            noted; the sweeper does what a rejection note says
an image that was declared invalid          ``not_analysed(rejected)``
another patient in the study                study ``held(identity_conflict)``: another Patient ID, issuer of it, name or
                                            birth date; a new version of an image may correct the last two
another sex of the same patient             noted in the audit trail
a SOP Instance UID known in another study   both studies ``held(identity_conflict)``
a candidate, or anything before an answer   study due after the quiet time
a version in the place of an analysed one   the same, whatever it is: the answer rests on what was replaced
an image that cannot be analysed            the same: the report says how many it lacks
==========================================  ==================================================================
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION, RejectionTitle
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import Verdict, judge_tags
from dicom_io.storing.receiving import ReceivedInstance
from worker.arrival.analysable import is_missed
from worker.arrival.corrected_images import corrected_columns
from worker.arrival.correction import corrections_of, is_owed
from worker.arrival.identity import conflict, hold, identity_columns, sex_differs, take_over
from worker.arrival.ordinary import (
    ACTOR,
    REMARKABLE,
    Arrival,
    TagsRead,
    calls_for_run,
    enter_ordinary,
    event_details,
    instance_row,
    is_unanswered,
    make_study,
)
from worker.arrival.selection_rules import selection_rules, site_date
from worker.rows.database import database_now, one_at_a_time
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.run_tables import Result
from worker.rows.states import Disposition, StudyState
from worker.rows.study_tables import Instance, ReceivedNote, RejectedInstance, Study
from worker.settings.config import Settings

_OWN_RESULT = Verdict(Disposition.IGNORED, ReasonCode.OWN_RESULT)


class Reception:
    """Writes the rows of received instances."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self, received: ReceivedInstance) -> TagsRead:
        """Read what the tags say, before any transaction: nobody waits for a lock meanwhile."""
        rules = selection_rules(self._settings, received.calling_ae_title)
        verdict = judge_tags(received.header, rules, site_date(self._settings))
        return TagsRead(identity_columns(received.header), verdict)

    def enter(self, connection: Connection, arrival: Arrival) -> None:
        """Add the instance to its study; the caller commits, and until then nothing is ours."""
        quiet_time = timedelta(seconds=self._settings.quiet_time_seconds)
        if not enter_ordinary(connection, arrival, quiet_time):
            with Session(connection, expire_on_commit=False) as session:
                self.enter_unusual(session, arrival)
                session.flush()

    def enter_unusual(self, session: Session, arrival: Arrival) -> None:
        """Add an instance that may be anything, an ordinary one included."""
        received, now = arrival.received, database_now(session)
        study, elsewhere = _lock_studies(session, arrival, now)
        remarkable = bool(session.scalar(select(REMARKABLE), arrival.uids))  # asked with the study locked
        known = _newest_version(session, received) if remarkable else None
        if known is not None and known.sha256 == arrival.stored.sha256:
            if known.deleted_at is not None:
                self._restore(session, study, known, now)
            known.path = arrival.stored.path  # earlier versions kept it elsewhere, and there it may be gone
            return
        verdict = _judge(session, arrival, remarkable=remarkable)
        if known is not None:
            known.current = False
        instance = Instance(**instance_row(arrival, verdict, now, version=known.version + 1 if known else 1))
        session.add(instance)
        if instance.sop_class_uid == KEY_OBJECT_SELECTION and verdict.reason_code != ReasonCode.OWN_RESULT:
            session.flush()
            session.add(ReceivedNote(instance_id=instance.id))
        _record(session, arrival, verdict, instance, known)
        study.last_received_at, study.images_deleted_at = now, None
        ours = verdict.reason_code == ReasonCode.OWN_RESULT
        corrections = corrections_of(session, study.study_instance_uid) if remarkable else []
        columns = corrected_columns(arrival.tags.stated, corrections)
        cause = None if ours else conflict(study, columns, replaces=known is not None)
        if not ours and _identity_is_clear(session, study, elsewhere, received, cause, now):
            if sex_differs(study, columns):
                _note_sex(session, instance)
            take_over(study, columns, corrected=known is not None)
            if study.state == StudyState.HELD and known is not None:
                study.due_at = now + timedelta(seconds=self._settings.quiet_time_seconds)  # is it in doubt still?
        told_of = known is not None and is_missed(known.disposition, known.reason_code)
        wanted = calls_for_run(verdict) or told_of or is_unanswered(study) or _was_looked_at(known)
        if study.state != StudyState.HELD and wanted:
            study.due_at = now + timedelta(seconds=self._settings.quiet_time_seconds)

    def _restore(self, session: Session, study: Study, known: Instance, now: datetime) -> None:
        """Keep an image anew that retention had deleted; it was judged before, and nothing is made twice of it."""
        known.deleted_at, known.restored_at = None, now
        study.images_deleted_at = None
        if is_owed(session, study):  # a correction that could not be carried without it
            study.due_at = now + timedelta(seconds=self._settings.quiet_time_seconds)
        record(
            session,
            "image_restored",
            actor=ACTOR,
            study_instance_uid=study.study_instance_uid,
            reason="an object that retention had deleted was sent again",
            details={"sop_instance_uid": known.sop_instance_uid},
            at=now,
        )


def _judge(session: Session, arrival: Arrival, *, remarkable: bool) -> Verdict:
    received = arrival.received
    own = select(Result.id).where(Result.sop_instance_uid == received.sop_instance_uid).limit(1)
    if remarkable and session.scalar(own) is not None:
        return _OWN_RESULT
    if remarkable and (title := _rejected_for(session, received)) is not None:
        return Verdict(Disposition.NOT_ANALYSED, ReasonCode.REJECTED, title)
    return arrival.tags.verdict


def _record(
    session: Session, arrival: Arrival, verdict: Verdict, instance: Instance, replaced: Instance | None
) -> None:
    details = event_details(arrival, verdict)
    if replaced is not None:
        details |= {"version": instance.version, "sha256": instance.sha256, "replaced_sha256": replaced.sha256}
    record(
        session,
        "received" if replaced is None else "new_version",
        actor=ACTOR,
        study_instance_uid=instance.study_instance_uid,
        reason=instance.reason,
        details=details,
        at=instance.received_at,
    )


def _note_sex(session: Session, instance: Instance) -> None:
    record(
        session,
        "sex_differs",
        actor=ACTOR,
        study_instance_uid=instance.study_instance_uid,
        reason="images of the study state different sexes of one patient; look whose they are",
        details={"sop_instance_uid": instance.sop_instance_uid},
        at=instance.received_at,
    )


def _lock_studies(session: Session, arrival: Arrival, now: datetime) -> tuple[Study, list[Study]]:
    """Return the instance's study, made if new, and the other studies that know its SOP Instance UID; all locked."""
    received = arrival.received
    uid = received.study_instance_uid
    one_at_a_time(session.connection(), received.sop_instance_uid)  # two senders of it might name two studies
    make_study(session.connection(), arrival, now)
    elsewhere = session.scalars(
        select(Instance.study_instance_uid)
        .where(Instance.sop_instance_uid == received.sop_instance_uid, Instance.study_instance_uid != uid)
        .distinct()
    ).all()
    locked = {each: locked_study(session, each) for each in sorted({uid, *elsewhere})}  # one order: no deadlock
    study = locked.pop(uid)
    if study is None:
        raise RuntimeError(f"study {uid} vanished while its instance was entered; send the instance again")
    return study, [other for other in locked.values() if other is not None]


def _newest_version(session: Session, received: ReceivedInstance) -> Instance | None:
    return session.scalars(
        select(Instance)
        .where(
            Instance.study_instance_uid == received.study_instance_uid,
            Instance.sop_instance_uid == received.sop_instance_uid,
        )
        .order_by(Instance.version.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).first()


def _was_looked_at(replaced: Instance | None) -> bool:
    """Return whether a run has analysed the version that is replaced, or may be about to."""
    return replaced is not None and replaced.disposition in (Disposition.ANALYSED, Disposition.CANDIDATE)


def _rejected_for(session: Session, received: ReceivedInstance) -> str | None:
    """Return why this image was declared invalid before it came; None where nobody said so."""
    code = session.scalar(
        select(RejectedInstance.title_code).where(
            RejectedInstance.study_instance_uid == received.study_instance_uid,
            RejectedInstance.sop_instance_uid == received.sop_instance_uid,
        )
    )
    title = None if code is None else RejectionTitle.of_code(code)
    return code if title is None else title.meaning


def _identity_is_clear(
    session: Session,
    study: Study,
    elsewhere: list[Study],
    received: ReceivedInstance,
    cause: str | None,
    now: datetime,
) -> bool:
    """Hold the study where `cause` says why its patient is in doubt, or another study has the image, too."""
    causes = [(study, cause)] if cause else []
    for other in elsewhere:
        causes.append((study, f"has an image that was also received under study {other.study_instance_uid}"))
        causes.append((other, f"has an image that was also received under study {study.study_instance_uid}"))
    for doubtful, why in causes:
        if doubtful.state != StudyState.HELD:
            hold(session, doubtful, why, now, actor=ACTOR, sop_instance_uid=received.sop_instance_uid)
    return not causes
