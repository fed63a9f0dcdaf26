"""The append-only audit trail: every change of state is one ``event`` row in the same transaction as the change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.site_tables import Event

VIEWED = "viewed"
"""A person looked at a study: its page, its pictures, its data, or an export of it."""
READ = "read"
"""A person, or a system in their name, marked a study read; the details keep the priority it had then."""
LISTED = "listed"
"""A person or a program fetched a listing with patients in it."""


def record(
    session: Session,
    kind: str,
    *,
    actor: str,
    study_instance_uid: str | None = None,
    run_id: int | None = None,
    from_state: str | None = None,
    to_state: str | None = None,
    reason: str | None = None,
    details: dict[str, Any] | None = None,
    at: datetime | None = None,
) -> Event:
    """Add one event to the session; it becomes visible with the caller's commit.

    Parameters
    ----------
    kind
        What happened, at most 32 characters: ``received``, ``new_version``, ``queued``, ``claimed``, ``held`` ...
    actor
        Who did it: a process (``listener``, ``sweeper``, a worker's name) or a person's login.
    from_state, to_state
        The change of ``study.state``, where there is one.
    reason
        Sentence for people; never patient data.
    details
        JSON facts such as UIDs, counts, thresholds, the policy hash.
    at
        Aware UTC time; None asks the database.
    """
    entry = Event(
        at=at or database_now(session),
        study_instance_uid=study_instance_uid,
        run_id=run_id,
        actor=actor,
        kind=kind,
        from_state=from_state,
        to_state=to_state,
        reason=reason,
        details=details or {},
    )
    session.add(entry)
    return entry


def record_all(session: Session, events: Sequence[dict[str, Any]]) -> None:
    """Insert several events in one statement, each given by the same columns of ``event``."""
    if events:
        session.execute(insert(Event), events)
