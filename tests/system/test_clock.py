"""A machine that starts with a clock hours fast and is put right by NTP: nothing waits for the hour it showed first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from clock_shift import ClockShift
from peers import StandInPacs
from sites import DELIVERY, LISTEN, SWEEP, TRIAGE, Site, send_study, wait_until
from sqlalchemy import select

from worker.rows.delivery_tables import DestinationOutage

pytestmark = pytest.mark.timeout(400)
HOURS_FAST = 2


@pytest.fixture
def clock(tmp_path: Path) -> ClockShift:
    made = ClockShift(tmp_path)
    made.build()
    if not made.built:
        pytest.skip("no C compiler: clocks cannot be set wrong")
    return made


@pytest.fixture
def site(clock: ClockShift, pacs: StandInPacs, site_with: Callable[..., Site]) -> Site:
    return site_with(clock.environment, destinations=[pacs.destination])


def test_a_clock_that_was_hours_fast_and_is_put_right_keeps_nothing_waiting(
    site: Site, clock: ClockShift, pacs: StandInPacs, tmp_path: Path
) -> None:
    pacs.stop()
    clock.set_wrong(HOURS_FAST * 3600.0)
    sweeper, triage = site.start(SWEEP), site.start(TRIAGE)
    site.start(DELIVERY)
    site.start_listening(LISTEN)
    undelivered = send_study(site, tmp_path)
    wait_until(lambda: _is_away(site), "the archive is away")
    site.kill(triage)
    triage = site.start(TRIAGE, failpoint="after_claim")
    unfinished = send_study(site, tmp_path)
    wait_until(lambda: any(run.state == "running" for run in site.runs(unfinished)), "its worker died over it")
    for process in (triage, sweeper):
        site.kill(process)
    clock.set_wrong(0.0)
    site.start(SWEEP)
    site.start(TRIAGE)
    pacs.start()
    for study_instance_uid in (undelivered, unfinished):
        site.wait_for_state(study_instance_uid, "triaged")
        site.wait_for_delivery(study_instance_uid, "sent")


def _is_away(site: Site) -> bool:
    with site.session() as session:
        return session.scalar(select(DestinationOutage.destination)) is not None
