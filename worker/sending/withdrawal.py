"""Taking announcements back: whoever was told, or perhaps told, of a result that is about somebody else hears of it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dicom_io.foundation.uids import deterministic_uid
from dicom_io.storing.instance_store import InstanceStore, StoredDamaged, StoredMissing
from hl7_io.observation_report import control_id
from hl7_io.withdrawal import build_withdrawal
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind

_WITHDRAWAL = "withdrawal"


def withdraw_announcements(
    session: Session, runs: Sequence[Run], store: InstanceStore, why: str, actor: str
) -> tuple[int, int]:
    """Put the withdrawal of every message these runs have sent, or may have sent, into the outbox; once per message.

    Call it before a new run of the study ends, in the transaction that takes the runs' results back; ring for the
    delivery after the commit.

    Parameters
    ----------
    store
        The store of results.
    why
        For the receiver and the audit trail; never patient data.

    Returns
    -------
    tuple of int
        How many receivers will be told, and how many only a person can tell because the kept message is gone or
        damaged.

    Raises
    ------
    StoreError
        The store is full, or cannot be reached at the moment.
    """
    told = session.execute(
        select(Result, Delivery)
        .join(Delivery, Delivery.result_id == Result.id)
        .where(Result.run_id.in_([run.id for run in runs]), Result.kind == ResultKind.HL7_MESSAGE)
        .where(or_(Delivery.attempts > 0, Delivery.offered), Delivery.state != DeliveryState.REJECTED)
        .order_by(Result.id)
    ).all()
    known = set(session.scalars(select(Result.sop_instance_uid).where(Result.run_id.in_([run.id for run in runs]))))
    withdrawals = {deterministic_uid(uid, _WITHDRAWAL) for uid in known}
    withdrawn = untold = 0
    for message, delivery in told:
        uid = deterministic_uid(message.sop_instance_uid, _WITHDRAWAL)
        if uid in known or message.sop_instance_uid in withdrawals:
            continue  # taken back already, or itself a withdrawal
        content = _kept(message, store)
        delivery.state, delivery.rejection_note_uid, delivery.lease_until = DeliveryState.REJECTED, None, None
        told_by = "must be told by a person, for the file of the message is gone or damaged,"
        if content is None:
            untold += 1
        else:
            session.add(_withdrawal(session, message, content, uid, delivery.destination, store, why))
            delivery.rejection_note_uid, told_by = uid, "is told"
            withdrawn += 1
        record(
            session,
            "announcement_withdrawn",
            actor=actor,
            study_instance_uid=message.run.study_instance_uid,
            run_id=message.run_id,
            reason=f"{delivery.destination} {told_by} that the message was wrong: {why}",
        )
    session.flush()
    return withdrawn, untold


def _kept(message: Result, store: InstanceStore) -> bytes | None:
    """Return the message as it was sent, which holds whom and what it was about; None: the file does not say."""
    try:
        return store.open_intact(message.path, message.sha256).read_bytes()
    except (StoredMissing, StoredDamaged):
        return None


def _withdrawal(
    session: Session, message: Result, sent: bytes, uid: str, destination: str, store: InstanceStore, why: str
) -> Result:
    now = database_now(session)
    content = build_withdrawal(sent, control_id(uid), now, why)
    file = store.write(message.run.study_instance_uid, uid, [content], suffix=".hl7")
    return Result(
        run_id=message.run_id,
        kind=ResultKind.HL7_MESSAGE,
        finding=None,
        sop_class_uid="",
        sop_instance_uid=uid,
        series_instance_uid="",
        path=file.path,
        bytes=file.bytes,
        sha256=file.sha256,
        created_at=now,
        deliveries=[Delivery(destination=destination)],
    )
