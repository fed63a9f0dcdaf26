"""Takes received instances into our keeping: file on disk, rows committed, and only then a success status.

Called from one thread per association. Nothing is decoded here. The order for one instance is: file durable, one
transaction with study, instance and event, answer. A crash between file and row leaves a file without a row, which a
repeated send adopts (same bytes, same name) or the sweeper removes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore, StoreError
from dicom_io.storing.receiving import ReceivedInstance, ReceiveOutcome, ReceiverUnavailable, RefusedInstance
from worker.arrival.completion import queue_if_due
from worker.arrival.first_run import queue_first_run
from worker.arrival.group_commit import GroupCommit
from worker.arrival.ordinary import ACTOR, Arrival
from worker.arrival.queued import QueuedRun
from worker.arrival.reception import Reception
from worker.foundation.failpoints import failpoint
from worker.rows.database import DATABASE_GONE, SessionFactory, database_now
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

REJECT_AFTER_SECONDS = 30.0
"""After this long of nothing but 0xA700, new associations are rejected as transient instead."""

RingTriage = Callable[[str, str], None]
"""Called with (study_instance_uid, queue) after a commit; must not raise when the broker is down."""


class Intake:
    """The receiver behind the Storage SCP.

    Parameters
    ----------
    settings
        Sources, quiet time, free-space limit.
    sessions
        Writing sessions.
    store
        Where instances are kept.
    ring_triage
        Doorbell for queued runs.
    """

    def __init__(
        self, settings: Settings, sessions: SessionFactory, store: InstanceStore, ring_triage: RingTriage
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._ring_triage = ring_triage
        self._reception = Reception(settings)
        self._group_commit = GroupCommit(sessions)
        self._refusing_since: float | None = None

    def accepting(self) -> bool:
        """Say whether instances can be stored; False only when that has failed for a while and still does."""
        since = self._refusing_since
        if since is None or time.monotonic() - since < REJECT_AFTER_SECONDS:
            return True
        try:
            self._store.require_free_space()
            with self._sessions() as session:
                database_now(session)
        except (StoreError, OSError, *DATABASE_GONE):
            return False
        self._refusing_since = None
        return True

    def receive(self, received: ReceivedInstance) -> ReceiveOutcome:
        """Make the instance durable; returns success only after file and rows would survive a power cut.

        Raises
        ------
        StorageFull, StoreError
            The disk refused; becomes 0xA700.
        ReceiverUnavailable
            The database refused; becomes 0xA700.
        """
        try:
            tags = self._reception.read(received)  # first: meanwhile the bytes are hashed and on their way to disk
            stored = self._store.write(received.study_instance_uid, received.sop_instance_uid, received.chunks)
            failpoint("after_file_before_row")
            arrival = Arrival(received, tags, stored)
            self._group_commit.commit(partial(self._reception.enter, arrival=arrival))
        except StoreError:
            self._refusing_since = self._refusing_since or time.monotonic()
            raise
        except DATABASE_GONE as error:
            self._refusing_since = self._refusing_since or time.monotonic()
            raise ReceiverUnavailable(f"the database did not take the instance ({type(error).__name__})") from error
        failpoint("after_row_before_reply")
        self._refusing_since = None
        return ReceiveOutcome()

    def refuse(self, refused: RefusedInstance) -> None:
        """Quarantine what cannot be accepted and note it; a full disk or a lost database only costs this note."""
        try:
            path = self._store.quarantine(refused.chunks, f"{refused.reason_code}: {refused.reason}")
            with self._sessions.begin() as session:
                record(
                    session,
                    "refused",
                    actor=ACTOR,
                    reason=refused.reason,
                    details={
                        "reason_code": refused.reason_code,
                        "calling_ae_title": refused.calling_ae_title,
                        "peer_address": refused.peer_address,
                        "file": path.name,
                    },
                )
        except (StoreError, *DATABASE_GONE) as error:
            logger.error("refused object not kept (%s)", type(error).__name__)

    def association_closed(self, study_instance_uids: set[str], aborted: bool) -> None:
        """Make the studies due at once and ring for their runs; after an abort the quiet time decides instead.

        What fails here is only speed: the sweeper finds the same studies due a quiet time later.
        """
        if aborted:
            return
        try:
            completed = [self._group_commit.commit(partial(self._complete, uid)) for uid in sorted(study_instance_uids)]
        except DATABASE_GONE as error:
            logger.warning("studies not queued at the end of their association (%s)", type(error).__name__)
            return
        self.ring(run for run in completed if run is not None)

    def ring(self, queued: Iterable[QueuedRun]) -> None:
        """Ring for each queued run, after its commit."""
        for run in queued:
            logger.info("study=%s run=%d queued on %s", run.study_instance_uid, run.run_number, run.queue)
            self._ring_triage(run.study_instance_uid, run.queue)

    def _complete(self, study_instance_uid: str, connection: Connection) -> QueuedRun | None:
        queued = queue_first_run(connection, study_instance_uid, self._settings, actor=ACTOR)
        if queued is not None:
            return queued
        with Session(connection, expire_on_commit=False) as session:
            queued = self._complete_unusual(session, study_instance_uid)
            session.flush()
        return queued

    def _complete_unusual(self, session: Session, study_instance_uid: str) -> QueuedRun | None:
        study = locked_study(session, study_instance_uid)
        if study is None or study.due_at is None:
            return None
        now = database_now(session)
        study.due_at = now
        session.flush()
        return queue_if_due(session, study_instance_uid, self._settings, now, actor=ACTOR)
