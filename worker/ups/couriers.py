"""Brings event reports to subscribers: one thread per configured receiver, so that a silent one holds up no other.

Of several listeners one at a time serves a receiver (a service lease), so that reports arrive in their order. What is
not taken is tried again with doubling waits until ``event_hours`` are over; nothing of it waits in memory only.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_io.foundation.peer import Peer
from dicom_io.ups.events import EventReport, EventType, report_events
from worker.rows.database import SessionFactory, database_now
from worker.rows.service_lease import release_service, take_service
from worker.rows.workitem_tables import WorkitemEvent
from worker.settings.config import Settings
from worker.settings.ups import Ups
from worker.ups.workitems import decoded

logger = logging.getLogger(__name__)

BATCH_EVENTS = 100
LOOK_INTERVAL_SECONDS = 1.0
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0
LEASE_SECONDS = 120.0
"""Longer than the longest silence that is waited out for one answer; a renewal follows each batch."""


class Courier:
    """Tells one receiver what waits for it."""

    def __init__(
        self,
        receiver: Peer,
        settings: Settings,
        ups: Ups,
        sessions: SessionFactory,
        reading: SessionFactory,
        holder: str,
    ) -> None:
        """``holder`` names the listener, not its process: one that starts after a crash goes on where it stopped."""
        self._receiver = receiver
        self._settings = settings
        self._ups = ups
        self._sessions = sessions
        self._reading = reading
        self._holder = holder
        self._service = f"ups:{receiver.ae_title}"

    def run(self, wanted: threading.Event, stopped: threading.Event) -> None:
        """Tell until ``stopped``; ``wanted`` cuts the wait short."""
        while not stopped.is_set():
            try:
                while not stopped.is_set() and self.tell():
                    pass
            except (SQLAlchemyError, OSError) as error:
                logger.warning("cannot look for events to %s (%s)", self._receiver.ae_title, type(error).__name__)
            wanted.wait(LOOK_INTERVAL_SECONDS)
            wanted.clear()
        with self._sessions.begin() as session:
            release_service(session, self._service, self._holder)

    def tell(self) -> bool:
        """Tell one batch; returns whether more may wait that can be told now."""
        events = self._due()
        if not events:
            return False
        reports = [
            EventReport(EventType(event.event_type), event.sop_instance_uid, decoded(event.information))
            for event in events
        ]
        answers = report_events(self._receiver, reports, self._settings.ae_title)
        for event, status in zip(events, answers, strict=False):
            if status is None:
                self._put_off(event)
                return False
            self._settle(event, status)
        return True

    def _due(self) -> list[WorkitemEvent]:
        """Return what waits, if this process is the one to tell it and the receiver is not to be left alone yet."""
        with self._reading() as session:
            if session.scalar(select(WorkitemEvent.id).where(*self._waiting()).limit(1)) is None:
                return []
        with self._sessions.begin() as session:
            if not take_service(session, self._service, self._holder, LEASE_SECONDS):
                return []
            now = database_now(session)
            self._give_up_old(session)
            first = session.scalars(select(WorkitemEvent).where(*self._waiting()).order_by(WorkitemEvent.id)).first()
            if first is None or (first.next_attempt_at is not None and first.next_attempt_at > now):
                return []
            waiting = select(WorkitemEvent).where(*self._waiting()).order_by(WorkitemEvent.id).limit(BATCH_EVENTS)
            return list(session.scalars(waiting))

    def _waiting(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return WorkitemEvent.receiving_ae_title == self._receiver.ae_title, WorkitemEvent.done_at.is_(None)

    def _give_up_old(self, session: Session) -> None:
        now = database_now(session)
        old = WorkitemEvent.created_at < now - timedelta(hours=self._ups.event_hours)
        given_up = session.execute(
            update(WorkitemEvent).where(*self._waiting(), old).values(done_at=now).returning(WorkitemEvent.id)
        ).all()
        if given_up:
            logger.error("%d events to %s given up: it did not take them", len(given_up), self._receiver.ae_title)

    def _settle(self, event: WorkitemEvent, status: int) -> None:
        """Note an answer, whatever it says: the receiver has heard the report."""
        with self._sessions.begin() as session:
            take_service(session, self._service, self._holder, LEASE_SECONDS)
            session.execute(
                update(WorkitemEvent)
                .where(WorkitemEvent.id == event.id)
                .values(done_at=database_now(session), last_status=status, attempts=WorkitemEvent.attempts + 1)
            )
        if status != 0:
            logger.warning("%s answered an event report with 0x%04X", self._receiver.ae_title, status)

    def _put_off(self, event: WorkitemEvent) -> None:
        """Wait, twice as long as last time, before the receiver is tried again; its later events wait behind it."""
        wait_seconds = min(FIRST_RETRY_SECONDS * 2 ** min(event.attempts, 30), LONGEST_RETRY_SECONDS)
        with self._sessions.begin() as session:
            session.execute(
                update(WorkitemEvent)
                .where(WorkitemEvent.id == event.id)
                .values(
                    attempts=WorkitemEvent.attempts + 1,
                    next_attempt_at=database_now(session) + timedelta(seconds=wait_seconds),
                )
            )


class Couriers:
    """The couriers of all configured receivers; started with the listener, stopped before it ends."""

    def __init__(
        self, settings: Settings, ups: Ups, sessions: SessionFactory, reading: SessionFactory, holder: str
    ) -> None:
        receivers = [receiver for peer in ups.peers if (receiver := peer.receiver()) is not None]
        self._stopped = threading.Event()
        self._wanted = {receiver.ae_title: threading.Event() for receiver in receivers}
        self._threads = [
            threading.Thread(
                target=Courier(receiver, settings, ups, sessions, reading, holder).run,
                args=(self._wanted[receiver.ae_title], self._stopped),
                name=f"ups-{receiver.ae_title}",
                daemon=True,
            )
            for receiver in receivers
        ]

    @property
    def ae_titles(self) -> list[str]:
        """Who can be told."""
        return list(self._wanted)

    def start(self) -> None:
        """Let them run."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Say that something may wait."""
        for wanted in self._wanted.values():
            wanted.set()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Let them finish what they tell; what waits is told after the next start."""
        self._stopped.set()
        self.wake()
        for thread in self._threads:
            thread.join(grace_seconds)
