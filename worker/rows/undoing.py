"""Taking an answer back in the rows: runs under way may not end any more, and the study has no answer again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.rows.study_tables import Study


def stop_runs(session: Session, study: Study, reason_code: ReasonCode, reason: str, now: datetime) -> None:
    """End the study's queued and running runs as superseded. The caller has locked the study's row."""
    session.execute(
        update(Run)
        .where(
            Run.id.in_(
                select(Run.id).where(
                    Run.study_instance_uid == study.study_instance_uid,
                    Run.state.in_((RunState.QUEUED, RunState.RUNNING)),
                )
            )
        )
        .values(
            state=RunState.SUPERSEDED,
            fencing_token=Run.fencing_token + 1,  # whoever works on it now can no longer end it
            lease_until=None,
            finished_at=now,
            reason_code=reason_code,
            reason=reason,
        ),
        execution_options={"synchronize_session": False},
    )


def forget_answer(study: Study, *, keep_set_priority: bool) -> None:
    """Leave the study without a current run and without a priority, as if it had never been analysed.

    Parameters
    ----------
    keep_set_priority
        True leaves a priority that a person has set; what the machine said goes in any case.
    """
    study.current_run = None
    forget_priority(study, keep_set_priority=keep_set_priority)


def forget_priority(study: Study, *, keep_set_priority: bool) -> None:
    """Leave the study without a priority; True keeps one that a person has set."""
    if keep_set_priority and study.priority_set_by is not None:
        return
    study.priority = study.priority_reason = study.flagged_at = None
    study.priority_set_by = study.priority_decided_run_id = None
    study.priority_rank = 0.0
