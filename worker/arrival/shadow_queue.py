"""Second analyses in the shadow: one waits for every study that was analysed, where the site compares two bundles."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.run_tables import Run
from worker.rows.states import RunState, RunTrigger
from worker.rows.study_tables import Study
from worker.settings.config import Settings

SHADOW_QUEUE = "shadow"


def queue_shadow(session: Session, study: Study, analysed_by: str, settings: Settings) -> None:
    """Have the shadow bundle analyse the study, too, in the place of what waits or runs; the study's row is locked.

    Nothing is done where no shadow is configured, or where it is the bundle that has just analysed the study.
    """
    if settings.shadow_bundle in ("", analysed_by):
        return
    now = database_now(session)
    own = Run.study_instance_uid == study.study_instance_uid
    waiting = select(Run).where(own, Run.shadow, Run.state.in_((RunState.QUEUED, RunState.RUNNING)))
    for run in session.scalars(waiting):
        run.state, run.finished_at, run.lease_until = RunState.SUPERSEDED, now, None
        run.fencing_token += 1
    session.flush()
    highest = session.scalar(select(func.max(Run.run_number)).where(own)) or 0
    session.add(
        Run(
            study_instance_uid=study.study_instance_uid,
            run_number=highest + 1,
            bundle=settings.shadow_bundle,
            trigger=RunTrigger.SHADOW,
            queue=SHADOW_QUEUE,
            shadow=True,
            queued_at=now,
            timings_seconds={},
        )
    )
