"""What a clock on the wall shows in the nights in which summer time begins and ends."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from worker.foundation.wall_clock import earliest, latest


@pytest.mark.parametrize(
    ("zone", "shown", "first", "last"),
    [
        ("Europe/Berlin", "2026-10-25 01:59", "2026-10-24 23:59", "2026-10-24 23:59"),
        ("Europe/Berlin", "2026-10-25 02:30", "2026-10-25 00:30", "2026-10-25 01:30"),  # comes twice
        ("Europe/Berlin", "2026-10-25 03:00", "2026-10-25 02:00", "2026-10-25 02:00"),
        ("Europe/Berlin", "2026-03-29 02:30", "2026-03-29 00:30", "2026-03-29 01:30"),  # does not come
        ("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30", "2026-11-01 06:30"),
        ("America/New_York", "2026-03-08 02:30", "2026-03-08 06:30", "2026-03-08 07:30"),
    ],
)
def test_a_shown_time_is_the_first_or_the_last_moment_that_it_may_be(
    zone: str, shown: str, first: str, last: str
) -> None:
    clock = datetime.fromisoformat(shown)
    assert earliest(clock, ZoneInfo(zone)) == datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert latest(clock, ZoneInfo(zone)) == datetime.fromisoformat(last).replace(tzinfo=UTC)
