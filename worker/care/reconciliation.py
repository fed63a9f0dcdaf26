"""Closing gaps: asks the archive what it has of a time, and fetches what was never received.

Twice is no more than once: an object that we have, in whatever version, is not asked for, and one that arrives again is
the same bytes under the same name. Our own results are known by their UIDs and left where they are. What retention has
deleted, or the disk has lost, is not fetched again, unless a person asks for its study.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset
from sqlalchemy import func, select

from dicom_io.associations.client import ScuSettings
from dicom_io.data_sets.header import text
from dicom_io.foundation.uids import is_valid_uid
from dicom_io.services.query import ArchiveError, ArchiveTooSlow, Query, querying
from dicom_io.services.retrieve import Wanted, get, move
from dicom_io.storing.instance_store import InstanceStore
from dicom_io.storing.receiving import Receiver
from worker.arrival.analysable import is_analysable
from worker.care.forgetting import forgotten_among
from worker.care.reconciled import Elsewhere, Failure, Reconciliation, Window, details
from worker.foundation.errors import WorkerError
from worker.foundation.wall_clock import earliest, latest
from worker.rows.batches import in_batches
from worker.rows.database import SessionFactory
from worker.rows.events import record
from worker.rows.gaps import close_gaps
from worker.rows.run_tables import Result
from worker.rows.study_tables import Instance
from worker.settings.config import Settings
from worker.settings.reconcile import Reconcile

logger = logging.getLogger(__name__)

KEY_OBJECTS = "KO"
FAST_CLOCKS = timedelta(hours=1)
"""Studies that began so much after the window count as well: a device's clock may run ahead of ours."""

MOST_UNANSWERED = 10
"""Studies of one reconciliation; then the archive is not asked on, for each may take its whole time."""


class NothingToAsk(WorkerError):
    """No archive is configured."""

    def __init__(self) -> None:
        super().__init__("no archive is configured to ask for missing studies; add a [reconcile] table")


