"""Notes, beside the listener, when nothing could be received, and closes such gaps where that is wished."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.intake import Intake
from worker.care.reconciled import Window
from worker.care.reconciliation import Reconciler
from worker.foundation.worker_name import worker_name
from worker.processes.late_bell import LateBell
from worker.rows.database import SessionFactory, migrated_engine, session_factory
from worker.rows.gaps import next_gap, note_receiving, put_off
from worker.rows.kept_stores import require_kept_stores
from worker.rows.service_lease import release_service, take_service
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

SERVICE = "gap closer"
INTERVAL_SECONDS = 5.0
LEASE_SECONDS = 600.0


@contextmanager
def opened_reconciler(settings: Settings) -> Iterator[Reconciler]:
    """Open what a reconciliation by hand needs, for one command.

    Raises
    ------
    StartError
        The database does not answer or is not migrated.
    """
    require_kept_stores(settings)
    bell = LateBell()  # a broker that stands still would keep every study that is fetched for a minute
    with migrated_engine(settings.effective_database_url) as engine:
        bell.load(settings)
        sessions = session_factory(engine)
        store = InstanceStore(settings.instances_dir, settings.minimum_free_bytes)
        try:
            yield Reconciler(settings, sessions, Intake(settings, sessions, store, bell))
        finally:
            bell.stop()


class GapCloser:
    """Works in threads of the listener while the ``with`` block runs; enter it when the port is open.

    Nothing is noted unless an archive is configured.
    """

    def __init__(self, settings: Settings, sessions: SessionFactory, intake: Intake) -> None:
        self._settings, self._sessions, self._intake = settings, sessions, intake
        self._over = threading.Event()
        self._noting = threading.Thread(target=self._repeat, args=(self._note,), name="reception-note", daemon=True)
        self._closing = threading.Thread(target=self._repeat, args=(self.close_next,), name="gap-closer", daemon=True)

    def __enter__(self) -> Self:
        if archive := self._settings.reconcile:
            self._noting.start()
            if archive.after_downtime:
                self._closing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._noting.is_alive():
            self._noting.join()

    def _repeat(self, step: Callable[[], None]) -> None:
        while not self._over.wait(INTERVAL_SECONDS):
            try:
                step()
            except SQLAlchemyError as error:  # without a database nothing is received either: that is the gap
                logger.warning("gaps cannot be looked after now (%s)", type(error).__name__)

    def _note(self) -> None:
        if self._intake.accepting():
            with self._sessions.begin() as session:
                gap = note_receiving(session, worker_name())
            if gap is not None:
                logger.warning("nothing could be received from %s to %s", gap.begins_at, gap.ends_at)

    def close_next(self) -> None:
        """Close the oldest open gap whose turn it is; one listener at a time."""
        archive = self._settings.reconcile
        with self._sessions.begin() as session:
            gap = next_gap(session)
            if archive is None or gap is None or not take_service(session, SERVICE, worker_name(), LEASE_SECONDS):
                return
            gap_id, begins_at, ends_at = gap.id, gap.begins_at, gap.ends_at
        try:
            window = Window(begins_at - timedelta(minutes=archive.lead_minutes), ends_at)
            found = Reconciler(self._settings, self._sessions, self._intake).reconcile(window, worker_name())
            if not found.complete:
                with self._sessions.begin() as session:
                    put_off(session, gap_id, found.problem or found.summary)
        finally:
            with self._sessions.begin() as session:
                release_service(session, SERVICE, worker_name())
