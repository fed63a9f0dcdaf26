"""Devices whose clock seems to be far behind: all their studies count as historical, so that none of them is flagged.

Earlier studies that an archive sends are old, too. What tells them from a wrong clock is that a clock is wrong by the
same time for every patient, or begins with the same day whenever the device is switched on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.patient_age import dicom_date
from worker.rows.study_tables import Study

WINDOW = timedelta(days=7)
LATEST_STUDIES = 5
FEWEST_STUDIES = 3
"""Of as many patients."""
SPREAD_DAYS = 2
"""A study of midnight, and the site's time zone, make a day each."""


@dataclass(frozen=True)
class WrongClock:
    """A device whose latest studies are all too old to be flagged, by the same time."""

    calling_ae_title: str
    station_name: str
    studies: int
    """How many of its latest studies say so."""
    days_behind: int
    """Of the latest one, from its StudyDate to its arrival."""


@dataclass(frozen=True)
class _Arrival:
    patient_id: str
    study_date: date
    days: int


def wrong_clocks(session: Session, now: datetime, historical_after_days: int) -> list[WrongClock]:
    """Return the devices that sent studies in the last week and whose clock seems wrong, by name."""
    place = func.row_number().over(
        partition_by=(Study.calling_ae_title, Study.station_name), order_by=Study.first_received_at.desc()
    )
    columns = (Study.calling_ae_title, Study.station_name, Study.patient_id, Study.study_date, Study.first_received_at)
    latest = select(*columns, place.label("place")).where(Study.first_received_at >= now - WINDOW).subquery()
    arrivals: dict[tuple[str, str], list[_Arrival | None]] = defaultdict(list)
    for row in session.execute(select(latest).where(latest.c.place <= LATEST_STUDIES).order_by(latest.c.place)):
        arrivals[row.calling_ae_title, row.station_name].append(
            _arrival(row.patient_id, row.study_date, row.first_received_at)
        )
    found = []
    for device, of_device in sorted(arrivals.items()):
        dated = [each for each in of_device if each is not None and each.days > historical_after_days]
        if len(dated) == len(of_device) and _of_one_clock(dated):
            found.append(WrongClock(*device, len(dated), dated[0].days))
    return found


def _arrival(patient_id: str, study_date: str, received_at: datetime) -> _Arrival | None:
    day = dicom_date(study_date)
    if day is None:
        return None
    return _Arrival(patient_id, day, (received_at.date() - day).days)


def _of_one_clock(arrivals: Sequence[_Arrival]) -> bool:
    """Return whether the dates lie back by the same time, or are the same."""
    if len({arrival.patient_id for arrival in arrivals}) < FEWEST_STUDIES:
        return False
    days = [arrival.days for arrival in arrivals]
    dates = [arrival.study_date for arrival in arrivals]
    return max(days) - min(days) <= SPREAD_DAYS or max(dates) - min(dates) <= timedelta(days=SPREAD_DAYS)
