"""The whole installation at one moment, and what of it needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.figures.backfills import BackfillFigures, backfill_figures
from worker.figures.certificates import EndingCertificate, ending_certificates
from worker.figures.clocks import WrongClock, wrong_clocks
from worker.figures.flow import (
    DestinationFigures,
    FailedStudy,
    FailureFigures,
    HourFigures,
    QueueFigures,
    channel_figures,
    destination_figures,
    failed_studies,
    failure_figures,
    hour_figures,
    keeping_back,
    queue_figures,
    unread_notes,
)
from worker.figures.latency import StageFigures, stage_figures
from worker.figures.machines import DiskFigures, ProcessFigures, disk_figures, process_figures
from worker.figures.sources import SourceFigures, source_figures
from worker.rows.gaps import open_gaps
from worker.rows.room import waiting_for_room
from worker.rows.site_tables import ReceptionGap
from worker.rows.states import StudyState
from worker.settings.config import Settings
from worker.views.presentation import bytes_text, duration_text

LATENCY_WINDOW = timedelta(days=1)
UNREAD_NOTES_WINDOW = timedelta(days=7)
LONG_QUEUE_SECONDS = 60.0
LONG_DELIVERY_SECONDS = 300.0
SHORT_DISK_DAYS = 7.0
NEEDED_ROLES = ("listener", "sweeper", "triage worker", "delivery worker")


@dataclass(frozen=True)
class Attention:
    """One thing that needs a person: where on the page it is told, and one sentence."""

    section: str
    sentence: str


@dataclass(frozen=True)
class Overview:
    """Everything the operations page shows, read in one transaction."""

    now: datetime
    queues: Sequence[QueueFigures]
    hours: Sequence[HourFigures]
    stages: Sequence[StageFigures]
    """Of the last day."""
    failures: Sequence[FailureFigures]
    failed: Sequence[FailedStudy]
    destinations: Sequence[DestinationFigures]
    sources: Sequence[SourceFigures]
    processes: Sequence[ProcessFigures]
    disk: DiskFigures | None
    gaps: Sequence[ReceptionGap] = ()
    """Times in which nothing could be received, about which the archive has not been asked."""
    certificates: Sequence[EndingCertificate] = ()
    """Which end within the month, or have ended."""
    unread_notes: Sequence[str] = ()
    """Studies with a rejection note of the last week that could not be read."""
    backfills: Sequence[BackfillFigures] = ()
    """Under way, or ended within the last week."""
    without_room: int = 0
    """Studies whose results the full disk has no room for."""
    keeping_back: int = 0
    """Failed studies whose earlier results may not leave before another run has decided."""
    wrong_clocks: Sequence[WrongClock] = ()
    """Devices none of whose studies is flagged, because their dates lie too far back."""

    @property
    def attention(self) -> list[Attention]:
        """What needs a person, the most pressing first."""
        return [
            *self._processes(),
            *self._clocks(),
            *self._disk(),
            *self._queues(),
            *self._failures(),
            *self._notes(),
            *self._destinations(),
            *self._sources(),
            *self._gaps(),
            *self._certificates(),
        ]

    def _processes(self) -> Iterator[Attention]:
        for process in self.processes:
            if not process.alive:
                silent = duration_text((self.now - process.seen_at).total_seconds())
                yield Attention("processes", f"{process.role} {process.name} has given no sign of life for {silent}")
        alive = {process.role for process in self.processes if process.alive}
        for role in NEEDED_ROLES:
            if role not in alive:
                yield Attention("processes", f"no {role} is running")

    def _disk(self) -> Iterator[Attention]:
        if self.without_room:
            one = "study waiting for room on the disk for its results; it continues by itself once there is some"
            many = "studies waiting for room on the disk for their results; they go on by themselves once there is some"
            yield Attention("disk", _counted(self.without_room, one, many))
        if self.disk is None:
            yield Attention("disk", "the data folder cannot be read from the page's machine")
            return
        if self.disk.free <= self.disk.kept_free:
            yield Attention("disk", f"images are refused: only {bytes_text(self.disk.free)} are free")
        elif self.disk.days_left is not None and self.disk.days_left < SHORT_DISK_DAYS:
            yield Attention(
                "disk", f"the disk is full in about {self.disk.days_left:.0f} days if this week's growth goes on"
            )

    def _queues(self) -> Iterator[Attention]:
        for queue in self.queues:
            if queue.name != "shadow" and (queue.oldest_seconds or 0.0) > LONG_QUEUE_SECONDS:
                waiting = duration_text(queue.oldest_seconds or 0.0)
                words = (
                    f"{_counted(queue.waiting, 'study', 'studies')} waiting on {queue.name}, the first for {waiting}"
                )
                yield Attention("queues", words)

        shadow = next((queue for queue in self.queues if queue.name == "shadow"), None)
        if shadow and shadow.waiting and not any(p.alive and p.role == "shadow worker" for p in self.processes):
            counted = _counted(shadow.waiting, "study", "studies")
            yield Attention("queues", f"{counted} waiting for a second analysis and no shadow worker is running")

    def _failures(self) -> Iterator[Attention]:
        for failure in self.failures:
            if failure.state in (StudyState.FAILED, StudyState.HELD):
                counted = _counted(failure.studies, "study", "studies")
                yield Attention("failures", f"{counted} {failure.state}: {failure.reason_code}")

    def _notes(self) -> Iterator[Attention]:
        for study_instance_uid in self.unread_notes:
            words = f"a rejection note of study {study_instance_uid} cannot be read: look into the archive which images"
            yield Attention("failures", f"{words} it declares invalid, and reject them here by hand")

    def _destinations(self) -> Iterator[Attention]:
        for item in self.destinations:
            if (item.oldest_pending_seconds or 0.0) > LONG_DELIVERY_SECONDS:
                waiting = duration_text(item.oldest_pending_seconds or 0.0)
                why = " and it cannot be reached" if item.unreachable else ""
                counted = _counted(item.pending, "result", "results")
                yield Attention("deliveries", f"{counted} waiting for {item.name}, the first for {waiting}{why}")
            if stopped := item.refused + item.failed:
                yield Attention("deliveries", f"{_counted(stopped, 'result', 'results')} not accepted by {item.name}")
        if self.keeping_back:
            one, many = "failed study keeps its", "failed studies keep their"
            counted = _counted(self.keeping_back, one, many)
            why = "an image or the patient is another since; try the analysis again"
            yield Attention("deliveries", f"{counted} earlier results back: {why}")

    def _clocks(self) -> Iterator[Attention]:
        for clock in self.wrong_clocks:
            studies = f"the last {clock.studies} studies of {_device(clock)}"
            dated = f"are dated {clock.days_behind} days before they came, so none of them is flagged or announced"
            yield Attention("sources", f"{studies} {dated}: is its clock right?")

    def _sources(self) -> Iterator[Attention]:
        for source in self.sources:
            if source.silent:
                silent = duration_text(source.silent_seconds)
                usual = f"{source.expected_since:.0f} studies were to be expected"
                yield Attention("sources", f"{_device(source)} has sent nothing for {silent}; {usual}")

    def _certificates(self) -> Iterator[Attention]:
        for item in self.certificates:
            when = f"{'ends' if item.ends_at > self.now else 'ENDED'} on {item.ends_at:%Y-%m-%d}"
            yield Attention("processes", f"the certificate of {item.subject} ({item.owner}) {when}")

    def _gaps(self) -> Iterator[Attention]:
        for gap in self.gaps:
            why = f"; {gap.reason}" if gap.reason else ""
            words = f"nothing could be received from {gap.begins_at:%Y-%m-%d %H:%M} to {gap.ends_at:%H:%M} UTC"
            yield Attention("sources", f"{words}, images may be missing (`python -m worker reconcile`){why}")


def _device(item: SourceFigures | WrongClock) -> str:
    return " / ".join(part for part in (item.calling_ae_title, item.station_name) if part)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def read_overview(session: Session, settings: Settings, now: datetime) -> Overview:
    """Read everything; ``now`` is the database's clock, UTC."""
    names = settings.destination_names
    return Overview(
        now,
        queue_figures(session, now),
        hour_figures(session, now),
        stage_figures(session, now - LATENCY_WINDOW),
        failure_figures(session),
        failed_studies(session),
        [
            *destination_figures(session, now, names),
            *channel_figures(session, now, [channel.name for channel in settings.channels]),
        ],
        source_figures(session, now),
        process_figures(session, now),
        disk_figures(session, settings, now),
        open_gaps(session),
        ending_certificates(settings, now),
        unread_notes(session, now - UNREAD_NOTES_WINDOW),
        backfill_figures(session, now),
        waiting_for_room(session),
        keeping_back(session),
        wrong_clocks(session, now, settings.historical_after_days),
    )
