"""Workitems that are over, and event reports that were told: kept for a while, then removed (PS3.4 CC.2.1.3)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.study_tables import Study
from worker.rows.workitem_tables import Workitem, WorkitemEvent, WorkitemSubscription
from worker.settings.ups import Ups

TOLD_EVENTS_DAYS = 7.0
BATCH_WORKITEMS = 500


def forget_closed_workitems(session: Session, ups: Ups) -> int:
    """Remove workitems closed longer than ``keep_days`` ago that no lock holds, and old events; return how many.

    The newest workitem of a study stays while the sweeper still compares the study with it: it would come again.
    """
    now = database_now(session)
    locked = select(WorkitemSubscription.sop_instance_uid).where(WorkitemSubscription.deletion_lock)
    oldest = now - timedelta(days=ups.keep_days)
    forgotten = session.scalars(
        select(Workitem.sop_instance_uid)
        .outerjoin(Study, Study.study_instance_uid == Workitem.study_instance_uid)
        .where(Workitem.closed_at < oldest)
        .where(Study.study_instance_uid.is_(None) | Workitem.current.is_(False) | (Study.last_received_at < oldest))
        .where(Workitem.sop_instance_uid.not_in(locked) | (Workitem.closed_at < now - timedelta(days=ups.lock_days)))
        .limit(BATCH_WORKITEMS)
    ).all()
    session.execute(delete(WorkitemSubscription).where(WorkitemSubscription.sop_instance_uid.in_(forgotten)))
    session.execute(delete(Workitem).where(Workitem.sop_instance_uid.in_(forgotten)))
    old = WorkitemEvent.created_at < now - timedelta(days=TOLD_EVENTS_DAYS)
    session.execute(delete(WorkitemEvent).where(old))
    return len(forgotten)
