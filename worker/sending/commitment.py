"""The rows of storage commitment: which sent objects their destination is asked to keep, and what it answered.

Only the delivery's row says whether an object is still to be asked about (`commitment_due_at`), so a lost request, a
lost answer and a killed worker all end the same way: it is asked again. Every request is a transaction of its own; an
answer to an earlier one counts as long as the object was not sent again since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from pydicom.uid import generate_uid
from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session

from dicom_io.services.storage_commitment_scu import RequestOutcome
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery, StorageCommitment
from worker.rows.events import record
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, StudyState
from worker.rows.study_tables import Study
from worker.sending.outbox import Moment, retry_delay
from worker.settings.config import Settings

REQUESTS_BEFORE_RESEND = 3
LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True)
class Transaction:
    """What is asked of a destination at once."""

    transaction_uid: str
    destination: str
    objects: Mapping[str, str]
    """SOP Instance UID -> SOP Class UID."""


def due_commitments(now: Moment) -> Select[Delivery, Result, Run]:
    """Return the query for sent objects whose destination is to be asked (again) at ``now``, oldest first."""
    return (
        select(Delivery, Result, Run)
        .join(Result, Delivery.result_id == Result.id)
        .join(Run, Result.run_id == Run.id)
        .join(Study, Run.study_instance_uid == Study.study_instance_uid)
        .where(Delivery.state == DeliveryState.SENT, Delivery.commitment_due_at <= now)
        .where(Study.state != StudyState.HELD)
        .order_by(Delivery.id)
    )


def due_commitment_destinations(session: Session, study_instance_uid: str, now: datetime) -> set[str]:
    """Return the names of the destinations that are to be asked about objects of the study at ``now``."""
    return set(session.scalars(_due_destinations(), {"study": study_instance_uid, "now": now}))


@cache
def _due_destinations() -> Select[str]:
    """Return the query for destinations by ``study`` and ``now``; putting it together takes longer than its answer."""
    due = due_commitments(bindparam("now")).where(Run.study_instance_uid == bindparam("study"))
    return due.with_only_columns(Delivery.destination).order_by(None).distinct()


def take_uncommitted(
    session: Session, study_instance_uid: str, destination: str, settings: Settings, actor: str
) -> Transaction | None:
    """Open a transaction for what is due; commit it before the destination is asked, because the answer may be quick.

    What was asked in vain often enough is put back into the outbox instead: the object itself may be lost.
    """
    now = database_now(session)
    due = due_commitments(now).where(Run.study_instance_uid == study_instance_uid, Delivery.destination == destination)
    transaction_uid = str(generate_uid(prefix=None))
    objects: dict[str, str] = {}
    for delivery, result, run in session.execute(due).all():
        unanswered = _unanswered(session, delivery)
        again = unanswered and delivery.commitment_requests % REQUESTS_BEFORE_RESEND == 0
        if not _claimed(session, delivery, transaction_uid, now, settings, resend=again):
            continue
        if unanswered:
            _record_silence(session, delivery, run, actor, resend=again)
        if not again:
            objects[result.sop_instance_uid] = result.sop_class_uid
    if not objects:
        return None
    session.add(
        StorageCommitment(
            transaction_uid=transaction_uid,
            study_instance_uid=study_instance_uid,
            destination=destination,
            objects=objects,
            requested_at=now,
        )
    )
    return Transaction(transaction_uid, destination, objects)


def _unanswered(session: Session, delivery: Delivery) -> bool:
    """Return whether the destination took the latest request about this object and said nothing since."""
    if delivery.commitment_transaction_uid is None or delivery.commitment_requests == 0:
        return False
    earlier = select(StorageCommitment.accepted).where(
        StorageCommitment.transaction_uid == delivery.commitment_transaction_uid
    )
    return bool(session.scalar(earlier))


def _claimed(
    session: Session, delivery: Delivery, transaction_uid: str, now: datetime, settings: Settings, *, resend: bool
) -> bool:
    """Take one row for this transaction, or back into the outbox; False when another worker was faster."""
    requests = delivery.commitment_requests + 1
    values = (
        {"state": DeliveryState.PENDING, "next_attempt_at": now, "commitment_due_at": None}
        if resend
        else {
            "commitment_requests": requests,
            "commitment_transaction_uid": transaction_uid,
            "commitment_due_at": now + answer_wait(requests, settings),
        }
    )
    changed = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id, Delivery.state == DeliveryState.SENT, Delivery.commitment_due_at <= now)
        .values(**values)
        .returning(Delivery.id),
        execution_options={"synchronize_session": False},
    )
    return changed.one_or_none() is not None


def answer_wait(requests: int, settings: Settings) -> timedelta:
    """Return how long the answer to the ``requests``-th request is waited for: doubling, up to a day."""
    return min(timedelta(seconds=settings.commitment_answer_seconds * 2 ** min(requests - 1, 20)), LONGEST_WAIT)


def _record_silence(session: Session, delivery: Delivery, run: Run, actor: str, *, resend: bool) -> None:
    record(
        session,
        "commitment_unanswered",
        actor=actor,
        study_instance_uid=run.study_instance_uid,
        run_id=run.id,
        reason=f"{delivery.destination} took {delivery.commitment_requests} requests and did not say whether it keeps"
        f" the object; it is {'sent' if resend else 'asked'} again",
        details={"destination": delivery.destination, "delivery_id": delivery.id},
    )


def note_asked(session: Session, transaction: Transaction) -> None:
    """Note that the destination took the request; from now on its answer is awaited."""
    session.execute(
        update(StorageCommitment)
        .where(StorageCommitment.transaction_uid == transaction.transaction_uid)
        .values(accepted=True)
    )


def note_not_asked(
    session: Session, transaction: Transaction, outcome: RequestOutcome, settings: Settings, actor: str
) -> None:
    """Note that the request was not taken; it is made again after the same waits as a failed C-STORE."""
    asked = session.scalars(
        select(StorageCommitment).where(StorageCommitment.transaction_uid == transaction.transaction_uid)
    ).one()
    asked.comment = outcome.comment
    now = database_now(session)
    rows = session.scalars(
        select(Delivery).where(
            Delivery.commitment_transaction_uid == transaction.transaction_uid, Delivery.state == DeliveryState.SENT
        )
    ).all()
    for delivery in rows:
        wait = retry_delay(delivery.commitment_requests, settings, unreachable=outcome.unreachable)
        delivery.commitment_due_at = now + wait
    if any(delivery.commitment_requests == 1 for delivery in rows):  # one event, not one per try
        record(
            session,
            "commitment_delayed",
            actor=actor,
            study_instance_uid=asked.study_instance_uid,
            reason=f"{transaction.destination} was not asked to keep {len(rows)} objects: {outcome.comment}",
            details={"destination": transaction.destination},
        )


def forget_uncommitted(session: Session, study_instance_uid: str, destination: str) -> None:
    """Ask no more about what was sent to a destination whose commitment is no longer wanted."""
    results = select(Result.id).join(Run).where(Run.study_instance_uid == study_instance_uid)
    session.execute(
        update(Delivery)
        .where(Delivery.destination == destination, Delivery.result_id.in_(results))
        .values(commitment_due_at=None),
        execution_options={"synchronize_session": False},
    )


def is_answered(session: Session, transaction_uid: str) -> bool:
    """Return whether the answer to a request was noted, whichever process took it."""
    query = select(StorageCommitment.answered_at).where(StorageCommitment.transaction_uid == transaction_uid)
    return session.scalar(query) is not None
