"""The overview as single numbers with names and labels, for Prometheus, for programs and for the terminal.

Labels are names of the configuration and words of the database (AE titles, queues, states); never a UID or a patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from worker.figures.backfills import BackfillFigures
from worker.figures.clocks import WrongClock
from worker.figures.flow import DestinationFigures, QueueFigures
from worker.figures.latency import StageFigures
from worker.figures.overview import Overview
from worker.figures.sources import SourceFigures
from worker.rows.states import BackfillState

MEANINGS: Mapping[str, str] = {
    "cxr_attention": "things that need a person, as the operations page lists them",
    "cxr_queue_waiting": "runs that wait for a worker",
    "cxr_queue_oldest_seconds": "how long the oldest of them has waited; absent = none waits",
    "cxr_queue_in_hand": "runs that a worker has in hand",
    "cxr_queue_abandoned": "of these, runs whose worker has given no sign of life; another takes them",
    "cxr_studies_received_last_day": "studies whose first image came in the last 24 hours",
    "cxr_studies_answered_last_day": "studies answered in the last 24 hours",
    "cxr_stage_seconds": "seconds of a stage over the last day; quantile 0.5, 0.95, 0.99",
    "cxr_studies_without_answer": "unread studies that failed, are held or could not be analysed",
    "cxr_deliveries": "results by state: pending (unreachable of these), sent, uncommitted, committed "
    "(warning of these three), refused, failed",
    "cxr_delivery_oldest_seconds": "how long the oldest pending result has waited; absent = none waits",
    "cxr_deliveries_last_day": "results that the destination took in the last 24 hours",
    "cxr_source_silent_seconds": "time since the last image of a device",
    "cxr_source_missed_studies": "studies to be expected of it in that time, by the weeks before",
    "cxr_source_clock_behind_days": "how far back a device dates its studies, where its clock seems wrong and none of "
    "them is flagged; absent = all seem right",
    "cxr_processes": "processes that give signs of life (alive) and those that stopped (silent)",
    "cxr_backfill_studies": "studies of a backfill by state: waiting, running, done, failed, missing (images gone), "
    "skipped; of backfills under way or ended within a week",
    "cxr_disk_free_bytes": "free on the disk of the data folder",
    "cxr_disk_total_bytes": "size of that disk",
}
"""Every name and what it counts."""


@dataclass(frozen=True)
class Measure:
    """One number."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def measures(overview: Overview) -> Iterator[Measure]:
    """Yield every number of the overview, those of one name together."""
    found = [
        Measure("cxr_attention", len(overview.attention)),
        *(measure for queue in overview.queues for measure in _of_queue(queue)),
        Measure("cxr_studies_received_last_day", sum(hour.received for hour in overview.hours)),
        Measure("cxr_studies_answered_last_day", sum(hour.answered for hour in overview.hours)),
        *(measure for stage in overview.stages for measure in _of_stage(stage)),
        *(
            Measure("cxr_studies_without_answer", item.studies, {"state": item.state, "reason_code": item.reason_code})
            for item in overview.failures
        ),
        *(measure for item in overview.destinations for measure in _of_destination(item)),
        *(measure for item in overview.sources for measure in _of_source(item)),
        *(_of_clock(item) for item in overview.wrong_clocks),
        *(measure for item in overview.backfills for measure in _of_backfill(item)),
        *_of_machines(overview),
    ]
    for name in MEANINGS:
        yield from (measure for measure in found if measure.name == name)


def _of_queue(queue: QueueFigures) -> Iterator[Measure]:
    labels = {"queue": queue.name}
    yield Measure("cxr_queue_waiting", queue.waiting, labels)
    if queue.oldest_seconds is not None:
        yield Measure("cxr_queue_oldest_seconds", queue.oldest_seconds, labels)
    yield Measure("cxr_queue_in_hand", queue.running, labels)
    yield Measure("cxr_queue_abandoned", queue.abandoned, labels)


def _of_stage(stage: StageFigures) -> Iterator[Measure]:
    for quantile, seconds in (("0.5", stage.p50), ("0.95", stage.p95), ("0.99", stage.p99)):
        yield Measure("cxr_stage_seconds", seconds, {"stage": stage.name, "quantile": quantile})


def _of_destination(item: DestinationFigures) -> Iterator[Measure]:
    states = {
        "pending": item.pending,
        "unreachable": item.unreachable,
        "sent": item.sent,
        "uncommitted": item.uncommitted,
        "committed": item.committed,
        "warning": item.warned,
        "refused": item.refused,
        "failed": item.failed,
    }
    for state, count in states.items():
        yield Measure("cxr_deliveries", count, {"destination": item.name, "state": state})
    if item.oldest_pending_seconds is not None:
        yield Measure("cxr_delivery_oldest_seconds", item.oldest_pending_seconds, {"destination": item.name})
    yield Measure("cxr_deliveries_last_day", item.delivered_last_day, {"destination": item.name})


def _of_source(item: SourceFigures) -> Iterator[Measure]:
    labels = {"source": item.calling_ae_title, "station": item.station_name}
    yield Measure("cxr_source_silent_seconds", item.silent_seconds, labels)
    yield Measure("cxr_source_missed_studies", item.expected_since, labels)


def _of_clock(item: WrongClock) -> Measure:
    labels = {"source": item.calling_ae_title, "station": item.station_name}
    return Measure("cxr_source_clock_behind_days", item.days_behind, labels)


def _of_backfill(item: BackfillFigures) -> Iterator[Measure]:
    for state in BackfillState:
        yield Measure("cxr_backfill_studies", getattr(item, state), {"backfill": str(item.id), "state": state})


def _of_machines(overview: Overview) -> Iterator[Measure]:
    for role in sorted({process.role for process in overview.processes}):
        alive = [process.alive for process in overview.processes if process.role == role]
        yield Measure("cxr_processes", sum(alive), {"role": role, "state": "alive"})
        yield Measure("cxr_processes", len(alive) - sum(alive), {"role": role, "state": "silent"})
    if overview.disk is not None:
        yield Measure("cxr_disk_free_bytes", overview.disk.free)
        yield Measure("cxr_disk_total_bytes", overview.disk.total)
