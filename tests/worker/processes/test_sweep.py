"""The sweeper finds what nobody rang for; exactly one is active; nothing it meets ends it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from arrivals import received
from factories import chest_radiograph
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from study_rows import add_triaged_study

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.intake import Intake
from worker.processes import sweep
from worker.processes.failed_steps import SAY_AGAIN_SECONDS
from worker.processes.lost_rings import deliveries_to_ring
from worker.processes.ringing import Bells
from worker.processes.sweep import CLEANING_INTERVAL_SECONDS, Sweeper
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.orphans import ORPHAN_AFTER_SECONDS
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event, ServiceLease
from worker.rows.states import DeliveryState, RunState, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings


class Rung:
    """Two bells that remember, and queues that lose every message at once."""

    def __init__(self) -> None:
        self.triage: list[tuple[str, str]] = []
        self.delivery: list[str] = []

    @property
    def bells(self) -> Bells:
        return Bells(lambda uid, queue: self.triage.append((uid, queue)), self.delivery.append, lambda _queue: 0)


@pytest.fixture
def rung() -> Rung:
    return Rung()


@pytest.fixture
def store(settings: Settings) -> InstanceStore:
    return InstanceStore(settings.instances_dir)


@pytest.fixture
def sweeper(settings: Settings, sessions: SessionFactory, store: InstanceStore, rung: Rung) -> Sweeper:
    return Sweeper(settings, sessions, store, rung.bells, "sweeper-1")


@pytest.fixture
def study_instance_uid(settings: Settings, sessions: SessionFactory, store: InstanceStore) -> str:
    """A study with one candidate, received over an association that never closed, and due by now."""
    dataset = chest_radiograph()
    Intake(settings, sessions, store, lambda *_: None).receive(received(dataset))
    uid = str(dataset.StudyInstanceUID)
    change(sessions, Study, due_at=timedelta(seconds=-1))
    return uid


def change(sessions: SessionFactory, table: type, **shifts: timedelta) -> None:
    """Set times of every row of the table relative to the database's now."""
    with sessions.begin() as session:
        now = database_now(session)
        session.execute(update(table).values({name: now + shift for name, shift in shifts.items()}))


def the_run(sessions: SessionFactory) -> Run:
    with sessions() as session:
        return session.scalars(select(Run)).one()


def test_a_due_study_is_queued_and_rung_for(sweeper: Sweeper, rung: Rung, study_instance_uid: str) -> None:
    sweeper.sweep()
    assert rung.triage == [(study_instance_uid, "routine")]
    sweeper.sweep()
    assert len(rung.triage) == 1


def test_a_message_that_was_lost_is_rung_again_and_not_every_turn(
    sweeper: Sweeper, rung: Rung, sessions: SessionFactory, settings: Settings, study_instance_uid: str
) -> None:
    sweeper.sweep()
    change(sessions, Run, rung_at=timedelta(seconds=-settings.ring_again_seconds - 1))
    sweeper.sweep()
    sweeper.sweep()
    assert rung.triage == [(study_instance_uid, "routine")] * 2


def test_a_run_of_a_worker_that_died_is_rung_for_and_can_be_claimed(
    sweeper: Sweeper, rung: Rung, sessions: SessionFactory, settings: Settings, study_instance_uid: str
) -> None:
    sweeper.sweep()
    with sessions.begin() as session:
        assert claim_run(session, study_instance_uid, "dead", settings) is not None
    sweeper.sweep()
    assert len(rung.triage) == 1
    change(sessions, Run, lease_until=timedelta(seconds=-1), rung_at=timedelta(seconds=-5))
    sweeper.sweep()
    sweeper.sweep()
    assert len(rung.triage) == 2
    with sessions.begin() as session:
        claim = claim_run(session, study_instance_uid, "next", settings)
    assert claim is not None
    assert claim.attempts == 2


def test_a_run_without_attempts_left_fails_visibly_even_when_no_worker_is_there(
    sweeper: Sweeper, sessions: SessionFactory, settings: Settings, study_instance_uid: str
) -> None:
    sweeper.sweep()
    with sessions.begin() as session:
        session.execute(update(Run).values(attempts=settings.maximum_attempts, state=RunState.RUNNING))
    change(sessions, Run, lease_until=timedelta(seconds=-1))
    sweeper.sweep()
    assert the_run(sessions).state == RunState.FAILED
    with sessions() as session:
        study = session.get_one(Study, study_instance_uid)
        assert (study.state, study.reason_code) == (StudyState.FAILED, "poison")


