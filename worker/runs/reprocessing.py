"""One study of a backfill: the same run as any other, behind all others, and quiet where it fails.

A study that has an answer keeps it unless the new run has one, too; a failure is the run's and the backfill's alone.
"""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.foundation.errors import LeaseLost, RunError
from worker.rows.backfills import settle, settle_or_retry, take_next
from worker.rows.leases import Claim, LeaseKeeper
from worker.rows.outcome import held_run
from worker.rows.run_tables import Run
from worker.rows.states import BackfillState, RunState, StudyState
from worker.runs.shadowing import run_in_shadow
from worker.runs.triage import run_claimed
from worker.runs.workplace import Workplace

logger = logging.getLogger(__name__)


def reprocess_next(workplace: Workplace, backfill_id: int) -> Claim | None:
    """Analyse the next study of the backfill; None when nothing may be taken now.

    The claim returned is over. Results of recent studies wait in the outbox; the sweeper rings for them.
    """
    with workplace.sessions.begin() as session:
        claim = take_next(session, backfill_id, workplace.worker_name, workplace.settings)
        aside = claim is not None and session.get_one(Run, claim.run_id).shadow
    if claim is None:
        return None
    try:
        with LeaseKeeper(workplace.sessions, claim, workplace.settings) as lease:
            if aside:
                run_in_shadow(claim, workplace)
            else:
                run_claimed(claim, lease, workplace)
        with workplace.sessions.begin() as session:
            settle(session, claim.run_id, BackfillState.DONE, _said(session, claim))
    except RunError as error:
        _fail(claim, error, workplace)
    except LeaseLost as error:
        logger.warning("%s", error)
        with workplace.sessions.begin() as session:
            settle_or_retry(session, claim.run_id, "another change of the study came between", workplace.settings)
    return claim


def _said(session: Session, claim: Claim) -> str | None:
    """Return why the run has no answer, where it has none."""
    run = session.get_one(Run, claim.run_id)
    return run.reason_code if run.outcome in (StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE) else None


def _fail(claim: Claim, error: RunError, workplace: Workplace) -> None:
    logger.error("run %d of a backfill failed: %s (%s)", claim.run_number, error, error.reason_code)
    with workplace.sessions.begin() as session:
        try:
            _, run, now, _ = held_run(session, claim)
        except LeaseLost as lost:
            logger.warning("%s", lost)
            return
        run.state, run.finished_at, run.lease_until = RunState.FAILED, now, None
        run.reason_code, run.reason = error.reason_code, str(error)
        session.flush()
        if error.reason_code == ReasonCode.FILE_MISSING:
            settle(session, claim.run_id, BackfillState.MISSING, str(error))
        elif error.retryable:
            settle_or_retry(session, claim.run_id, str(error), workplace.settings)
        else:
            settle(session, claim.run_id, BackfillState.FAILED, str(error))
