"""What a line of the worklist says about a study's current run: flagged findings, and how far its results have come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Prediction, Result
from worker.rows.states import DeliveryState
from worker.runs.policy import AssessedFinding

_DELIVERED = (DeliveryState.SENT, DeliveryState.COMMITTED)
_STORED = "stored"


@dataclass(frozen=True)
class FlaggedFinding:
    """A finding at or above its threshold; ``probability`` and ``threshold`` in 0..1."""

    finding: str
    probability: float
    threshold: float


@dataclass(frozen=True)
class DeliverySummary:
    """How far the current results of a study have come, over all destinations.

    ``state`` is ``none`` (no results to send), ``pending``, ``retrying``, ``stored`` (at the destination, which has not
    committed to keep it yet), ``delivered`` or ``failed``; the worst wins.
    """

    state: str
    total: int = 0
    delivered: int = 0
    comment: str | None = None


def flagged_findings(session: Session, run_ids: Sequence[int]) -> dict[int, tuple[FlaggedFinding, ...]]:
    """Return the flagged findings by run, most urgent first; of several images the highest probability."""
    statement = (
        select(Prediction.run_id, Prediction.finding, func.max(Prediction.probability), func.max(Prediction.threshold))
        .where(Prediction.run_id.in_(run_ids), Prediction.flagged.is_(True))
        .group_by(Prediction.run_id, Prediction.finding)
    )
    found: dict[int, tuple[FlaggedFinding, ...]] = {}
    for run_id, finding, probability, threshold in session.execute(statement):
        found[run_id] = (*found.get(run_id, ()), FlaggedFinding(finding, probability or 0.0, threshold or 0.0))
    return {run_id: tuple(sorted(findings, key=_urgency, reverse=True)) for run_id, findings in found.items()}


def _urgency(item: FlaggedFinding) -> float:
    """Return the place of a finding, 0..1, as the policy ranks it."""
    return AssessedFinding(item.finding, item.probability, item.threshold, 0, flagged=True).rank


def delivery_summaries(session: Session, run_ids: Sequence[int]) -> dict[int, DeliverySummary]:
    """Return how far the results of each run have come; superseded deliveries do not count."""
    statement = (
        select(
            Result.run_id,
            Delivery.state,
            Delivery.attempts,
            Delivery.last_comment,
            Delivery.commitment_due_at.is_not(None),
        )
        .join(Delivery.result)
        .where(Result.run_id.in_(run_ids), Delivery.state != DeliveryState.SUPERSEDED)
    )
    rows: dict[int, list[tuple[str, int, str | None]]] = {}
    for run_id, state, attempts, comment, awaits_commitment in session.execute(statement):
        stored = state == DeliveryState.SENT and awaits_commitment
        rows.setdefault(run_id, []).append((_STORED if stored else state, attempts, comment))
    return {run_id: _summary(of_run) for run_id, of_run in rows.items()}


def _summary(rows: Sequence[tuple[str, int, str | None]]) -> DeliverySummary:
    """Return the worst state of these deliveries (state, attempts, last comment) and how many arrived."""
    delivered = sum(state in _DELIVERED for state, _, _ in rows)
    for state, _, comment in rows:
        if state in (DeliveryState.REFUSED, DeliveryState.FAILED):
            return DeliverySummary("failed", len(rows), delivered, comment)
    if delivered == len(rows):
        return DeliverySummary("delivered", len(rows), delivered)
    if all(state in (*_DELIVERED, _STORED) for state, _, _ in rows):
        return DeliverySummary(_STORED, len(rows), delivered)
    retried = next((row for row in rows if row[0] == DeliveryState.PENDING and row[1] > 0), None)
    return DeliverySummary("retrying" if retried else "pending", len(rows), delivered, retried[2] if retried else None)
