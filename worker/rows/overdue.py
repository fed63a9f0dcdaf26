"""The upper wait limit: a study that stayed unread too long goes to the head of the list, whatever its priority.

Sorting by suspicion lengthens the wait of what was not suspected; this bounds it.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

WAITING_STATES = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.TRIAGING, StudyState.TRIAGED)
BATCH_STUDIES = 200


def lift_overdue(session: Session, settings: Settings) -> list[str]:
    """Set ``lifted_at`` of unread studies received longer ago than ``upper_wait_minutes``; return their UIDs."""
    now = database_now(session)
    overdue = session.scalars(
        select(Study)
        .where(
            Study.read_at.is_(None),
            Study.lifted_at.is_(None),
            Study.historical.is_(False),
            Study.state.in_(WAITING_STATES),
            Study.first_received_at < now - timedelta(minutes=settings.upper_wait_minutes),
        )
        .order_by(Study.first_received_at)
        .limit(BATCH_STUDIES)
        .with_for_update(skip_locked=True)
    ).all()
    for study in overdue:
        study.lifted_at = now
        record(
            session,
            "lifted",
            actor="sweeper",
            study_instance_uid=study.study_instance_uid,
            reason=f"unread for more than {settings.upper_wait_minutes:g} minutes",
            at=now,
        )
    return [study.study_instance_uid for study in overdue]
