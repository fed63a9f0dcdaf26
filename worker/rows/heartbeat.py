"""A sign of life of every process, so that an administrator sees which run, since when, on what, and which fell silent.

Nothing depends on it: who may work on what is decided by leases alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_io.foundation.product import VERSION
from worker.rows.database import SessionFactory, database_now
from worker.rows.site_tables import ProcessHeartbeat

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 15.0
SILENT_AFTER = timedelta(seconds=60)
"""A process not seen for this long has died, hangs, or cannot reach the database."""
FORGET_AFTER = timedelta(days=1)


class Heartbeat:
    """Writes this process's sign of life from a thread while the ``with`` block runs; a clean end takes it back."""

    def __init__(self, sessions: SessionFactory, name: str, role: str, device: Callable[[], str] = str) -> None:
        self._sessions = sessions
        self._row = {"name": name, "role": role, "version": VERSION}
        self._device = device  # asked each time: a GPU may fail meanwhile
        self._started_at: datetime | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_over, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; the first sign is given at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, and say that this process is gone on purpose."""
        self._over.set()
        self._thread.join()
        self._attempt(self._withdraw)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _beat_until_over(self) -> None:
        self._attempt(self._beat)
        while not self._over.wait(INTERVAL_SECONDS):
            self._attempt(self._beat)

    def _beat(self, session: Session) -> None:
        now = database_now(session)
        self._started_at = self._started_at or now
        session.merge(ProcessHeartbeat(**self._row, device=self._device(), started_at=self._started_at, seen_at=now))

    def _withdraw(self, session: Session) -> None:
        session.execute(delete(ProcessHeartbeat).where(ProcessHeartbeat.name == self._row["name"]))

    def _attempt(self, step: Callable[[Session], None]) -> None:
        try:
            with self._sessions.begin() as session:
                step(session)
        except SQLAlchemyError as error:  # a database that is away is seen by whoever works with it
            logger.debug("no heartbeat written (%s)", type(error).__name__)


def forget_dead_processes(session: Session) -> None:
    """Remove what was not seen for a day."""
    session.execute(delete(ProcessHeartbeat).where(ProcessHeartbeat.seen_at < database_now(session) - FORGET_AFTER))
