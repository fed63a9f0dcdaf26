"""A study costs the same whether it is the first or the ten-thousandth: statements, processor time, memory."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from sqlalchemy import Engine, event, make_url, select, update

from benchmarks.many_studies import fill
from worker.rows.database import SessionFactory, database_now, open_engine, session_factory
from worker.rows.delivery_tables import Delivery
from worker.rows.states import DeliveryState
from worker.rows.study_tables import Study
from worker.runs.triage import triage
from worker.sending import outbox
from worker.settings.config import Settings

STEP, STEPS = int(os.environ.get("CXR_TEST_STUDIES", "400")) // 16, (1, 4, 16)
"""Studies of the slow test: 1x, 4x and 16x of this, all in one database."""
STUDIES_ON_DISK = 100
"""Pictures of more are not kept: 20,000 studies would fill a hundred gigabytes."""
STATEMENTS_OF_A_FIRST_RUN = 5 + 3 + 1 + 10
"""Of a study of one image with one destination.

Claiming: the study is locked; its run, the time and the active bundle; the run is taken; an event; the study's state.
Reading: the images; the study's run in force; corrections.
Reporting: the time, an earlier report and the latest revision.
Ending: the study is locked; its run, the time and whether it has others; the image; predictions; results; where these
go; the run's end; an event; the study's; corrections that came meanwhile.
"""
MOST_GROWTH = 1.15
MOST_GROWN_BYTES = 16 << 20


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    return bench_on(sessions, make_settings, tmp_path)


def bench_on(sessions: SessionFactory, make_settings: Callable[..., Settings], tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    archive = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9}
    settings = make_settings(
        bundles={"default": tmp_path / "bundle"},
        accept_unknown_sources=True,
        destinations=[archive],
        lease_seconds=4000,  # renewals would count as statements where the machine is slow
        lease_renewal_seconds=2000,
    )
    return Bench(settings, sessions)


@contextmanager
def statements(bench: Bench) -> Iterator[list[str]]:
    """Collect the SQL that the block sends."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    engine = bench.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_the_number_of_statements_of_a_study_does_not_grow_with_those_before_it(bench: Bench) -> None:
    counts = []
    for _ in range(9):
        with statements(bench) as sent:
            assert bench.triage(chest_radiograph()).state == "triaged"
        counts.append(len(sent))
        predictions = [statement for statement in sent if statement.startswith("INSERT INTO prediction")]
        assert len(predictions) == 1, "the predictions of a run are inserted together"
    assert counts[0] > 10, "statements are counted"
    assert set(counts[2:]) == {counts[1]}, counts  # the first may ask the server once for what it can


def test_a_first_run_sends_no_statement_more_than_it_needs(bench: Bench) -> None:
    triage(bench.receive(chest_radiograph()), bench.workplace)
    uid = bench.receive(chest_radiograph())
    with statements(bench) as sent:
        assert triage(uid, bench.workplace)
    assert len(sent) <= STATEMENTS_OF_A_FIRST_RUN, sent


def test_sqlite_does_no_more_work_for_a_study_where_many_were_before_it(
    sqlite_url: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """It took the index of what is done for better than that of the study: a third of the cost after 20,000 studies."""
    full_url = filled_copy(sqlite_url, tmp_path)

    def work(url: str, folder: Path) -> int:
        engine, steps = counted(url)
        bench = bench_on(session_factory(engine), make_settings, folder)
        bench.triage(chest_radiograph())
        before = next(steps)
        assert bench.triage(chest_radiograph()).state == "triaged"
        engine.dispose()
        return next(steps) - before

    alone = work(sqlite_url, tmp_path / "alone")
    assert alone > 20, "SQLite's instructions are counted, fifty at a time"
    assert work(full_url, tmp_path / "among many") <= MOST_GROWTH * alone


def test_sqlite_does_no_more_work_for_a_parcel_where_many_others_wait(
    sqlite_url: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """An archive that was away for a day comes back to thousands of them, each sent with its study."""
    full_url = filled_copy(sqlite_url, tmp_path)
    engine = open_engine(full_url)
    with engine.begin() as connection:
        connection.execute(update(Delivery).values(state=DeliveryState.PENDING))
    engine.dispose()

    def work(url: str, folder: Path) -> int:
        engine, steps = counted(url)
        bench = bench_on(session_factory(engine), make_settings, folder)
        bench.triage(chest_radiograph())
        with bench.sessions.begin() as session:
            uid = session.scalars(select(Study.study_instance_uid).order_by(Study.first_received_at.desc())).first()
            now, before = database_now(session), next(steps)
            assert outbox.due_destinations(session, uid, now) == {"pacs"}
            parcels = outbox.take_due(session, uid, "pacs", bench.settings)
            assert outbox.offer(session, uid, parcels) == parcels
            assert len(outbox.note_sent(session, parcels, 0, "", now, commitment=False)) == len(parcels) > 1
            found = next(steps) - before
        engine.dispose()
        return found

    alone = work(sqlite_url, tmp_path / "alone")
    assert work(full_url, tmp_path / "among many") <= MOST_GROWTH * alone + 5, "fifty instructions are one"


def filled_copy(sqlite_url: str, folder: Path) -> str:
    """Return the address of a copy of the database that has 2,000 studies more."""
    shutil.copy(make_url(sqlite_url).database or "", folder / "full.db")
    url = f"sqlite:///{folder / 'full.db'}"
    engine = open_engine(url)
    fill(engine, 2000)
    engine.dispose()
    return url


def counted(url: str) -> tuple[Engine, Iterator[int]]:
    """Return an engine whose SQLite draws one number for every fifty of its instructions."""
    engine, steps = open_engine(url), itertools.count()
    event.listen(engine, "connect", lambda connection, _: connection.set_progress_handler(lambda: next(steps) < 0, 50))
    return engine, steps


def test_one_more_image_costs_the_same_number_of_statements_each_time(bench: Bench) -> None:
    def cost(images: int) -> int:
        first = chest_radiograph()
        uid = str(first.StudyInstanceUID)
        series = [first, *(chest_radiograph(StudyInstanceUID=uid) for _ in range(images - 1))]
        with statements(bench) as sent:
            bench.triage(*series)
        return len(sent)

    cost(1)
    one, two, three, four = (cost(images) for images in (1, 2, 3, 4))
    assert one < two and two - one == three - two == four - three


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_time_and_memory_of_a_study_stay_as_they_are(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(STEP):
        bench.triage(chest_radiograph())
    medians, sizes, done = {}, {}, STEP
    for step in STEPS:
        seconds = []
        for number in range(step * STEP):
            if number % STUDIES_ON_DISK == 0:
                throw_files_away(bench.settings)
            image, began = chest_radiograph(), time.process_time()
            assert bench.triage(image).state == "triaged"
            seconds.append(time.process_time() - began)
        done += step * STEP
        gc.collect()
        medians[step], sizes[step] = statistics.median(seconds), resident_bytes()
        with capsys.disabled():
            print(
                f"\n{bench.sessions.kw['bind'].dialect.name} {step}x ({step * STEP} studies, {done} in all):"
                f" median {1e3 * medians[step]:.1f} ms of processor, {sizes[step] >> 20} MiB"
            )
    assert medians[STEPS[-1]] <= MOST_GROWTH * medians[STEPS[0]]
    assert sizes[STEPS[-1]] - sizes[STEPS[0]] <= MOST_GROWN_BYTES


def throw_files_away(settings: Settings) -> None:
    for folder in (settings.results_dir, settings.instances_dir):
        for path in folder.rglob("*.dcm"):
            path.unlink()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
