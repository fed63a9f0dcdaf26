"""Who looked at which patient's study, and when: one event per person, study and hour, not one per refresh."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from worker.rows.database import database_now, one_at_a_time
from worker.rows.events import LISTED, VIEWED, record
from worker.rows.leases import locked_study
from worker.rows.site_tables import Event

AGAIN_AFTER = timedelta(hours=1)


def has_looked(session: Session, study_instance_uid: str, reader: str) -> bool:
    """Return whether it is noted already that the reader looks at the study at this time."""
    seen = _recent(session, VIEWED, reader).where(Event.study_instance_uid == study_instance_uid)
    return session.scalar(seen) is not None


def note_look(session: Session, study_instance_uid: str, reader: str) -> None:
    """Note that the reader opened the study's page, its pictures or its data; the caller commits."""
    if locked_study(session, study_instance_uid) is None or has_looked(session, study_instance_uid, reader):
        return  # the lock keeps a page and its pictures, asked for at the same time, from being noted twice
    record(session, VIEWED, actor=reader, study_instance_uid=study_instance_uid)


def note_export(session: Session, study_instance_uid: str, person: str) -> None:
    """Note that a person took images of the study out of the system; the caller commits."""
    record(session, VIEWED, actor=person, study_instance_uid=study_instance_uid, reason="exported")


def has_listed(session: Session, listing: str, reader: str) -> bool:
    """Return whether it is noted already that the reader fetches this listing at this time."""
    return session.scalar(_recent(session, LISTED, reader).where(Event.reason == listing)) is not None


def note_listing(session: Session, listing: str, reader: str) -> None:
    """Note that the reader fetched rows with patients' names; the caller commits."""
    one_at_a_time(session.connection(), f"{LISTED} {listing} {reader}")
    if has_listed(session, listing, reader):
        return  # another request of theirs, answered at the same time
    record(session, LISTED, actor=reader, reason=listing)


def _recent(session: Session, kind: str, reader: str) -> Select[int]:
    since = database_now(session) - AGAIN_AFTER
    return select(Event.id).where(Event.kind == kind, Event.actor == reader, Event.at > since).limit(1)
