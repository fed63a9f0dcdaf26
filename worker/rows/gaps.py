"""Times in which nothing could be received: noted by the listener, closed when the archive was asked about them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.events import record
from worker.rows.site_tables import ReceptionGap, ServiceLease

RECEIVING = "receiving"
PATIENCE = timedelta(seconds=60)
"""A listener that was gone for less loses nothing: senders try again."""
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(hours=1)


def note_receiving(session: Session, listener: str) -> ReceptionGap | None:
    """Write down that images can be received now; returns the gap since that was last so, where there is one.

    Any listener's word counts: while one of several receives there is no gap.
    """
    now = database_now(session)
    before = session.get(ServiceLease, RECEIVING, with_for_update=True)
    until = before.lease_until if before else now
    session.merge(ServiceLease(name=RECEIVING, holder=listener, lease_until=now + PATIENCE))
    if until >= now:
        return None
    gap = ReceptionGap(begins_at=until - PATIENCE, ends_at=now, attempts=0)
    session.add(gap)
    record(
        session,
        "reception_gap",
        actor=listener,
        reason="nothing could be received",
        details={"begins_at": gap.begins_at.isoformat(), "ends_at": now.isoformat()},
        at=now,
    )
    return gap


def open_gaps(session: Session) -> list[ReceptionGap]:
    """Return the gaps that nobody has closed, the oldest first."""
    return list(session.scalars(select(ReceptionGap).where(ReceptionGap.closed_at.is_(None)).order_by(ReceptionGap.id)))


def next_gap(session: Session) -> ReceptionGap | None:
    """Return the oldest open gap whose turn it is."""
    due = or_(ReceptionGap.next_attempt_at.is_(None), ReceptionGap.next_attempt_at <= database_now(session))
    query = select(ReceptionGap).where(ReceptionGap.closed_at.is_(None), due).order_by(ReceptionGap.id).limit(1)
    return session.scalar(query)


def close_gaps(session: Session, since: datetime, until: datetime) -> int:
    """Close the gaps that lie in this time, which was looked at completely; returns how many."""
    now = database_now(session)
    covered = [gap for gap in open_gaps(session) if since <= gap.begins_at and gap.ends_at <= until]
    for gap in covered:
        gap.closed_at, gap.reason, gap.next_attempt_at = now, None, None
    return len(covered)


def put_off(session: Session, gap_id: int, reason: str) -> None:
    """Leave the gap open and try again later, ever more patiently."""
    gap = session.get_one(ReceptionGap, gap_id)
    gap.attempts, gap.reason = gap.attempts + 1, reason
    gap.next_attempt_at = database_now(session) + min(FIRST_RETRY * 2 ** min(gap.attempts - 1, 10), LONGEST_RETRY)