def add_delivery(sessions: SessionFactory, study_instance_uid: str) -> None:
    with sessions.begin() as session:
        now = database_now(session)
        run = session.scalars(select(Run).where(Run.study_instance_uid == study_instance_uid)).one()
        result = Result(
            run_id=run.id,
            kind="structured_report",
            sop_class_uid="1",
            sop_instance_uid="1",
            series_instance_uid="1",
            path="",
            bytes=1,
            sha256="",
            created_at=now,
        )
        result.deliveries = [Delivery(destination="a", next_attempt_at=now + timedelta(hours=1))]
        session.add(result)


def test_a_delivery_is_rung_for_when_it_is_due_and_again_when_nobody_came(
    sweeper: Sweeper, rung: Rung, sessions: SessionFactory, settings: Settings, study_instance_uid: str
) -> None:
    sweeper.sweep()
    add_delivery(sessions, study_instance_uid)
    sweeper.sweep()
    assert rung.delivery == []
    change(sessions, Delivery, next_attempt_at=timedelta(seconds=-1))
    sweeper.sweep()
    sweeper.sweep()
    assert rung.delivery == [study_instance_uid]
    again = timedelta(seconds=-settings.ring_again_seconds - 1)
    change(sessions, Delivery, rung_at=again, next_attempt_at=again * 2)
    sweeper.sweep()
    assert rung.delivery == [study_instance_uid] * 2


def test_a_delivery_in_hand_is_rung_for_only_after_its_lease(
    sweeper: Sweeper, rung: Rung, sessions: SessionFactory, study_instance_uid: str
) -> None:
    sweeper.sweep()
    add_delivery(sessions, study_instance_uid)
    change(sessions, Delivery, next_attempt_at=timedelta(seconds=-1), lease_until=timedelta(hours=1))
    sweeper.sweep()
    assert rung.delivery == []
    change(sessions, Delivery, lease_until=timedelta(seconds=-1))
    sweeper.sweep()
    assert rung.delivery == [study_instance_uid]


def test_a_study_unread_past_the_upper_wait_is_lifted_once(
    sweeper: Sweeper, sessions: SessionFactory, settings: Settings, study_instance_uid: str
) -> None:
    sweeper.sweep()
    with sessions() as session:
        assert session.get_one(Study, study_instance_uid).lifted_at is None
    change(sessions, Study, first_received_at=timedelta(minutes=-settings.upper_wait_minutes - 1))
    sweeper.sweep()
    with sessions() as session:
        lifted_at = session.get_one(Study, study_instance_uid).lifted_at
        order = session.execute(text("SELECT list_order FROM triage_worklist")).scalar()
    assert lifted_at is not None
    assert order == 0
    sweeper.sweep()
    with sessions() as session:
        assert session.get_one(Study, study_instance_uid).lifted_at == lifted_at
        assert len(session.scalars(select(Event).where(Event.kind == "lifted")).all()) == 1
    for state in (StudyState.RECEIVING, StudyState.TRIAGING, StudyState.TRIAGED):
        with sessions.begin() as session:
            session.execute(update(Study).values(state=state, lifted_at=None, due_at=None))
        sweeper.sweep()
        with sessions() as session:
            assert session.get_one(Study, study_instance_uid).lifted_at is not None, state


