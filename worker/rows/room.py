"""Runs that wait for room on the disk: they did nothing wrong, so the attempt does not count, and the next comes later.

What a worker died over stays counted: only a run whose worker lives to say that the disk is full gets its start back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.leases import Claim
from worker.rows.outcome import end_attempt, held_run
from worker.rows.run_tables import Run
from worker.rows.site_tables import Event
from worker.rows.states import RunState, StudyState
from worker.settings.config import Settings

WAITS_FOR_ROOM = "waits_for_room"
SHORTEST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


def wait_for_room(session: Session, claim: Claim, reason: str, settings: Settings) -> float:
    """Queue the run again as if this attempt had not been; returns after how many seconds the sweeper rings for it.

    The pause is as long as the run has waited so far, so it doubles, up to `LONGEST_PAUSE_SECONDS`.

    Raises
    ------
    LeaseLost
        The run is no longer held under this claim; roll back.
    """
    study, run, now, _ = held_run(session, claim)
    pause_seconds = _pause_seconds(session, run, now)
    run.attempts -= 1
    run.rung_at = now + timedelta(seconds=pause_seconds - settings.ring_again_seconds)  # then it is due for a ring
    details = {"pause_seconds": pause_seconds}
    end_attempt(session, claim, study, run, StudyState.QUEUED, WAITS_FOR_ROOM, ReasonCode.NO_ROOM, reason, details, now)
    return pause_seconds


def waiting_for_room(session: Session) -> int:
    """Return how many studies wait for room on the disk, those included that just try again."""
    waiting = Run.state.in_((RunState.QUEUED, RunState.RUNNING)) & (Run.reason_code == ReasonCode.NO_ROOM)
    return session.scalar(select(func.count()).where(waiting)) or 0


def _pause_seconds(session: Session, run: Run, now: datetime) -> float:
    since = session.scalar(
        select(func.min(Event.at)).where(
            Event.study_instance_uid == run.study_instance_uid, Event.run_id == run.id, Event.kind == WAITS_FOR_ROOM
        )
    )
    waited_seconds = 0.0 if since is None else (now - since).total_seconds()
    return min(max(waited_seconds, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
