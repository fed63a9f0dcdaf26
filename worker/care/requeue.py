"""Requeue without a task queue at hand: the sweeper rings for what a page has set in motion."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore
from worker.care.administration import Requeued, requeue_study
from worker.care.rejudgement import rejudge
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.settings.config import Settings


def requeue_quietly(
    session: Session, store: InstanceStore, settings: Settings, study_instance_uid: str, actor: str
) -> Requeued:
    """Judge the study's images by the present rules and queue a new run, which the next sweep rings for.

    Raises
    ------
    UnknownStudy
        The study was never received.
    RunRefused
        The study cannot be analysed now: a run is under way, its identity is in doubt.
    """
    rejudge(session, store, settings, study_instance_uid, actor)
    requeued = requeue_study(session, study_instance_uid, settings, actor)
    leave_to_sweeper(session, study_instance_uid, requeued.run_number)
    return requeued


def leave_to_sweeper(session: Session, study_instance_uid: str, run_number: int) -> None:
    """Have the next sweep ring for a queued run."""
    session.execute(
        update(Run)
        .where(Run.study_instance_uid == study_instance_uid, Run.run_number == run_number)
        .where(Run.state == RunState.QUEUED, ~Run.shadow)
        .values(rung_at=None),
        execution_options={"synchronize_session": False},
    )