def test_after_an_outage_the_most_urgent_deliveries_are_rung_for_first(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        waiting = [
            add_triaged_study(session, seen, delivery_state=DeliveryState.PENDING).study_instance_uid
            for seen in ({"Mass": 0.1}, {"Mass": 0.9}, {"Pneumothorax": 0.9})
        ]
    with sessions.begin() as session:
        assert deliveries_to_ring(session, settings) == waiting[::-1]


@pytest.mark.parametrize("column", ["read_at", "historical", "state"])
def test_what_was_read_or_is_old_or_out_of_scope_is_not_lifted(
    sweeper: Sweeper, sessions: SessionFactory, study_instance_uid: str, column: str
) -> None:
    value = {"read_at": datetime.now(UTC), "historical": True, "state": StudyState.OUT_OF_SCOPE}[column]
    with sessions.begin() as session:
        old = database_now(session) - timedelta(days=1)
        session.execute(update(Study).values({column: value, "first_received_at": old, "due_at": None}))
    sweeper.sweep()
    with sessions() as session:
        assert session.get_one(Study, study_instance_uid).lifted_at is None


def test_exactly_one_sweeper_is_active_and_the_other_takes_over_when_its_lease_lapses(
    settings: Settings, sessions: SessionFactory, store: InstanceStore, rung: Rung, sweeper: Sweeper
) -> None:
    second = Sweeper(settings, sessions, store, rung.bells, "sweeper-2")
    assert [sweeper.take_turn(), second.take_turn(), sweeper.take_turn()] == [True, False, True]
    change(sessions, ServiceLease, lease_until=timedelta(seconds=-1))
    assert [second.take_turn(), sweeper.take_turn()] == [True, False]


def test_of_two_sweepers_that_start_at_once_one_is_active(
    settings: Settings, sessions: SessionFactory, store: InstanceStore, rung: Rung
) -> None:
    together = threading.Barrier(4)
    active: list[bool] = []

    def start(number: int) -> None:
        one = Sweeper(settings, sessions, store, rung.bells, f"sweeper-{number}")
        together.wait(10)
        active.append(one.take_turn())

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(active) == [False, False, False, True]


def test_a_stopped_sweeper_lets_go_at_once(
    make_settings: Callable[..., Settings], sessions: SessionFactory, store: InstanceStore, rung: Rung
) -> None:
    stopped = threading.Event()
    first = Sweeper(make_settings(sweep_interval_seconds=0.05), sessions, store, rung.bells, "sweeper-1")
    thread = threading.Thread(target=first.run, args=(stopped,))
    thread.start()
    wait_for(lambda: bool(leases(sessions)))
    stopped.set()
    thread.join(20)
    assert leases(sessions) == []


def leases(sessions: SessionFactory) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(ServiceLease.holder)).all())


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_sweeper_outlives_a_database_that_goes_and_comes_back(
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    store: InstanceStore,
    rung: Rung,
    study_instance_uid: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped = threading.Event()
    sweeper = Sweeper(make_settings(sweep_interval_seconds=0.05), sessions, store, rung.bells, "sweeper-1")
    with sessions.begin() as session:
        session.execute(text("ALTER TABLE service_lease RENAME TO away"))
    thread = threading.Thread(target=sweeper.run, args=(stopped,))
    thread.start()
    wait_for(lambda: "a step of the sweeper failed" in caplog.text)
    with sessions.begin() as session:
        session.execute(text("ALTER TABLE away RENAME TO service_lease"))
    wait_for(lambda: bool(rung.triage))
    stopped.set()
    thread.join(20)
    assert rung.triage == [(study_instance_uid, "routine")]


def test_a_study_that_cannot_be_queued_does_not_keep_the_others_waiting(
    sweeper: Sweeper, rung: Rung, sessions: SessionFactory, settings: Settings, store: InstanceStore,
    study_instance_uid: str,
) -> None:  # fmt: skip
    other = chest_radiograph(PatientAge="009Y")
    Intake(settings, sessions, store, lambda *_: None).receive(received(other))
    with sessions.begin() as session:  # a reason code that no version of ours knows
        rows = update(Instance).where(Instance.study_instance_uid == str(other.StudyInstanceUID))
        session.execute(rows.values(reason_code="from_the_future"))
        session.get_one(Study, str(other.StudyInstanceUID)).due_at = database_now(session) - timedelta(hours=1)
    sweeper.sweep()
    assert rung.triage == [(study_instance_uid, "routine")]
    with sessions() as session:
        parked = session.get_one(Study, str(other.StudyInstanceUID)).due_at
        assert parked is not None
        assert parked > database_now(session)


def fails(*_arguments: object) -> None:
    raise NotImplementedError("nobody foresaw this")


def is_away(*_arguments: object) -> None:
    raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))


@pytest.mark.parametrize("failing", ["due_studies", "end_abandoned_runs", "ring_runs", "notes_to_apply"])
def test_a_step_that_fails_each_turn_keeps_none_from_its_turn(
    sweeper: Sweeper, sessions: SessionFactory, settings: Settings, store: InstanceStore, study_instance_uid: str,
    monkeypatch: pytest.MonkeyPatch, failing: str,
) -> None:  # fmt: skip
    sweeper.sweep()
    change(sessions, Study, first_received_at=timedelta(minutes=-settings.upper_wait_minutes - 1))
    monkeypatch.setattr(sweep, failing, fails)
    sweeper.sweep()
    with sessions() as session:
        assert session.get_one(Study, study_instance_uid).lifted_at is not None


