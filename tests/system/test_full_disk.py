"""A disk that stays full: studies wait without using their attempts up, and go on by themselves once there is room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path

import pytest
from benches import SILENT_ARCHIVE, Bench
from factories import chest_radiograph
from pydicom.dataset import Dataset
from sqlalchemy import select, update

from worker.figures.overview import read_overview
from worker.processes.lost_rings import give_up_used_up_runs, queued_runs_to_ring
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState
from worker.runs.triage import triage

pytestmark = pytest.mark.either_database

DISK_BYTES = 32 << 20


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    return bench_with(destinations=[SILENT_ARCHIVE])


@pytest.fixture
def results_disk(bench: Bench) -> Iterator[Path]:
    """The folder of results on a small disk of its own."""
    folder = bench.settings.results_dir
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take what is free of the small disk; return the file that holds it."""
    assert folder.is_mount()
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        while True:
            file.write(bytes(1 << 16))
    assert shutil.disk_usage(folder).free == 0
    return filler


def let_time_pass(bench: Bench, seconds: float) -> None:
    """Shift what was noted of the waiting into the past."""
    with bench.sessions.begin() as session:
        for event in session.scalars(select(Event)):
            event.at -= timedelta(seconds=seconds)
        for run in session.scalars(select(Run).where(Run.rung_at.is_not(None))):
            assert run.rung_at is not None
            run.rung_at -= timedelta(seconds=seconds)


def rung_for(bench: Bench) -> list[str]:
    with bench.sessions.begin() as session:
        return [run.study_instance_uid for run in queued_runs_to_ring(session, bench.settings)]


def test_a_study_waits_for_room_for_as_long_as_it_takes_and_then_goes_on(bench: Bench, results_disk: Path) -> None:
    uid = bench.receive(chest_radiograph())
    filler = fill(results_disk)
    for _ in range(bench.settings.maximum_attempts + 2):
        assert triage(uid, bench.workplace) is False
        with bench.sessions.begin() as session:
            give_up_used_up_runs(session, bench.settings)
        (run,) = bench.runs(uid)
        assert (bench.study(uid).state, run.state, run.reason_code, run.attempts) == ("queued", "queued", "no_room", 0)
    assert bench.event_kinds(uid).count("waits_for_room") == bench.settings.maximum_attempts + 2
    with bench.sessions() as session:
        told = read_overview(session, bench.settings, database_now(session)).attention
    words = "1 study waiting for room on the disk for its results; it continues by itself once there is some"
    assert ("disk", words) in [(item.section, item.sentence) for item in told]
    filler.unlink()
    assert triage(uid, bench.workplace) is True
    (run,) = bench.runs(uid)
    assert (bench.study(uid).state, run.state, run.reason_code, run.attempts) == ("triaged", "done", None, 1)


def test_the_pause_is_as_long_as_the_waiting_so_far_and_a_minute_at_most(bench: Bench, results_disk: Path) -> None:
    uid = bench.receive(chest_radiograph())
    fill(results_disk)
    for waited_seconds in (0.0, 8.0, 3600.0):
        let_time_pass(bench, waited_seconds)
        assert not triage(uid, bench.workplace)
    with bench.sessions() as session:
        waits = session.scalars(select(Event).where(Event.kind == "waits_for_room").order_by(Event.id)).all()
    first, second, third = (event.details["pause_seconds"] for event in waits)
    assert (first, third) == (1.0, 60.0)
    assert 8.0 <= second < 60.0
    assert not rung_for(bench)
    let_time_pass(bench, third)
    assert rung_for(bench) == [uid]


def test_starts_that_ended_without_a_word_still_count_where_the_disk_is_full(bench: Bench, results_disk: Path) -> None:
    uid = bench.receive(chest_radiograph())
    fill(results_disk)
    for _ in range(bench.settings.maximum_attempts):
        triage(uid, bench.workplace)
        with bench.sessions.begin() as session:  # a worker that dies over the study
            assert claim_run(session, uid, "dead", bench.settings) is not None
        with bench.sessions.begin() as session:
            session.execute(update(Run).values(lease_until=database_now(session) - timedelta(seconds=1)))
    triage(uid, bench.workplace)
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("failed", "poison")


def test_results_that_cannot_be_written_for_another_reason_use_the_attempts_up(bench: Bench) -> None:
    uid = bench.receive(chest_radiograph())
    bench.settings.results_dir.mkdir(parents=True)
    (bench.settings.results_dir / uid).write_text("where the study's folder belongs")
    for _ in range(bench.settings.maximum_attempts):
        triage(uid, bench.workplace)
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("failed", "storage")


def stored_in_the_archive(bench: Bench, image: Dataset) -> str:
    """Analyse the image, and let the archive have its results."""
    uid = bench.triage(image).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT))
    return uid


def blank(image: Dataset) -> Dataset:
    image = deepcopy(image)
    image.PixelData = bytes(len(image.PixelData))
    return image


def of_another_order(image: Dataset) -> Dataset:
    image = deepcopy(image)
    image.AccessionNumber = "A0002"
    return image


@pytest.mark.parametrize(("next_version", "state"), [(blank, "not_analysed"), (of_another_order, "triaged")])
def test_results_are_taken_back_as_soon_as_there_is_room_for_the_note(
    bench: Bench,
    results_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    next_version: Callable[[Dataset], Dataset],
    state: str,
) -> None:
    image = chest_radiograph()
    uid = stored_in_the_archive(bench, image)
    bench.receive(next_version(image))
    with monkeypatch.context() as patch:  # the run's own results find room, the note does not
        patch.setattr("worker.runs.triage.failpoint", lambda name: fill(results_disk) if "files" in name else None)
        if state == "not_analysed":
            fill(results_disk)
        assert triage(uid, bench.workplace) is False
    run = bench.runs(uid)[-1]
    assert (bench.study(uid).state, run.state, run.reason_code, run.attempts) == ("queued", "queued", "no_room", 0)
    (results_disk / "filler").unlink()
    assert triage(uid, bench.workplace) is True
    assert bench.study(uid).state == state
    assert "rejection_note" in {result.kind for result in bench.results(bench.runs(uid)[0])}


def test_a_store_that_takes_no_note_for_another_reason_uses_the_attempts_up(bench: Bench) -> None:
    image = chest_radiograph()
    uid = stored_in_the_archive(bench, image)
    bench.receive(blank(image))
    elsewhere = bench.settings.results_dir / "elsewhere"
    (bench.settings.results_dir / uid).rename(elsewhere)
    with bench.sessions.begin() as session:
        for result in session.scalars(select(Result)):
            result.path = result.path.replace(uid, elsewhere.name)
    (bench.settings.results_dir / uid).write_text("where the study's folder belongs")
    for _ in range(bench.settings.maximum_attempts):
        assert triage(uid, bench.workplace) is False
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("failed", "storage")
