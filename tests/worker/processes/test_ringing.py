"""Messages do not pile up while nobody takes them, and are rung for again when the broker has lost them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from arrivals import received
from factories import chest_radiograph
from kombu import pools
from services import free_port
from sites import QUICK, SWEEP, Site, wait_until
from sqlalchemy import select, update
from study_rows import add_triaged_study

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.intake import Intake
from worker.processes.ringing import Bells
from worker.processes.sweep import Sweeper
from worker.processes.tasks import ring_delivery, ring_triage
from worker.queue.celery_app import app, configure, message_folder
from worker.queue.waiting import messages_waiting
from worker.rows.database import SessionFactory, database_now, open_engine, session_factory
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.run_tables import Run
from worker.rows.states import DeliveryState
from worker.settings.config import Settings

STUDIES = 4
ROUNDS = 6


@pytest.fixture(params=["filesystem", "redis"])
def settings(
    request: pytest.FixtureRequest, make_settings: Callable[..., Settings], sqlite_url: str
) -> Iterator[Settings]:
    """Settings with an empty broker of each kind."""
    broker = {} if request.param == "filesystem" else {"broker_url": request.getfixturevalue("redis_url")}
    made = make_settings(database_url=sqlite_url, **broker)
    configure(made)
    flush()
    yield made
    flush()
    pools.reset()


@pytest.fixture
def sessions(settings: Settings) -> Iterator[SessionFactory]:
    engine = open_engine(settings.effective_database_url)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture
def sweeper(settings: Settings, sessions: SessionFactory) -> Sweeper:
    bells = Bells(ring_triage, ring_delivery, messages_waiting)
    return Sweeper(settings, sessions, InstanceStore(settings.instances_dir), bells, "sweeper-1")


def flush() -> None:
    """Take every message away, as a broker that lost its memory."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        for queue in ("stat", "routine", "delivery"):
            channel.queue_purge(queue)


def receive_studies(settings: Settings, sessions: SessionFactory) -> list[str]:
    """Receive studies whose runs are queued and rung for."""
    intake = Intake(settings, sessions, InstanceStore(settings.instances_dir), ring_triage)
    datasets = [chest_radiograph() for _ in range(STUDIES)]
    for dataset in datasets:
        intake.receive(received(dataset))
        intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=False)
    return [str(dataset.StudyInstanceUID) for dataset in datasets]


def let_time_pass(sessions: SessionFactory, settings: Settings, table: type) -> None:
    """Have everything of the table been rung for longer ago than ``ring_again_seconds``."""
    with sessions.begin() as session:
        before = database_now(session) - timedelta(seconds=settings.ring_again_seconds + 1)
        session.execute(update(table).values(rung_at=before))


def test_messages_do_not_pile_up_while_no_worker_runs(
    sweeper: Sweeper, settings: Settings, sessions: SessionFactory
) -> None:
    receive_studies(settings, sessions)
    assert messages_waiting("routine") == STUDIES
    for _ in range(ROUNDS):
        let_time_pass(sessions, settings, Run)
        sweeper.sweep()
    assert messages_waiting("routine") == STUDIES


def test_a_flushed_broker_is_rung_again_once(sweeper: Sweeper, settings: Settings, sessions: SessionFactory) -> None:
    receive_studies(settings, sessions)
    flush()
    assert messages_waiting("routine") == 0
    for _ in range(ROUNDS):
        let_time_pass(sessions, settings, Run)
        sweeper.sweep()
    assert messages_waiting("routine") == STUDIES


def test_one_lost_message_among_many_is_rung_for(
    sweeper: Sweeper, settings: Settings, sessions: SessionFactory
) -> None:
    lost, *_others = receive_studies(settings, sessions)
    with sessions.begin() as session:
        assert claim_run(session, lost, "dies at once", settings) is not None
        session.execute(
            update(Run)
            .where(Run.study_instance_uid == lost)
            .values(lease_until=database_now(session) - timedelta(seconds=1))
        )
    flush()
    for study in _others:
        ring_triage(study, "routine")
    for _ in range(ROUNDS):
        let_time_pass(sessions, settings, Run)
        sweeper.sweep()
    waiting = messages_waiting("routine")
    assert waiting is not None
    assert STUDIES <= waiting < 2 * STUDIES


def test_messages_do_not_pile_up_while_no_delivery_worker_runs(
    sweeper: Sweeper, settings: Settings, sessions: SessionFactory
) -> None:
    with sessions.begin() as session:
        for _ in range(STUDIES):
            add_triaged_study(session, {"Effusion": 0.9}, delivery_state=DeliveryState.PENDING)
        due = len(session.scalars(select(Delivery)).all())
    assert due >= STUDIES
    for _ in range(ROUNDS):
        let_time_pass(sessions, settings, Delivery)
        sweeper.sweep()
    waiting = messages_waiting("delivery")
    assert waiting is not None
    assert STUDIES <= waiting < 2 * due


def test_a_broker_that_does_not_answer_is_not_asked_to_ring(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    configure(make_settings(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert messages_waiting("routine") is None
    assert "cannot look into the queue routine" in caplog.text
    pools.reset()


def test_a_sweep_does_not_wait_for_a_broker_that_stands_still(
    make_settings: Callable[..., Settings], sqlite_url: str, silent_broker_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=sqlite_url, broker_url=silent_broker_url, **QUICK)
    engine = open_engine(sqlite_url)
    sessions = session_factory(engine)
    intake = Intake(settings, sessions, InstanceStore(settings.instances_dir), lambda *_: None)
    for _ in range(STUDIES):
        dataset = chest_radiograph()
        intake.receive(received(dataset))
        intake.association_closed({str(dataset.StudyInstanceUID)}, aborted=True)
    site = Site(settings, tmp_path / "log.txt")
    try:
        site.start(SWEEP)
        wait_until(lambda: runs_in(sessions) == STUDIES, "all are queued", seconds=20)
    finally:
        site.stop()
        engine.dispose()


def runs_in(sessions: SessionFactory) -> int:
    with sessions() as session:
        return len(session.scalars(select(Run.id)).all())


def test_the_sweeper_removes_half_written_messages_after_some_minutes(
    make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    settings = make_settings(database_url=sqlite_url)
    configure(settings)
    ring_triage("1.2.3", "routine")
    folder = message_folder(settings)
    assert folder is not None
    (message,) = folder.iterdir()
    old, taken, young = (folder / name for name in ("1_a.tmp", "2_b.routine.msg.taken", "3_c.tmp"))
    for file in (old, taken, young):
        file.write_text("{")
    for file in (old, taken, message):
        os.utime(file, (time.time() - 3000, time.time() - 3000))
    engine = open_engine(sqlite_url)
    bells = Bells(ring_triage, ring_delivery, messages_waiting)
    Sweeper(settings, session_factory(engine), InstanceStore(settings.instances_dir), bells, "sweeper-1").sweep()
    engine.dispose()
    assert set(folder.iterdir()) == {message, young}


def test_a_message_is_taken_once_and_leaves_nothing_behind(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    configure(settings)
    for number in range(3):
        ring_triage(f"1.2.{number}", "routine")
    folder = message_folder(settings)
    assert folder is not None
    with app.connection_for_read() as connection, connection.channel() as channel:
        taken = [channel._get("routine") for _ in range(3)]
    assert len({str(message) for message in taken}) == 3
    assert list(folder.iterdir()) == []