@dataclass(frozen=True)
class Reconciler:
    """Asks and fetches for one site."""

    settings: Settings
    sessions: SessionFactory
    receiver: Receiver
    """Takes what comes by C-GET; what comes by C-MOVE reaches the listener."""

    @property
    def archive(self) -> Reconcile:
        """The archive to ask.

        Raises
        ------
        NothingToAsk
        """
        if self.settings.reconcile is None:
            raise NothingToAsk
        return self.settings.reconcile

    def reconcile(self, window: Window, actor: str, *, fetch: bool = True, give_up: bool = False) -> Reconciliation:
        """Ask for what began in the window and fetch what is missing; written to the audit trail.

        Parameters
        ----------
        fetch
            False only looks.
        give_up
            True closes the gaps of this time even where something is missing still.

        Raises
        ------
        NothingToAsk
        """
        found = Reconciliation(window.since, window.until, self.archive.ae_title)
        try:
            self._look(window, found)
            if fetch and found.missing:
                self._fetch(found)
        except ArchiveError as error:
            found.problem = str(error)
        if fetch:
            self._record(found, actor, give_up)
        return found

    def refetch(self, study_instance_uid: str, actor: str) -> Reconciliation:
        """Fetch what the archive has of one study and is not here, what retention deleted or the disk lost included.

        Raises
        ------
        NothingToAsk
        """
        now = datetime.now(UTC)
        found = Reconciliation(now, now, self.archive.ae_title, deleted_too=True)
        try:
            with self._querying() as query:
                held = list(self._objects(query, study_instance_uid))
            found.studies, found.objects = int(bool(held)), len(held)
            found.missing = self._not_here(held, deleted_too=True)
            found.elsewhere = self._elsewhere(held)
            if found.missing:
                self._fetch(found)
            found.problem = self._still_deleted(study_instance_uid)
        except ArchiveError as error:
            found.problem = str(error)
        self._record(found, actor, give_up=False)
        return found

    def _still_deleted(self, study_instance_uid: str) -> str:
        gone = select(func.count()).where(is_analysable(study_instance_uid), Instance.deleted_at.is_not(None))
        with self.sessions() as session:
            count = session.scalar(gone)
        return f"{count} images that were deleted here did not come back" if count else ""

    def _look(self, window: Window, found: Reconciliation) -> None:
        with self._querying() as query:
            waiting = deque(self._wanted(self._studies(query, window)))
        while waiting:
            try:
                with self._querying() as query:
                    while waiting:
                        self._look_into(waiting.popleft(), query, found)
            except ArchiveTooSlow as error:
                found.unanswered += 1
                logger.warning("a study is passed over: %s", error)
                if found.unanswered == MOST_UNANSWERED:
                    raise

    def _look_into(self, study_instance_uid: str, query: Query, found: Reconciliation) -> None:
        found.studies += 1
        held = list(self._objects(query, study_instance_uid))
        found.objects += len(held)
        found.missing += self._not_here(held)
        found.elsewhere += self._elsewhere(held)

    def _querying(self) -> AbstractContextManager[Query]:
        return querying(self.archive.peer(), self.settings.ae_title, self._patience())

    def _wanted(self, studies: list[str]) -> list[str]:
        """Return the studies without those of forgotten patients."""
        with self.sessions() as session:
            forgotten = forgotten_among(session, studies)
        return [uid for uid in studies if uid not in forgotten]

    def _studies(self, query: Query, window: Window) -> list[str]:
        zone = ZoneInfo(self.settings.time_zone)
        window = Window(window.since, window.until.astimezone(UTC) + FAST_CLOCKS)
        since, until = window.since.astimezone(zone), window.until.astimezone(zone)
        days = [since.date() + timedelta(days=day) for day in range((until.date() - since.date()).days + 1)]
        uids: dict[str, None] = {}
        for day, modality in product(days, self.archive.modalities):  # one day at a time: archives cut long answers
            for match in query.find(
                "STUDY", StudyDate=f"{day:%Y%m%d}", StudyTime="", ModalitiesInStudy=modality, StudyInstanceUID=""
            ):
                uid = text(match, "StudyInstanceUID")
                if is_valid_uid(uid) and _began_in(match, window, zone):
                    uids[uid] = None
        return list(uids)

    def _objects(self, query: Query, study: str) -> Iterator[Wanted]:
        wanted = {*self.archive.modalities, KEY_OBJECTS}
        for series in query.find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality=""):
            series_uid = text(series, "SeriesInstanceUID")
            if text(series, "Modality") not in wanted or not is_valid_uid(series_uid):
                continue
            for image in query.find(
                "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series_uid, SOPInstanceUID="", SOPClassUID=""
            ):
                if is_valid_uid(sop_instance_uid := text(image, "SOPInstanceUID")):
                    yield Wanted(study, series_uid, sop_instance_uid, text(image, "SOPClassUID"))

    def _not_here(self, held: list[Wanted], *, deleted_too: bool = False) -> list[Wanted]:
        """Return what no row of ours knows; what was deleted or damaged here is known, unless it is asked for, too."""
        store = InstanceStore(self.settings.instances_dir)
        columns = (Instance.sop_instance_uid, Instance.path, Instance.sha256, Instance.deleted_at, Instance.current)
        known: set[str] = set()
        for uids in in_batches([item.sop_instance_uid for item in held]):
            with self.sessions() as session:
                known |= set(session.scalars(select(Result.sop_instance_uid).where(Result.sop_instance_uid.in_(uids))))
                received = session.execute(select(*columns).where(Instance.sop_instance_uid.in_(uids))).all()
            known |= {
                row.sop_instance_uid
                for row in received
                if not deleted_too or (row.current and row.deleted_at is None and store.is_intact(row.path, row.sha256))
            }
        return [item for item in held if item.sop_instance_uid not in known]

    def _elsewhere(self, held: list[Wanted]) -> list[Elsewhere]:
        """Return what we know in another study only than the archive does."""
        query = select(Instance.sop_instance_uid, Instance.study_instance_uid).where(
            Instance.current, Instance.sop_instance_uid.in_([item.sop_instance_uid for item in held])
        )
        studies: dict[str, set[str]] = {}
        with self.sessions() as session:
            for uid, study in session.execute(query):
                studies.setdefault(uid, set()).add(study)
        return [
            Elsewhere(item.study_instance_uid, item.sop_instance_uid, min(here))
            for item in held
            if (here := studies.get(item.sop_instance_uid)) and item.study_instance_uid not in here
        ]

    def _fetch(self, found: Reconciliation) -> None:
        """Fetch everything, then look what is here: only rows of ours count, not what the archive says."""
        peer, ours, patience = self.archive.peer(), self.settings.ae_title, self._patience()
        said: dict[Wanted, str] = {}
        try:
            if self.archive.retrieve == "move":
                said.update(move(peer, found.missing, ours, patience))
            else:
                said.update(get(peer, found.missing, ours, patience, self.receiver))
        finally:
            absent = self._not_here(found.missing, deleted_too=found.deleted_too)
            found.fetched = len(found.missing) - len(absent)
            found.failures = [
                Failure(item.study_instance_uid, item.sop_instance_uid, said.get(item, "") or self._silent_loss())
                for item in absent
            ]

    def _silent_loss(self) -> str:
        if self.archive.retrieve == "get":
            return "did not come, or was refused; see the log and the folder quarantine"
        return (
            f"{self.archive.ae_title} says it was sent, but nothing arrived: does it send {self.settings.ae_title} to "
            "this machine, and is its AE title one of the sources?"
        )

    def _record(self, found: Reconciliation, actor: str, give_up: bool) -> None:
        absent = {failure.sop_instance_uid for failure in found.failures}
        by_study: dict[str, list[str]] = {}
        for item in found.missing:
            if item.sop_instance_uid not in absent:
                by_study.setdefault(item.study_instance_uid, []).append(item.sop_instance_uid)
        with self.sessions.begin() as session:
            for study, uids in by_study.items():
                reason = f"{len(uids)} objects fetched from {found.archive}"
                which = {"archive": found.archive, "sop_instance_uids": uids}
                record(session, "fetched", actor=actor, study_instance_uid=study, reason=reason, details=which)
            whole = details(found) | {"given_up": give_up}
            record(session, "reconciled", actor=actor, reason=found.summary, details=whole)
            if found.complete or give_up:
                close_gaps(session, found.since, found.until)
        logger.info("%s", found.summary)

    def _patience(self) -> ScuSettings:
        return ScuSettings(
            acse_timeout_seconds=self.settings.acse_timeout_seconds,
            dimse_timeout_seconds=self.settings.dimse_timeout_seconds,
            network_timeout_seconds=self.settings.network_timeout_seconds,
            maximum_pdu_bytes=self.settings.maximum_pdu_bytes,
        )


def _began_in(match: Dataset, window: Window, zone: ZoneInfo) -> bool:
    """Say whether the study may have begun in the window, as far as the archive knows; where it does not, it counts."""
    date, clock = text(match, "StudyDate"), text(match, "StudyTime")[:6]
    try:
        began = datetime.strptime(date + clock.ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return True
    whole = timedelta(0) if clock else timedelta(days=1)
    since = window.since - whole - timedelta(minutes=1)
    return since < latest(began, zone) and earliest(began, zone) <= window.until