def test_a_study_that_can_be_neither_queued_nor_parked_keeps_no_step_from_its_turn(
    sweeper: Sweeper, sessions: SessionFactory, settings: Settings, study_instance_uid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    change(sessions, Study, first_received_at=timedelta(minutes=-settings.upper_wait_minutes - 1))
    monkeypatch.setattr(sweep, "queue_if_due", fails)
    monkeypatch.setattr(sweep, "locked_study", fails)
    sweeper.sweep()
    with sessions() as session:
        assert session.get_one(Study, study_instance_uid).lifted_at is not None


def test_rows_that_cannot_be_forgotten_do_not_keep_files_from_being_cleaned_up(
    sweeper: Sweeper, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = settings.instances_dir / ".incoming" / "x.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half")
    make_old(partial)
    monkeypatch.setattr(sweep, "forget_dead_processes", fails)
    sweeper.sweep()
    assert not partial.exists()


@pytest.mark.parametrize(("failure", "stack"), [(fails, True), (is_away, False)])
def test_a_step_that_goes_on_failing_is_told_once_in_a_while_and_with_its_stack_only_where_nobody_foresaw_it(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    failure: Callable[..., None], stack: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(sweep, "lift_overdue", failure)
    for _turn in range(3):
        sweeper.sweep()
    (line,) = [record for record in caplog.records if "lifting overdue studies" in record.getMessage()]
    assert bool(line.exc_info) is stack
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + SAY_AGAIN_SECONDS)
    sweeper.sweep()
    assert caplog.text.count("lifting overdue studies") == 2


def test_a_turn_ends_where_not_even_the_lease_can_be_renewed(
    sweeper: Sweeper, rung: Rung, study_instance_uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step would wait for the database that is away, and another sweeper take over meanwhile."""
    tried: list[str] = []
    monkeypatch.setattr(sweep, "due_studies", is_away)
    monkeypatch.setattr(sweep, "take_service", is_away)
    monkeypatch.setattr(sweep, "ring_runs", lambda *_: tried.append("ring_runs"))
    with pytest.raises(OperationalError):
        sweeper.sweep()
    assert tried == []


def make_old(path: Path) -> None:
    before = time.time() - 2 * ORPHAN_AFTER_SECONDS
    os.utime(path, (before, before))


def test_old_results_of_an_attempt_that_died_are_removed_and_no_others(
    sessions: SessionFactory, sweeper: Sweeper, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = InstanceStore(settings.results_dir)
    with sessions.begin() as session:
        study = add_triaged_study(session, {})
        result = session.scalars(select(Result)).first()
        assert result is not None
        result.path = results.write(study.study_instance_uid, result.sop_instance_uid, [b"kept"]).path
        named = (study.study_instance_uid, result.sop_instance_uid)
        kept = results.open_path(result.path)
    report, young = (results.open_path(results.write(*named, [content]).path) for content in (b"died", b"young"))
    message = results.open_path(results.write(*named, [b"died"], suffix=".hl7").path)
    partial = settings.results_dir / ".incoming" / "x.part"
    partial.write_bytes(b"half")
    for path in (kept, report, message, partial):
        make_old(path)
    clean_twice(sweeper, monkeypatch)
    assert [path.exists() for path in (kept, report, message, young, partial)] == [True, False, False, True, False]


def clean_twice(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first turn clean up, and one after the time between two cleanings."""
    sweeper.take_turn()
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + CLEANING_INTERVAL_SECONDS)
    sweeper.take_turn()


def test_the_first_turns_that_clean_up_remove_what_a_killed_listener_left(
    sweeper: Sweeper, store: InstanceStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = settings.instances_dir / ".incoming" / "x.part"
    orphan = store.open_path(store.write("1.2.3", "1.2.3.4", [b"left behind"]).path)
    partial.write_bytes(b"half")
    make_old(partial)
    make_old(orphan)
    clean_twice(sweeper, monkeypatch)
    assert not partial.exists()
    assert not orphan.exists()
