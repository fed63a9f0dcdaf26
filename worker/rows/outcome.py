"""How a run ends: done with a verdict, or failed; only under the fencing token it was claimed with.

The priority of a study is only ever raised here; lowering it takes a person. A run that analysed nothing leaves none,
but what a person has set: the findings it stood for were seen in what is no image of the study any more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, select, update
from sqlalchemy.orm import Session, aliased

from worker.foundation.errors import LeaseLost
from worker.rows.database import as_utc, clock
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.leases import BACKFILL_QUEUE, Claim, locked_study
from worker.rows.priority import is_news_to_reader, offered_priority, priority_of, rank
from worker.rows.reopening import reopen, reopen_failed
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, Priority, RunState, StudyState
from worker.rows.study_tables import Study
from worker.rows.undoing import forget_priority
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

OUTCOME_UNCHANGED = "unchanged"
"""``run.outcome`` of a run that sent nothing because the study's earlier results still hold."""


@dataclass(frozen=True)
class RunVerdict:
    """What one run has to say about its study."""

    outcome: StudyState
    """TRIAGED, NOT_ANALYSED or OUT_OF_SCOPE."""
    priority: Priority | None = None
    """None unless the outcome is TRIAGED."""
    priority_rank: float = 0.0
    """0..1, larger first within one priority."""
    priority_reason: str | None = None
    levels: Mapping[str, Priority] = field(default_factory=dict)
    """The level that each flagged finding stands for."""
    reason_code: str | None = None
    """Needed unless the outcome is TRIAGED."""
    reason: str | None = None
    images_not_analysed: int | None = None
    """How many images of the study the results say were not analysed; None unless the outcome is TRIAGED."""
    historical: bool = False
    """True never sets ``flagged_at``."""
    model_version: str | None = None
    policy_hash: str | None = None
    timings_seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    """For the audit trail: thresholds, probabilities."""

    def __post_init__(self) -> None:
        if (self.outcome == StudyState.TRIAGED) != (self.priority is not None):
            raise ValueError(
                f"a verdict has a priority if and only if it is triaged, not {self.outcome}/{self.priority}"
            )
        if self.outcome not in (StudyState.TRIAGED, StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE):
            raise ValueError(f"a run cannot end with the study {self.outcome}")
        if self.outcome != StudyState.TRIAGED and not self.reason_code:
            raise ValueError(f"a study that ends {self.outcome} needs a reason code")


class HeldRun(NamedTuple):
    """A run that is held under its claim, and its study: both rows are locked until the end of the transaction."""

    study: Study
    run: Run
    now: datetime
    """By the database's clock, since the study is locked; aware UTC."""
    has_others: bool
    """Whether the study has other runs."""


def finish_run(session: Session, claim: Claim, verdict: RunVerdict, held: HeldRun | None = None) -> Study:
    """End the run as done and make it the study's current one; call it in the transaction that adds its rows.

    Older runs become superseded and what of theirs was not yet sent is not sent any more. The study's priority stays
    when the new one is lower, and goes when there is none.

    Parameters
    ----------
    held
        From `held_run`, where this transaction has asked before.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    study, run, now, has_others = held or held_run(session, claim)
    end_run(run, verdict.outcome, verdict.timings_seconds, now)
    run.priority = verdict.priority
    run.reason_code, run.reason = verdict.reason_code, verdict.reason
    run.model_version, run.policy_hash = verdict.model_version, verdict.policy_hash
    run.images_not_analysed = verdict.images_not_analysed
    record(
        session,
        "finished",
        actor=claim.worker_name,
        study_instance_uid=study.study_instance_uid,
        run_id=run.id,
        from_state=study.state,
        to_state=verdict.outcome,
        reason=verdict.priority_reason or verdict.reason,
        details={
            "priority": verdict.priority,
            "previous_priority": study.priority,
            "model_version": verdict.model_version,
            "policy_hash": verdict.policy_hash,
            **verdict.details,
        },
        at=now,
    )
    if has_others:
        _supersede_older(session, study, run)
    _tell_study(session, study, run, verdict, now)
    return study


def finish_unchanged(session: Session, claim: Claim, timings_seconds: dict[str, float]) -> Study:
    """End a run that found the study's current results still true; the current run and its outbox stay as they are.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    study, run, now, _ = held_run(session, claim)
    end_run(run, OUTCOME_UNCHANGED, timings_seconds, now)
    record(
        session,
        "unchanged",
        actor=claim.worker_name,
        study_instance_uid=study.study_instance_uid,
        run_id=run.id,
        from_state=study.state,
        to_state=StudyState.TRIAGED,
        details={"current_run_id": study.current_run_id},
        at=now,
    )
    study.state = StudyState.TRIAGED
    study.reason_code = study.reason = None  # of an attempt that failed before this one
    return study


def finish_without_answer(session: Session, claim: Claim, verdict: RunVerdict) -> None:
    """End a run that has no answer and leave the study, and the answer that it may have, as they are.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    _, run, now, _ = held_run(session, claim)
    end_run(run, verdict.outcome, verdict.timings_seconds, now)
    run.reason_code, run.reason = verdict.reason_code, verdict.reason
    run.model_version = verdict.model_version


def fail_run(
    session: Session, claim: Claim, reason_code: str, reason: str, *, retryable: bool, settings: Settings
) -> bool:
    """Note that this attempt failed: queued again while attempts are left and trying may help, else failed visibly.

    Returns
    -------
    bool
        True when the run will be tried again; the sweeper rings for it after ``ring_again_seconds``.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    study, run, now, _ = held_run(session, claim)
    again = retryable and run.attempts < settings.maximum_attempts
    run.rung_at = now
    run.finished_at = None if again else now
    if not again:
        study.reason_code, study.reason = reason_code, reason
        reopen_failed(session, study, run, now)
    end_attempt(
        session,
        claim,
        study,
        run,
        StudyState.QUEUED if again else StudyState.FAILED,
        "attempt_failed" if again else "failed",
        reason_code,
        reason,
        {"attempt": run.attempts},
        now,
    )
    return again


