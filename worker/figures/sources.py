"""Who sends, when it last did, and who has fallen silent although it used to send at these hours.

A device that sends nothing at night is not silent at night: what is missing is told from the same hours of the weeks
before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.figures.time_buckets import bucket_start, hour_of
from worker.rows.study_tables import Study

WEEKS = 4
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
MISSED_STUDIES = 5.0
"""Silent: this many studies were to be expected since the last one, and none came (by chance once in 150 times)."""


@dataclass(frozen=True)
class SourceFigures:
    """One device behind one sending AE title, in the last four weeks."""

    calling_ae_title: str
    station_name: str
    """Empty where images state none."""
    last_received_at: datetime
    silent_seconds: float
    studies: int
    studies_last_day: int
    expected_since: float
    """Studies that came, in the mean, in the same hours of the weeks before as have passed without one now."""

    @property
    def silent(self) -> bool:
        """Whether it stands out by its silence."""
        return self.expected_since >= MISSED_STUDIES


def source_figures(session: Session, now: datetime) -> list[SourceFigures]:
    """Return every device that sent in the last four weeks, silent ones first, then by name."""
    since = now - WEEKS * WEEK
    hour = hour_of(session, Study.first_received_at)
    rows = session.execute(
        select(
            Study.calling_ae_title,
            Study.station_name,
            hour,
            func.count(),
            func.max(Study.last_received_at),
        )
        .where(Study.first_received_at >= since)
        .group_by(Study.calling_ae_title, Study.station_name, hour)
    )
    counts: dict[tuple[str, str], dict[datetime, int]] = defaultdict(dict)
    last: dict[tuple[str, str], datetime] = {}
    for ae_title, station, text, studies, latest in rows:
        counts[ae_title, station][bucket_start(text)] = studies
        last[ae_title, station] = max(latest, last.get((ae_title, station), latest))
    figures = [_figures(source, by_hour, last[source], now) for source, by_hour in counts.items()]
    return sorted(figures, key=lambda item: (not item.silent, item.calling_ae_title, item.station_name))


def _figures(
    source: tuple[str, str], by_hour: Mapping[datetime, int], last_received_at: datetime, now: datetime
) -> SourceFigures:
    return SourceFigures(
        *source,
        last_received_at,
        max(0.0, (now - last_received_at).total_seconds()),
        sum(by_hour.values()),
        sum(studies for start, studies in by_hour.items() if start > now - timedelta(days=1)),
        _expected(by_hour, last_received_at, now),
    )


def _expected(by_hour: Mapping[datetime, int], last_received_at: datetime, now: datetime) -> float:
    """Return how many studies came in the mean of earlier weeks in the whole hours that passed since the last one."""
    first_silent = last_received_at.replace(minute=0, second=0, microsecond=0) + HOUR
    silent_hours = max(0, int((now - first_silent) / HOUR))
    started = min(by_hour)
    weeks = [week * WEEK for week in range(1, WEEKS + 1) if first_silent - week * WEEK >= started]
    if not weeks:
        return 0.0
    hours = [first_silent + number * HOUR for number in range(silent_hours)]
    return sum(by_hour.get(hour - week, 0) for hour in hours for week in weeks) / len(weeks)
