"""The sweeper finds what nobody rang for; exactly one is active; nothing it meets ends it."""

from __future__ import annotations

import errno
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
from study_rows import add_triaged_study

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.intake import Intake
from worker.processes.lost_rings import deliveries_to_ring
from worker.processes.ringing import Bells
from worker.processes.sweep import Sweeper
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.orphans import ORPHAN_AFTER_SECONDS, remove_orphans
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


def make_old(path: Path) -> None:
    before = time.time() - 2 * ORPHAN_AFTER_SECONDS
    os.utime(path, (before, before))


def test_old_files_without_a_row_are_removed_and_no_others(
    sessions: SessionFactory, store: InstanceStore, study_instance_uid: str
) -> None:
    with sessions() as session:
        known = store.open_path(session.scalars(select(Instance.path)).one())
    orphan = store.open_path(store.write("1.2.3", "1.2.3.4", [b"left behind"]).path)
    young = store.open_path(store.write("1.2.3", "1.2.3.5", [b"on its way"]).path)
    beside = store.open_path(store.write(study_instance_uid, "1.2.3.6", [b"left behind"]).path)
    for path in (known, orphan, beside):
        make_old(path)
    assert remove_orphans(store, sessions, Instance) == 2
    assert [path.exists() for path in (known, orphan, young, beside)] == [True, False, True, False]


def test_files_are_as_old_as_the_clock_that_stamped_them_says(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share's server may be hours behind; what is being stored now would go before its row is there."""
    young = store.open_path(store.write("1.2.3", "1.2.3.4", [b"on its way"]).path)
    partial = store.root / ".incoming" / "x.part"
    partial.write_bytes(b"on its way")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 2 * ORPHAN_AFTER_SECONDS)
    assert remove_orphans(store, sessions, Instance) == 0
    assert store.remove_partial_files() == 0
    assert (young.exists(), partial.exists()) == (True, True)


def test_old_results_of_an_attempt_that_died_are_removed_and_no_others(
    sessions: SessionFactory, sweeper: Sweeper, settings: Settings
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
    sweeper.take_turn()
    assert [path.exists() for path in (kept, report, message, young, partial)] == [True, False, False, True, False]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_a_killed_sweeper_had_set_aside_is_put_back_and_judged_again(
    sessions: SessionFactory,
    store: InstanceStore,
    study_instance_uid: str,
    links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether or not the file system has second names for files (exFAT has none, nor have some shares)."""

    def refuse(*_paths: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with sessions() as session:
        known = store.open_path(session.scalars(select(Instance.path)).one())
    known.rename(known.with_name(f"{known.name}.orphan"))
    assert remove_orphans(store, sessions, Instance) == 0
    assert known.exists()


def test_a_file_renewed_while_it_was_judged_is_kept(
    sessions: SessionFactory, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = received(chest_radiograph())
    chunks = arrived.chunks
    path = store.open_path(store.write(arrived.study_instance_uid, arrived.sop_instance_uid, chunks).path)
    make_old(path)
    rename = Path.rename

    def rename_after_a_repeated_send(self: Path, target: Path) -> Path:
        if self == path:
            store.write(arrived.study_instance_uid, arrived.sop_instance_uid, chunks)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_after_a_repeated_send)
    assert remove_orphans(store, sessions, Instance) == 0
    assert path.read_bytes() == b"".join(chunks)


def test_the_first_turn_cleans_up_what_a_killed_listener_left(
    sweeper: Sweeper, store: InstanceStore, settings: Settings
) -> None:
    partial = settings.instances_dir / ".incoming" / "x.part"
    orphan = store.open_path(store.write("1.2.3", "1.2.3.4", [b"left behind"]).path)
    partial.write_bytes(b"half")
    make_old(partial)
    make_old(orphan)
    sweeper.take_turn()
    assert not partial.exists()
    assert not orphan.exists()
