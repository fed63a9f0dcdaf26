"""Exactly one process holds a named service at a time; another takes over when the lease lapses."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_, update
from sqlalchemy.orm import Session

from worker.rows.database import database_now, inserting
from worker.rows.site_tables import ServiceLease


def take_service(session: Session, name: str, holder: str, lease_seconds: float) -> bool:
    """Take or renew the service for ``lease_seconds``; False when another holder's lease runs.

    A lease that runs much longer than one can was written before the database's clock was set back, and counts no more.
    """
    now, lease = database_now(session), timedelta(seconds=lease_seconds)
    until = now + lease
    # not just later than ours: another may have asked for the time after us and taken it before us
    lapsed = or_(ServiceLease.lease_until < now, ServiceLease.lease_until > until + lease)
    taken = session.execute(
        update(ServiceLease)
        .where(ServiceLease.name == name, or_(ServiceLease.holder == holder, lapsed))
        .values(holder=holder, lease_until=until)
        .returning(ServiceLease.name),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    if taken is not None:
        return True
    first = session.execute(
        inserting(session, ServiceLease)
        .values(name=name, holder=holder, lease_until=until)
        .on_conflict_do_nothing()
        .returning(ServiceLease.name)
    ).one_or_none()
    return first is not None


def release_service(session: Session, name: str, holder: str) -> None:
    """Let go of the service, if it is held by ``holder``, so that a waiting process need not wait out the lease."""
    session.execute(
        delete(ServiceLease).where(ServiceLease.name == name, ServiceLease.holder == holder),
        execution_options={"synchronize_session": False},
    )
