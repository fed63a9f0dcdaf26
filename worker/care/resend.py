"""``python -m worker resend``: what a destination was sent of a study, once more, byte for byte; always audited.

For an archive that was restored from a backup, or a report that a person there deleted. Only what counts now is sent:
the results of the study's current run, and the notes that took older ones back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from worker.arrival.correction import is_owed
from worker.care.administration import existing_study
from worker.foundation.errors import WorkerError
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, StudyState
from worker.sending.outage import try_at_once
from worker.settings.config import Settings

_SENDABLE = (
    DeliveryState.PENDING,
    DeliveryState.SENT,
    DeliveryState.COMMITTED,
    DeliveryState.REFUSED,
    DeliveryState.FAILED,
)
"""Not what was superseded or taken back: that must not be there any more."""


class NothingToResend(WorkerError):
    """Nothing of the study may be sent (again)."""

    def __init__(self, study_instance_uid: str, why: str) -> None:
        super().__init__(f"nothing of study {study_instance_uid} was sent again: {why}")


@dataclass(frozen=True)
class Resent:
    """What a resend set in motion; ring for deliveries with it after the commit."""

    study_instance_uid: str
    deliveries: dict[str, int]
    """Results and messages that are due now, by destination."""


def resend_study(
    session: Session,
    study_instance_uid: str,
    destinations: Sequence[str],
    actor: str,
    settings: Settings,
    reason: str = "by hand",
) -> Resent:
    """Make what the destinations were sent, or are to be sent, due at once, with waits that begin anew.

    Parameters
    ----------
    destinations
        Names of the configuration; empty means all that the study has results for.
    reason
        Why, for the audit trail.

    Raises
    ------
    UnknownStudy
        The study was never received.
    NothingToResend
        The study is held, or was corrected and its results were not made anew; a destination is not configured; or no
        result that counts is for any of them.
    """
    study = existing_study(session, study_instance_uid)
    if study.state == StudyState.HELD:
        raise NothingToResend(study_instance_uid, f"it is held ({study.reason}); release it first")
    if is_owed(session, study):
        why = "it was corrected, and no run has issued its results anew; requeue it, then they are sent"
        raise NothingToResend(study_instance_uid, why)
    configured = settings.destination_names
    if unknown := sorted(set(destinations) - set(configured)):
        known = ", ".join(configured) or "none"
        raise NothingToResend(study_instance_uid, f"no destination {', '.join(unknown)} is configured (known: {known})")
    now = database_now(session)
    counts: dict[str, int] = {}
    for delivery in _sendable(session, study_instance_uid, study.current_run_id, destinations or configured):
        if delivery.state != DeliveryState.PENDING:
            delivery.state, delivery.lost, delivery.attempts = DeliveryState.PENDING, 0, 0
            delivery.commitment_due_at, delivery.committed_at, delivery.commitment_requests = None, None, 0
        delivery.next_attempt_at = now
        counts[delivery.destination] = counts.get(delivery.destination, 0) + 1
    if not counts:
        where = f" for {', '.join(destinations)}" if destinations else ""
        raise NothingToResend(study_instance_uid, f"it has no results{where} that count now; `show` lists them")
    try_at_once(session, counts)
    record(
        session,
        "resend",
        actor=actor,
        study_instance_uid=study_instance_uid,
        run_id=study.current_run_id,
        reason=f"sent again ({reason}): " + ", ".join(f"{count} to {name}" for name, count in counts.items()),
        details={"deliveries": counts},
        at=now,
    )
    return Resent(study_instance_uid, counts)


def _sendable(
    session: Session, study_instance_uid: str, current_run_id: int | None, names: Sequence[str]
) -> Sequence[Delivery]:
    query = (
        select(Delivery)
        .join(Delivery.result)
        .join(Result.run)
        .where(Run.study_instance_uid == study_instance_uid)
        .where(or_(Result.run_id == current_run_id, Result.kind == ResultKind.REJECTION_NOTE))
        .where(Delivery.state.in_(_SENDABLE), Delivery.destination.in_(names))
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
    )
    return session.scalars(query).all()
