"""What a destination answered about objects it was asked to keep, written into their rows (PS3.4 J.3.3)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from dicom_io.services.storage_commitment import CommitmentAnswer, TakeAnswer, failure_words
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, StorageCommitment
from worker.rows.events import record
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, RunState
from worker.sending.outbox import LOSSES_BEFORE_REFUSAL, retry_delay
from worker.settings.config import Settings

_DUPLICATE_TRANSACTION = 0x0131
_PERMANENT_REASONS = frozenset({0x0119, 0x0122})


def answer_taker(sessions: SessionFactory, settings: Settings, actor: str) -> TakeAnswer:
    """Return what makes an answer durable before the destination hears that we have it."""

    def take(answer: CommitmentAnswer) -> bool:
        with sessions.begin() as session:
            return note_answer(session, answer, settings, actor)

    return take


def note_answer(session: Session, answer: CommitmentAnswer, settings: Settings, actor: str) -> bool:
    """Write an answer into the rows of its objects; once more changes nothing. False = it was never asked for.

    An object named neither as committed nor as failed is asked about again.
    """
    transaction = session.scalars(
        select(StorageCommitment)
        .where(StorageCommitment.transaction_uid == answer.transaction_uid)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if transaction is None:
        return False
    now = database_now(session)
    transaction.answered_at = transaction.answered_at or now
    transaction.accepted = True
    for delivery, result, run in session.execute(_asked_about(transaction)).all():
        if result.sop_instance_uid in answer.failed:
            reason = answer.failed[result.sop_instance_uid]
            _take_back(delivery, result, run, reason, now, settings)
            _record(session, "commitment_failed", delivery, run, actor, failure_words(reason))
        elif result.sop_instance_uid in answer.committed:
            delivery.state, delivery.committed_at, delivery.commitment_due_at = DeliveryState.COMMITTED, now, None
            _record(session, "delivered", delivery, run, actor, "the destination has committed to keep it")
    session.flush()
    return True


def _asked_about(transaction: StorageCommitment) -> Select[Delivery, Result, Run]:
    """Return the query for the transaction's objects that still are as they were when it was made."""
    return (
        select(Delivery, Result, Run)
        .join(Result, Delivery.result_id == Result.id)
        .join(Run, Result.run_id == Run.id)
        .where(Run.study_instance_uid == transaction.study_instance_uid)
        .where(Delivery.destination == transaction.destination, Delivery.state == DeliveryState.SENT)
        .where(or_(Delivery.sent_at.is_(None), Delivery.sent_at <= transaction.requested_at))
        .where(Result.sop_instance_uid.in_(list(transaction.objects)))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
        .execution_options(populate_existing=True)
    )


def _take_back(delivery: Delivery, result: Result, run: Run, reason: int, now: datetime, settings: Settings) -> None:
    """Put the object back into the outbox, or ask again, as the Failure Reason says.

    What is lost too often, or can never be committed, is not sent again from there but refused.
    """
    if reason == _DUPLICATE_TRANSACTION:
        delivery.commitment_due_at = now + retry_delay(delivery.commitment_requests, settings)
        return
    delivery.commitment_due_at, delivery.offered = None, False
    delivery.last_status, delivery.last_comment = reason, f"not committed: {failure_words(reason)}"
    if run.state == RunState.SUPERSEDED and result.kind != ResultKind.REJECTION_NOTE:
        delivery.state = DeliveryState.SUPERSEDED
        return
    hopeless = reason in _PERMANENT_REASONS
    delivery.state = DeliveryState.PENDING
    delivery.lost = LOSSES_BEFORE_REFUSAL if hopeless else delivery.lost + 1
    refused = delivery.lost >= LOSSES_BEFORE_REFUSAL
    delivery.next_attempt_at = now if refused else now + retry_delay(delivery.attempts, settings)


def _record(session: Session, kind: str, delivery: Delivery, run: Run, actor: str, reason: str) -> None:
    record(
        session,
        kind,
        actor=actor,
        study_instance_uid=run.study_instance_uid,
        run_id=run.id,
        reason=reason,
        details={"destination": delivery.destination, "delivery_id": delivery.id},
    )
