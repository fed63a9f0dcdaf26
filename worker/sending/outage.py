"""Destinations that could not be reached: one study at a time is tried there, everything else waits for its answer.

A dead archive thus costs one attempt every few seconds, however much waits for it, and holds up no sending process;
when it answers, all that waits is due at once. A destination that answers, whatever it says, is not away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from worker.rows.database import database_now, inserting
from worker.rows.delivery_tables import Delivery, DestinationOutage
from worker.rows.events import record
from worker.rows.states import DeliveryState
from worker.sending.outbox import retry_delay
from worker.settings.config import Settings

logger = logging.getLogger(__name__)


def is_reachable() -> ColumnElement[bool]:
    """Return the condition for a delivery row whose destination is not known to be away."""
    return Delivery.destination.not_in(select(DestinationOutage.destination))


def destinations_away(session: Session) -> set[str]:
    """Return the names of destinations that are known to be away."""
    return set(session.scalars(select(DestinationOutage.destination)))


def destinations_to_try(session: Session) -> list[str]:
    """Return the names of destinations that are away and may be tried again now."""
    due = DestinationOutage.next_attempt_at <= database_now(session)
    return list(session.scalars(select(DestinationOutage.destination).where(due)))


def may_try(session: Session, destination: str, settings: Settings) -> bool:
    """Return whether something may be sent there now; where the destination is away that claims its next attempt.

    Nobody else tries before that attempt has ended or must have: one to a silent peer lasts a while, and two would
    keep both sending processes of a small site from everybody else.
    """
    away = session.get(DestinationOutage, destination, populate_existing=True)
    if away is None:
        return True
    now = database_now(session)
    ended = now + timedelta(seconds=settings.acse_timeout_seconds)
    claimed = session.execute(
        update(DestinationOutage)
        .where(DestinationOutage.destination == destination, DestinationOutage.next_attempt_at <= now)
        .values(
            attempts=away.attempts + 1,
            next_attempt_at=ended + retry_delay(away.attempts + 1, settings, unreachable=True),
        )
        .returning(DestinationOutage.destination),
        execution_options={"synchronize_session": False},
    )
    return claimed.one_or_none() is not None


def note_away(session: Session, destination: str, actor: str, settings: Settings) -> None:
    """Note that nobody was there, and when it is tried again; the first to find out says so in the audit trail."""
    now = database_now(session)
    known = session.get(DestinationOutage, destination, populate_existing=True, with_for_update=True)
    if known is not None:
        known.next_attempt_at = now + retry_delay(known.attempts, settings, unreachable=True)
        return
    first = inserting(session, DestinationOutage).values(
        destination=destination,
        since=now,
        attempts=1,
        next_attempt_at=now + retry_delay(1, settings, unreachable=True),
    )
    if session.scalar(first.on_conflict_do_nothing().returning(DestinationOutage.destination)) is None:
        return
    logger.warning("destination %s cannot be reached; what is for it waits", destination)
    reason = f"{destination} cannot be reached; what is for it waits, and it is tried again every few seconds"
    record(session, "destination_away", actor=actor, reason=reason, details={"destination": destination}, at=now)


def note_back(session: Session, destination: str, actor: str) -> None:
    """Note that the destination answered; what waited for that is rung for by the next sweep."""
    since = session.scalar(
        delete(DestinationOutage)
        .where(DestinationOutage.destination == destination)
        .returning(DestinationOutage.since)
        .execution_options(synchronize_session=False)
    )
    if since is None:
        return
    now = database_now(session)
    waiting = (Delivery.destination == destination) & (Delivery.state == DeliveryState.PENDING)
    session.execute(
        update(Delivery).where(waiting).values(rung_at=None), execution_options={"synchronize_session": False}
    )
    seconds = round((now - since).total_seconds())
    logger.info("destination %s answers again after %d s", destination, seconds)
    details = {"destination": destination, "away_seconds": seconds}
    record(session, "destination_back", actor=actor, reason=f"{destination} answers again", details=details, at=now)


def forget(session: Session, destination: str) -> None:
    """Drop what is known of a destination that is not configured any more, so that nothing waits for it."""
    session.execute(
        delete(DestinationOutage)
        .where(DestinationOutage.destination == destination)
        .execution_options(synchronize_session=False)
    )


def try_at_once(session: Session, destinations: Iterable[str]) -> None:
    """Let these destinations be tried now, away or not: a person asks for it."""
    session.execute(
        update(DestinationOutage)
        .where(DestinationOutage.destination.in_(list(destinations)))
        .values(next_attempt_at=database_now(session)),
        execution_options={"synchronize_session": False},
    )
