"""A unit whose clock is years behind has none of its studies flagged: the administrator is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session
from study_rows import NOW, add_study

from worker.figures.measures import measures
from worker.figures.overview import read_overview
from worker.rows.database import SessionFactory
from worker.rows.states import StudyState
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

YEARS = 10 * 365


def arrived(session: Session, *dates: tuple[float, float], **fields: str) -> None:
    """Add a study for each (hours since it was received, days that its StudyDate lies before that)."""
    for hours, days in dates:
        study_date = f"{NOW - timedelta(hours=hours, days=days):%Y%m%d}"
        add_study(session, minutes_ago=60 * hours, **{"study_date": study_date, "station_name": "PORTABLE 2"} | fields)


def told(session: Session, settings: Settings) -> list[str]:
    overview = read_overview(session, settings, NOW)
    return [item.sentence for item in overview.attention if "clock" in item.sentence]


def test_the_page_and_the_measures_say_whose_clock_and_how_far_behind(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        arrived(session, (50, YEARS), (30, YEARS), (3, YEARS), (2, YEARS), (1, YEARS), state=StudyState.OUT_OF_SCOPE)
        (sentence,) = told(session, settings)
        overview = read_overview(session, settings, NOW)
    assert sentence == (
        f"the last 5 studies of MODALITY1 / PORTABLE 2 are dated {YEARS} days before they came, so none of them is"
        " flagged or announced: is its clock right?"
    )
    assert [item.section for item in overview.attention if item.sentence == sentence] == ["sources"]
    found = {measure.value for measure in measures(overview) if measure.name == "cxr_source_clock_behind_days"}
    assert found == {YEARS}


@pytest.mark.parametrize(
    ("dates", "suspicious"),
    [
        ([(50, YEARS), (26, YEARS), (2, YEARS)], True),
        ([(50, YEARS), (26, YEARS + 1), (2, YEARS)], True),
        ([(150, YEARS - 4), (74, YEARS - 1), (2, YEARS + 2)], True),  # 1 January again whenever it is switched on
        ([(26, YEARS), (2, YEARS)], False),  # two may be chance
        ([(50, YEARS), (26, YEARS), (2, 0)], False),  # put right
        ([(50, YEARS), (26, 2 * YEARS), (2, 300)], False),  # earlier studies, fetched from an archive
        ([(50, 6), (26, 6), (2, 6)], False),  # flagged all the same
        ([(300, YEARS), (280, YEARS), (260, YEARS)], False),  # long ago
    ],
)
def test_dates_that_an_archive_would_not_send_are_a_clocks(
    sessions: SessionFactory, settings: Settings, dates: Sequence[tuple[float, float]], suspicious: bool
) -> None:
    with sessions.begin() as session:
        arrived(session, *dates)
        assert bool(told(session, settings)) == suspicious


def test_three_old_studies_of_one_patient_say_nothing_of_a_clock(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        arrived(session, (3, YEARS), (2, YEARS), (1, YEARS), patient_id="ONE")
        assert told(session, settings) == []


def test_each_device_of_a_sender_is_judged_by_itself(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        arrived(session, (4, YEARS), (3, YEARS), (2, YEARS))
        arrived(session, (3.5, 0), (2.5, 0), (1, 0), station_name="ROOM 1")
        arrived(session, (3.5, 0), (2.5, 0), (1, 0), station_name="ROOM 2", study_date="no date")
        (sentence,) = told(session, settings)
    assert "MODALITY1 / PORTABLE 2" in sentence