def end_attempt(
    session: Session,
    claim: Claim,
    study: Study,
    run: Run,
    state: StudyState,
    kind: str,
    reason_code: str,
    reason: str,
    details: dict[str, Any],
    now: datetime,
) -> None:
    """Let go of a held run without an answer: queued again or failed (`state`), with an event of this `kind`."""
    run.state = RunState.QUEUED if state == StudyState.QUEUED else RunState.FAILED
    run.lease_until = None
    run.reason_code, run.reason = reason_code, reason
    record(
        session,
        kind,
        actor=claim.worker_name,
        study_instance_uid=study.study_instance_uid,
        run_id=run.id,
        from_state=study.state,
        to_state=state,
        reason=reason,
        details={"reason_code": reason_code, **details},
        at=now,
    )
    study.state = state


def held_run(session: Session, claim: Claim) -> HeldRun:
    """Lock the claim's study and then its run, and return them.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    study = locked_study(session, claim.study_instance_uid)
    found = session.execute(_run_to_hold(session.get_bind().dialect.name), {"run": claim.run_id}).one_or_none()
    if study is None or found is None:
        raise LeaseLost(claim.run_id, claim.fencing_token)
    run, now, has_others = found
    if run.state != RunState.RUNNING or run.fencing_token != claim.fencing_token:
        raise LeaseLost(claim.run_id, claim.fencing_token)
    return HeldRun(study, run, as_utc(now), has_others)


@cache
def _run_to_hold(dialect_name: str) -> Select[Run, Any, bool]:
    """Return the query for ``run``, the database's clock and whether its study has other runs; put together once."""
    other = aliased(Run)
    others = select(other.id).where(other.study_instance_uid == Run.study_instance_uid, other.id != Run.id)
    return (
        select(Run, clock(dialect_name), others.exists())
        .where(Run.id == bindparam("run"))
        .with_for_update(of=Run)
        .execution_options(populate_existing=True)
    )


def end_run(run: Run, outcome: str, timings_seconds: dict[str, float], now: datetime) -> None:
    """Mark the run done."""
    run.state = RunState.DONE
    run.lease_until = None
    run.finished_at = now
    run.outcome = outcome
    run.timings_seconds = dict(timings_seconds)


def supersede_pending(
    session: Session, results: Select[int], states: Sequence[DeliveryState] = (DeliveryState.PENDING,)
) -> None:
    """Send nothing more of the results whose row ids the query returns; what takes others back still goes out."""
    session.execute(
        update(Delivery)
        .where(Delivery.result_id.in_(results), Delivery.state.in_(states))
        .where(~takes_back())
        .values(state=DeliveryState.SUPERSEDED, lease_until=None),
        execution_options={"synchronize_session": False},
    )


@cache
def takes_back() -> ColumnElement[bool]:
    """Return the condition on ``Delivery``: it carries a rejection note or a withdrawal of results of the same run.

    Put together once: that takes longer than the database takes to answer it.
    """
    note, taken_result, taken = aliased(Result), aliased(Result), aliased(Delivery)
    return (
        select(note.id)
        .join(taken_result, taken_result.run_id == note.run_id)
        .join(taken, taken.result_id == taken_result.id)
        .where(note.id == Delivery.result_id, taken.rejection_note_uid == note.sop_instance_uid)
        .exists()
    )


def _supersede_older(session: Session, study: Study, run: Run) -> None:
    older = select(Run.id).where(
        Run.study_instance_uid == study.study_instance_uid,
        Run.id != run.id,
        Run.state == RunState.DONE,
        ~Run.shadow,
    )
    unsent = (DeliveryState.PENDING, DeliveryState.FAILED)  # of a file that was lost: it would be a failure for ever
    supersede_pending(session, select(Result.id).where(Result.run_id.in_(older)), unsent)
    session.execute(
        update(Run).where(Run.id.in_(older.scalar_subquery())).values(state=RunState.SUPERSEDED),
        execution_options={"synchronize_session": False},
    )


def _tell_study(session: Session, study: Study, run: Run, verdict: RunVerdict, now: datetime) -> None:
    answered = study.current_run_id is not None
    study.state = verdict.outcome
    study.current_run_id = run.id
    study.reason_code, study.reason = verdict.reason_code, verdict.reason
    if not (answered and run.queue == BACKFILL_QUEUE):  # a study that has grown old meanwhile keeps its place, unread
        study.historical = verdict.historical
    if verdict.priority is None:
        forget_priority(study, keep_set_priority=True)
        return
    offered = offered_priority(session, study, verdict.priority, verdict.levels)
    if run.queue != BACKFILL_QUEUE and not verdict.historical and is_news_to_reader(session, study, offered):
        known, news = study.priority, max(priority_of(study), offered, key=rank)
        actor = run.worker_name or "worker"
        reopen(session, study, str(news), now, actor=actor, run_id=run.id, **{"from": known, "to": news})
    held_rank, new_rank = rank(priority_of(study)), rank(offered)
    if offered is None or new_rank < held_rank or (study.priority_set_by is not None and new_rank == held_rank):
        return  # only ever raised
    if new_rank > held_rank or verdict.priority_rank >= study.priority_rank:
        study.priority_rank = verdict.priority_rank
        study.priority_reason = verdict.priority_reason
    study.priority, study.priority_set_by, study.priority_decided_run_id = offered, None, None
    if offered != Priority.ROUTINE and not verdict.historical and study.flagged_at is None:
        study.flagged_at = now
