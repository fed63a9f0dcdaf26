"""A read mark holds for what its reader could know: what they could not makes the study unread again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from worker.rows.events import record
from worker.rows.run_tables import Run
from worker.rows.study_tables import Study


def reopen(
    session: Session, study: Study, news: str, now: datetime, *, actor: str, run_id: int | None, **details: Any
) -> None:
    """Take back the read mark of a study, where it has one; the event keeps it.

    Parameters
    ----------
    news
        What its reader could not know, as the beginning of a sentence; never patient data.
    details
        More for the audit trail.
    """
    if study.read_at is None:
        return
    record(
        session,
        "reopened",
        actor=actor,
        study_instance_uid=study.study_instance_uid,
        run_id=run_id,
        reason=f"{news} is news to {study.read_by}, who marked it read",
        details={"read_by": study.read_by, "read_at": study.read_at.isoformat(), **details},
        at=now,
    )
    study.read_at = study.read_by = None


def reopen_failed(session: Session, study: Study, run: Run, now: datetime) -> None:
    """Take back the read mark of a study whose run was given up over an image that came after the mark.

    What failed over images that its reader had before them was read by eye.
    """
    if study.read_at is None or study.historical or study.last_received_at <= study.read_at:
        return
    reopen(session, study, "a failed analysis of a later image", now, actor=run.worker_name or "worker", run_id=run.id)
