"""Delete everything kept of one patient, by a person's name and reason; what archives and receivers have is theirs.

Rows go in one transaction, files before it ends: where a process dies in between, the rows are still there and the same
command goes on. What was deleted counts in no figure any more. A study that is sent again is a new one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import QUARANTINE_FOLDER
from worker.care.administration import stated
from worker.foundation.errors import WorkerError
from worker.rows.base import Base
from worker.rows.delivery_tables import Delivery, Notification, StorageCommitment
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.run_tables import BackfillStudy, Prediction, Result, Run
from worker.rows.site_tables import Event, InboundMessage
from worker.rows.states import DeliveryState, InboundState, RunState, StudyState
from worker.rows.study_tables import (
    IdentityCorrection,
    Instance,
    ReceivedNote,
    RejectedInstance,
    Review,
    Study,
    StudyWord,
)
from worker.rows.workitem_tables import Workitem, WorkitemEvent, WorkitemSubscription
from worker.settings.config import Settings

_KIND = "forgotten"


class ForgettingRefused(WorkerError):
    """Nothing was deleted; the message says why and what to do first."""


@dataclass(frozen=True)
class Forgotten:
    """What was deleted."""

    studies: int
    instances: int
    results: int
    messages: int
    """HL7 messages whose text named the patient; their texts are gone, their control ids stay."""
    quarantined: int
    """Refused objects in quarantine."""

    @property
    def summary(self) -> str:
        """Return what happened, in a sentence without the patient."""
        return (
            f"{self.studies} studies with {self.instances} images and {self.results} results are deleted, the texts of"
            f" {self.messages} HL7 messages and {self.quarantined} refused objects too. Archives, receivers of messages"
            " and backups keep what they have"
        )


def forget_patient(
    session: Session, patient_id: str, issuer: str | None, *, reason: str, by: str, settings: Settings
) -> Forgotten:
    """Delete the patient's studies, images, results, messages and audit trail; one event without names says so.

    Parameters
    ----------
    patient_id
        As received or as corrected.
    issuer
        Issuer of Patient ID; None where all studies under this number name at most one.
    reason, by
        Kept in the event that remains; never patient data.

    Raises
    ------
    ForgettingRefused
        The number is empty, nothing is kept under it, it means patients of several issuers, a study is unfinished, or
        holds images of somebody else.
    NotStated
        No reason or no name.
    """
    reason, by = stated("reason", reason), stated("name", by)
    if not patient_id.strip():  # stands in every study without a number, and in all messages and refused objects
        raise ForgettingRefused("the Patient ID is empty; studies without one are many patients'")
    uids = _studies_of(session, patient_id, issuer)
    for uid in uids:
        _require_finished(session, uid)
        _require_only(session, uid, patient_id)
    messages = _forget_messages(session, patient_id)
    instances = sum(_count(session, select(Instance.id).where(Instance.study_instance_uid == uid)) for uid in uids)
    results = sum(_count(session, _results(uid)) for uid in uids)
    for uid in uids:
        _delete_rows(session, uid)
    quarantined = _delete_quarantined(settings.instances_dir / QUARANTINE_FOLDER, patient_id)
    if not uids and not messages and not quarantined:
        raise ForgettingRefused("nothing is kept under this Patient ID; check its spelling, it is compared exactly")
    forgotten = Forgotten(len(uids), instances, results, messages, quarantined)
    note_forgotten(session, forgotten, uids, reason=reason, by=by)
    session.flush()
    for uid in uids:
        for store in (settings.instances_dir, settings.results_dir):
            if (store / uid).exists():
                shutil.rmtree(store / uid)
    return forgotten


def note_forgotten(session: Session, forgotten: Forgotten, uids: Sequence[str], *, reason: str, by: str) -> None:
    """Write the one event that stays: how much, why and by whom, and hashes by which the studies can be told again."""
    details = vars(forgotten) | {"studies_sha256": [_mark(uid) for uid in uids]}
    record(session, _KIND, actor=by, reason=reason, details=details)


def forgotten_among(session: Session, uids: Iterable[str]) -> set[str]:
    """Return those of these studies that were forgotten: nothing of them may be fetched again unasked."""
    notes = session.scalars(select(Event.details).where(Event.kind == _KIND))
    marks = {mark for details in notes for mark in details["studies_sha256"]}
    return {uid for uid in uids if _mark(uid) in marks} if marks else set()


def _mark(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


def _studies_of(session: Session, patient_id: str, issuer: str | None) -> list[str]:
    """Return the studies that are this patient's now, or have an image that came under this number; in lock order."""
    ours = select(Instance.study_instance_uid).where(Instance.patient_id == patient_id)
    rows = session.execute(
        select(Study.study_instance_uid, Study.issuer_of_patient_id)
        .where(or_(Study.patient_id == patient_id, Study.study_instance_uid.in_(ours)))
        .order_by(Study.study_instance_uid)
    ).all()
    if issuer is None and len({row.issuer_of_patient_id for row in rows}) > 1:
        raise ForgettingRefused("patients of several issuers have this Patient ID; say whose with --issuer")
    return [row.study_instance_uid for row in rows if issuer in (None, row.issuer_of_patient_id)]


