"""What the installation runs on: processes with their signs of life, and the disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.rows.heartbeat import SILENT_AFTER
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import ProcessHeartbeat
from worker.rows.states import RunState
from worker.rows.study_tables import Instance
from worker.settings.config import Settings

GROWTH_WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class ProcessFigures:
    """One process; ``in_hand`` counts the runs it holds under a lease."""

    name: str
    role: str
    device: str
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    in_hand: int


@dataclass(frozen=True)
class DiskFigures:
    """The disk of the data folder, in bytes."""

    total: int
    free: int
    kept_free: int
    """Below this much free, images are refused (``minimum_free_bytes``)."""
    grown_last_week: int
    """Images received and results made; what was removed is not subtracted."""

    @property
    def days_left(self) -> float | None:
        """Days until images are refused if it goes on like this week; None when nothing came."""
        per_day = self.grown_last_week / GROWTH_WINDOW.days
        return None if per_day <= 0 else max(0, self.free - self.kept_free) / per_day


def process_figures(session: Session, now: datetime) -> list[ProcessFigures]:
    """Return the processes seen in the last day, those that fell silent first."""
    held = session.execute(
        select(Run.worker_name, func.count())
        .where(Run.state == RunState.RUNNING, Run.lease_until >= now)
        .group_by(Run.worker_name)
    )
    in_hand = dict(held.all())
    rows = session.scalars(select(ProcessHeartbeat).order_by(ProcessHeartbeat.role, ProcessHeartbeat.name))
    figures = [
        ProcessFigures(
            row.name, row.role, row.device, row.version, row.started_at, row.seen_at,
            now - row.seen_at <= SILENT_AFTER, in_hand.get(row.name, 0),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(figures, key=lambda item: item.alive)


def disk_figures(session: Session, settings: Settings, now: datetime) -> DiskFigures | None:
    """Return the state of the disk; None where the data folder is not on this machine."""
    folder: Path = settings.data_dir
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    since = now - GROWTH_WINDOW
    images = session.scalar(select(func.sum(Instance.bytes)).where(Instance.received_at >= since)) or 0
    results = session.scalar(select(func.sum(Result.bytes)).where(Result.created_at >= since)) or 0
    return DiskFigures(usage.total, usage.free, settings.minimum_free_bytes, int(images) + int(results))
