"""The sweeper: finds what nobody rang for and rings again. Exactly one is active, a second one waits for its lease.

Each turn, every step in a transaction of its own, and whether or not those before it went well:

1. due studies get their run (`worker.arrival.completion`); of held ones, those whose images agree by now,
2. runs of backfills whose worker died are ended; queued and abandoned runs whose message seems lost are rung for
   again; used-up ones end as ``failed(poison)``,
3. rejection notes that archives sent are done, in their order,
4. deliveries that are due are rung for,
5. HL7 messages that came in are applied, in their order,
6. unread studies past the upper wait limit are lifted to the head of the list,
7. where a UPS worklist is configured, workitems follow their studies,
8. each minute, where that is configured: images that were kept long enough are deleted (`worker.care.retention`),
9. now and then: files that a killed process left behind are removed (`worker.rows.orphans`), old messages and
   processes that died forgotten.

Losing a sweeper loses nothing: whatever is due stays due.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.completion import due_studies, queue_if_due
from worker.care.received_notes import apply_note, notes_to_apply
from worker.care.retention import expired_studies, mark_deleted
from worker.care.settled import look_again
from worker.foundation.failpoints import failpoint
from worker.foundation.worker_name import worker_name
from worker.hl7.inbound import apply_message, forget_old_messages, give_up_message, messages_to_apply
from worker.processes.failed_steps import FailedSteps
from worker.processes.late_bell import LateBell
from worker.processes.ringing import Bells, ring_deliveries, ring_runs
from worker.processes.set_back import PARK_SECONDS, ClockWatch, mend_waits
from worker.queue.broker import remove_leftovers
from worker.queue.celery_app import message_folder
from worker.rows.backfills import end_abandoned_runs
from worker.rows.database import SessionFactory, database_now, migrated_engine, session_factory
from worker.rows.heartbeat import Heartbeat, forget_dead_processes
from worker.rows.kept_stores import require_kept_stores
from worker.rows.leases import locked_study
from worker.rows.orphans import Orphans, remove_deleted
from worker.rows.overdue import lift_overdue
from worker.rows.run_tables import Result
from worker.rows.service_lease import release_service, take_service
from worker.rows.study_tables import Instance
from worker.settings.config import Settings
from worker.settings.ups import Ups
from worker.ups.retention import forget_closed_workitems
from worker.ups.scheduling import schedule, studies_to_schedule
from worker.ups.workitems import ChangedMeanwhile

logger = logging.getLogger(__name__)

SERVICE = "sweeper"
CLEANING_INTERVAL_SECONDS = 3600.0
RETENTION_INTERVAL_SECONDS = 60.0


class Sweeper:
    """One sweeping process; `sweep` is one turn, `run` the loop."""

    def __init__(
        self, settings: Settings, sessions: SessionFactory, store: InstanceStore, bells: Bells, holder: str
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._bells = bells
        self._holder = holder
        self._active = False
        self._attempt = FailedSteps(SERVICE).attempt
        self._results = InstanceStore(settings.results_dir)
        self._orphans = Orphans(store, sessions, Instance, self._keep_service)
        self._orphaned_results = Orphans(self._results, sessions, Result, self._keep_service)
        self._clock = ClockWatch()
        self._doubts_clock = True
        """Whether the database's clock may have been set back since waits were looked at: nobody watched before."""
        self._clean_at = time.monotonic()
        self._delete_at = time.monotonic()

    def run(self, stopped: threading.Event) -> None:
        """Sweep until ``stopped`` is set; a turn that fails is logged and the next one tries again."""
        while not stopped.is_set():
            self._attempt("a turn", self.take_turn)
            stopped.wait(self._settings.sweep_interval_seconds)
        if self._active:
            with self._sessions.begin() as session:
                release_service(session, SERVICE, self._holder)

    def take_turn(self) -> bool:
        """Sweep once if this sweeper is, or can become, the active one; returns whether it is."""
        with self._sessions.begin() as session:
            active = take_service(session, SERVICE, self._holder, self._settings.lease_seconds)
            self._doubts_clock |= self._clock.was_set_back(database_now(session))
        if active != self._active:
            logger.info("sweeper %s %s", self._holder, "is active" if active else "waits for the active one")
        self._active = active
        if active:
            if self._doubts_clock:
                self._attempt("mending waits", self._mend_waits)
            self.sweep()
        return active

    def _mend_waits(self) -> None:
        if mended := mend_waits(self._sessions, self._settings, SERVICE):
            logger.warning("the clock of the database was set back; %d waits and leases are put right", mended)
        self._doubts_clock = False

    def sweep(self) -> None:
        """Do every step once; one that fails is logged, and the next one has its turn all the same."""
        for what, step in self._steps():
            if not self._attempt(what, step):
                self._keep_service()  # it may have waited long; where not even this goes, the turn is over

    def _steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        rung = self._sessions, self._settings, self._bells
        yield "queueing due studies", self._queue_due_studies
        yield "ending abandoned backfills", partial(self._in_transaction, end_abandoned_runs)
        yield "ringing for runs", partial(ring_runs, *rung)
        yield "applying rejection notes", self._apply_notes
        yield "ringing for deliveries", partial(ring_deliveries, *rung)
        yield "applying HL7 messages", self._apply_messages
        yield "lifting overdue studies", partial(self._in_transaction, lift_overdue)
        if self._settings.ups is not None:
            yield "scheduling workitems", partial(self._schedule_workitems, self._settings.ups)
        if self._settings.retention.deletes and time.monotonic() >= self._delete_at:
            self._delete_at = time.monotonic() + RETENTION_INTERVAL_SECONDS
            yield "deleting images", self._delete_images
        if time.monotonic() >= self._clean_at:
            self._clean_at = time.monotonic() + CLEANING_INTERVAL_SECONDS
            yield "forgetting old rows", self._forget_old_rows
            yield "cleaning up images", partial(self._clean_up, self._store, self._orphans)
            yield "cleaning up results", partial(self._clean_up, self._results, self._orphaned_results)
            yield "cleaning up messages", self._clean_up_messages

    def _in_transaction(self, step: Callable[[Session, Settings], object]) -> None:
        with self._sessions.begin() as session:
            step(session, self._settings)

    def _queue_due_studies(self) -> None:
        with self._sessions() as session:
            due = due_studies(session, database_now(session))
        for study_instance_uid in due:
            if not self._attempt(f"queueing study={study_instance_uid}", partial(self._queue, study_instance_uid)):
                self._attempt(f"parking study={study_instance_uid}", partial(self._park, study_instance_uid))

    def _queue(self, study_instance_uid: str) -> None:
        with self._sessions.begin() as session:
            now = database_now(session)
            run = queue_if_due(session, study_instance_uid, self._settings, now, actor=SERVICE)
        if run is None:
            run = look_again(study_instance_uid, self._sessions, self._store, self._settings, actor=SERVICE)
        if run is not None:
            logger.info("study=%s run=%d queued on %s", study_instance_uid, run.run_number, run.queue)
            self._bells.ring_triage(study_instance_uid, run.queue)

    def _park(self, study_instance_uid: str) -> None:
        with self._sessions.begin() as session:
            study = locked_study(session, study_instance_uid)
            if study is not None and study.due_at is not None:
                study.due_at = database_now(session) + timedelta(seconds=PARK_SECONDS)

    def _apply_notes(self) -> None:
        with self._sessions.begin() as session:
            due = notes_to_apply(session)
        for instance_id in due:
            self._attempt(f"applying the note of instance {instance_id}", partial(self._apply_note, instance_id))

    def _apply_note(self, instance_id: int) -> None:
        with self._sessions.begin() as session:
            queued = apply_note(session, instance_id, self._settings)
        for run in queued:
            self._bells.ring_triage(run.study_instance_uid, run.queue)

    def _schedule_workitems(self, ups: Ups) -> None:
        with self._sessions() as session:
            study_instance_uids = studies_to_schedule(session, ups)
        for study_instance_uid in study_instance_uids:
            step = partial(self._schedule_workitem, study_instance_uid, ups)
            self._attempt(f"scheduling study={study_instance_uid}", step)

    def _schedule_workitem(self, study_instance_uid: str, ups: Ups) -> None:
        try:
            with self._sessions.begin() as session:
                schedule(session, study_instance_uid, self._store, ups, self._settings)
        except ChangedMeanwhile:
            logger.info(
                "study=%s: a peer changed its workitem just now; the next sweep looks again", study_instance_uid
            )

    def _apply_messages(self) -> None:
        with self._sessions.begin() as session:
            due = messages_to_apply(session)
        for message_id in due:
            if not self._attempt(f"applying message {message_id}", partial(self._apply_message, message_id)):
                self._attempt(f"giving up message {message_id}", partial(self._give_up_message, message_id))

    def _apply_message(self, message_id: int) -> None:
        with self._sessions.begin() as session:
            apply_message(session, message_id, self._settings, self._store)

    def _give_up_message(self, message_id: int) -> None:
        with self._sessions.begin() as session:
            give_up_message(session, message_id, self._settings)

    def _delete_images(self) -> None:
        with self._sessions() as session:
            expired = expired_studies(session, self._settings.retention)
        for study_instance_uid in expired:
            step = partial(self._delete_images_of, study_instance_uid)
            self._attempt(f"deleting the images of study={study_instance_uid}", step)
            self._keep_service()

    def _delete_images_of(self, study_instance_uid: str) -> None:
        with self._sessions.begin() as session:
            paths = mark_deleted(session, study_instance_uid, self._settings.retention)
        failpoint("after_deleted_rows_before_files")
        if removed := remove_deleted(self._store, self._sessions, paths):
            logger.info("study=%s %d stored objects deleted by retention", study_instance_uid, removed)

    def _forget_old_rows(self) -> None:
        with self._sessions.begin() as session:
            forget_old_messages(session, self._settings)
            forget_dead_processes(session)
            if self._settings.ups is not None:
                forget_closed_workitems(session, self._settings.ups)

    def _clean_up(self, store: InstanceStore, orphans: Orphans) -> None:
        unfinished, without_row = store.remove_partial_files(), orphans.remove()
        if unfinished or without_row:
            logger.warning("removed %d partial files and %d files without a row", unfinished, without_row)

    def _clean_up_messages(self) -> None:
        messages = message_folder(self._settings)
        if messages is not None and (unfinished := remove_leftovers(messages)):
            logger.warning("removed %d messages that were left half written or half read", unfinished)

    def _keep_service(self) -> None:
        with self._sessions.begin() as session:
            take_service(session, SERVICE, self._holder, self._settings.lease_seconds)


def run_sweeper(settings: Settings) -> int:
    """Sweep until SIGTERM or SIGINT; return the exit status, 0 after a clean stop.

    Raises
    ------
    StartError
        The database is not migrated or does not answer, or the disk of what was received is not mounted.
    """
    require_kept_stores(settings)
    bell = LateBell()
    with migrated_engine(settings.effective_database_url) as engine:
        bell.load(settings)
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        store = InstanceStore(settings.instances_dir)
        bells = Bells(bell, bell.ring_delivery, bell.messages_waiting)
        sessions = session_factory(engine)
        with Heartbeat(sessions, worker_name(), SERVICE):
            Sweeper(settings, sessions, store, bells, worker_name()).run(stopped)
        bell.stop()
    return 0