def _require_finished(session: Session, uid: str) -> None:
    study = locked_study(session, uid)
    active = select(Run.id).where(Run.study_instance_uid == uid, Run.state.in_((RunState.QUEUED, RunState.RUNNING)))
    sending = select(Delivery.id).where(Delivery.result_id.in_(_results(uid)), Delivery.state == DeliveryState.PENDING)
    receiving = study is not None and (study.due_at is not None or study.state == StudyState.RECEIVING)
    if receiving or any(session.scalar(query.limit(1)) is not None for query in (active, sending)):
        raise ForgettingRefused(
            f"study {uid} is unfinished: it is still received, analysed or sent. Wait, or take it back first with"
            " `python -m worker retract`; unfinished work is never deleted"
        )


def _require_only(session: Session, uid: str, patient_id: str) -> None:
    numbers = set(session.scalars(select(Instance.patient_id).where(Instance.study_instance_uid == uid)))
    corrected = set(
        session.scalars(select(IdentityCorrection.prior_patient_id).where(IdentityCorrection.study_instance_uid == uid))
    )
    if numbers - corrected - {patient_id, ""}:
        raise ForgettingRefused(
            f"study {uid} holds images of another patient, too; a person must say first whose it is, with"
            " `python -m worker release` or `python -m worker correct`"
        )


def _forget_messages(session: Session, patient_id: str) -> int:
    """Empty every HL7 message that names the number as a field's component, and drop those not applied yet."""
    number = re.compile(rb"(?<![^|^~&\r\n])" + re.escape(patient_id.encode()) + rb"(?![^|^~&\r\n])")
    kept = session.execute(select(InboundMessage.id, InboundMessage.content).where(InboundMessage.content.is_not(None)))
    naming = [row.id for row in kept if number.search(row.content)]
    for message_id in naming:
        mine = InboundMessage.id == message_id
        session.execute(delete(InboundMessage).where(mine, InboundMessage.state == InboundState.WAITING))
        session.execute(update(InboundMessage).where(mine).values(content=None))
    return len(naming)


def _delete_rows(session: Session, uid: str) -> None:
    """Delete the study and all that hangs on it, what refers to a row before the row."""
    runs = select(Run.id).where(Run.study_instance_uid == uid)
    instances = select(Instance.id).where(Instance.study_instance_uid == uid)
    workitems = select(Workitem.sop_instance_uid).where(Workitem.study_instance_uid == uid)
    session.execute(update(Study).where(Study.study_instance_uid == uid).values(current_run_id=None))
    hanging: tuple[tuple[type[Base], ColumnElement[bool]], ...] = (
        (Delivery, Delivery.result_id.in_(_results(uid))),
        (Result, Result.run_id.in_(runs)),
        (Prediction, Prediction.run_id.in_(runs)),
        (ReceivedNote, ReceivedNote.instance_id.in_(instances)),
        (WorkitemEvent, WorkitemEvent.sop_instance_uid.in_(workitems)),
        (WorkitemSubscription, WorkitemSubscription.sop_instance_uid.in_(workitems)),
    )
    of_study = (
        Notification, StorageCommitment, Review, IdentityCorrection, RejectedInstance, StudyWord, Workitem, Event,
        BackfillStudy, Run, Instance, Study,
    )  # fmt: skip
    for kind, condition in (*hanging, *((kind, kind.study_instance_uid == uid) for kind in of_study)):
        session.execute(delete(kind).where(condition).execution_options(synchronize_session=False))
    session.expire_all()


def _results(uid: str) -> Select[int]:
    return select(Result.id).join(Run).where(Run.study_instance_uid == uid)


def _count(session: Session, query: Select[int]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def _delete_quarantined(folder: Path, patient_id: str) -> int:
    """Delete refused objects in whose bytes the number stands; being refused, few can be read as DICOM."""
    naming = [path for path in folder.glob("*.bin") if patient_id.encode() in path.read_bytes()]
    for path in naming:
        path.unlink()
        path.with_suffix(".txt").unlink(missing_ok=True)
    return len(naming)
