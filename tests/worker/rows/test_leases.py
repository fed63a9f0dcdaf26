"""Claims, leases and fencing tokens with real threads and real databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from worker.foundation.errors import LeaseLost
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import Claim, LeaseKeeper, claim_run, renew
from worker.rows.outcome import RunVerdict, fail_run, finish_run
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, Priority, RunState, StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

UID = "1.2.826.0.1"
STAT = RunVerdict(StudyState.TRIAGED, Priority.STAT, 0.9, "Pneumothorax 93%", model_version="1.0.0+weights.abc")
ROUTINE = RunVerdict(StudyState.TRIAGED, Priority.ROUTINE, 0.1, "nothing above its threshold")


@pytest.fixture
def fast(make_settings: Callable[..., Settings]) -> Settings:
    """Settings with a lease short enough to wait for."""
    return make_settings(lease_seconds=0.6, lease_renewal_seconds=0.1)


def add_study(sessions: SessionFactory, uid: str = UID, runs: int = 1) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.add(Study(study_instance_uid=uid, first_received_at=now, last_received_at=now, state=StudyState.QUEUED))
        session.flush()
        for number in range(1, runs + 1):
            session.add(Run(study_instance_uid=uid, run_number=number, bundle=f"bundle-{number}", queued_at=now))


def add_run(sessions: SessionFactory, number: int) -> None:
    with sessions.begin() as session:
        session.add(Run(study_instance_uid=UID, run_number=number, queued_at=datetime.now(UTC)))


def claim(sessions: SessionFactory, settings: Settings, worker: str = "w1", uid: str = UID) -> Claim | None:
    with sessions.begin() as session:
        return claim_run(session, uid, worker, settings)


def claimed(sessions: SessionFactory, settings: Settings, worker: str = "w1", uid: str = UID) -> Claim:
    made = claim(sessions, settings, worker, uid)
    assert made is not None
    return made


def let_lease_lapse(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        session.execute(update(Run).values(lease_until=database_now(session) - timedelta(seconds=1)))


def test_a_queued_run_is_claimed_on_the_databases_clock(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, settings)
    with sessions() as session:
        run, now = session.get_one(Run, made.run_id), database_now(session)
        assert (run.state, run.attempts, run.fencing_token, run.worker_name) == ("running", 1, 1, "w1")
        assert run.lease_until is not None
        assert timedelta(seconds=15) < run.lease_until - now <= timedelta(seconds=settings.lease_seconds)
        assert session.get_one(Study, UID).state == StudyState.TRIAGING


def test_a_claimed_run_cannot_be_claimed_again(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    claimed(sessions, settings)
    assert claim(sessions, settings, "w2") is None


def test_a_study_without_a_run_or_unknown_gives_nothing_to_claim(sessions: SessionFactory, settings: Settings) -> None:
    assert claim(sessions, settings) is None
    add_study(sessions, runs=0)
    assert claim(sessions, settings) is None


def test_a_held_study_gives_nothing_to_claim(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    with sessions.begin() as session:
        session.get_one(Study, UID).state = StudyState.HELD
    assert claim(sessions, settings) is None


def test_of_many_workers_that_reach_for_a_run_exactly_one_gets_it(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    together = threading.Barrier(8)

    def reach(number: int) -> Claim | None:
        together.wait(10)
        return claim(sessions, settings, f"w{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = [made for made in pool.map(reach, range(8)) if made is not None]
    assert len(claims) == 1
    with sessions() as session:
        run = session.get_one(Run, claims[0].run_id)
        assert (run.attempts, run.fencing_token, run.worker_name) == (1, 1, claims[0].worker_name)


def test_of_many_workers_that_reach_for_an_abandoned_run_exactly_one_gets_it(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    claimed(sessions, settings, "dead")
    let_lease_lapse(sessions)
    together = threading.Barrier(8)

    def reach(number: int) -> Claim | None:
        together.wait(10)
        return claim(sessions, settings, f"w{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = [made for made in pool.map(reach, range(8)) if made is not None]
    assert [(made.attempts, made.fencing_token) for made in claims] == [(2, 2)]


def test_the_events_tell_from_whom_a_run_was_taken_and_that_the_lease_was_over(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    claimed(sessions, settings, "dead")
    let_lease_lapse(sessions)
    with sessions() as session:
        lapsed = session.scalars(select(Run.lease_until)).one()
    claimed(sessions, settings, "w2")
    with sessions() as session:
        first, second = session.scalars(select(Event).where(Event.kind == "claimed").order_by(Event.id)).all()
    assert "taken_from" not in first.details
    assert lapsed is not None
    assert (second.details["taken_from"], second.details["lease_until"]) == ("dead", lapsed.isoformat())
    assert lapsed < second.at


def test_the_first_worker_of_a_run_claimed_twice_can_write_nothing_more(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    slow = claimed(sessions, settings, "slow")
    let_lease_lapse(sessions)
    quick = claimed(sessions, settings, "quick")
    with pytest.raises(LeaseLost), sessions.begin() as session:
        finish_run(session, slow, STAT)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        fail_run(session, slow, "undecodable", "x", retryable=False, settings=settings)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        renew(session, slow, settings)
    with sessions.begin() as session:
        finish_run(session, quick, ROUTINE)
    with sessions() as session:
        assert session.get_one(Study, UID).priority == Priority.ROUTINE
        assert session.get_one(Run, quick.run_id).worker_name == "quick"


def test_a_lease_lapses_when_nobody_renews_it(sessions: SessionFactory, fast: Settings) -> None:
    add_study(sessions)
    claimed(sessions, fast)
    assert claim(sessions, fast, "w2") is None
    time.sleep(0.8)
    assert claimed(sessions, fast, "w2").fencing_token == 2


def test_renewing_one_lease_keeps_no_other(sessions: SessionFactory, settings: Settings) -> None:
    """Else the run of a worker that died would stay with it for as long as others work."""
    other = "1.2.826.0.2"
    add_study(sessions)
    add_study(sessions, other)
    made, died = claimed(sessions, settings), claimed(sessions, settings, uid=other)
    assert made.fencing_token == died.fencing_token
    let_lease_lapse(sessions)
    with sessions.begin() as session:
        renew(session, made, settings)
    assert claim(sessions, settings, "w2") is None
    assert claimed(sessions, settings, "w2", other).run_id == died.run_id


def test_a_kept_lease_outlives_its_first_term(sessions: SessionFactory, fast: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, fast)
    with LeaseKeeper(sessions, made, fast) as lease:
        time.sleep(0.9)  # half a term more than one
        assert claim(sessions, fast, "w2") is None
        assert not lease.lost
        lease.require()
    threads = [thread.name for thread in threading.enumerate()]
    assert f"lease-{made.run_id}" not in threads


def test_the_keeper_notices_that_the_run_was_taken(sessions: SessionFactory, fast: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, fast)
    with LeaseKeeper(sessions, made, fast) as lease:
        with sessions.begin() as session:
            session.execute(update(Run).values(fencing_token=Run.fencing_token + 1))
        deadline = time.monotonic() + 5
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(LeaseLost):
            lease.require()


def test_a_database_that_is_gone_for_a_whole_lease_loses_it(sessions: SessionFactory, fast: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, fast)
    with LeaseKeeper(sessions, made, fast) as lease:
        with sessions.begin() as session:
            session.execute(text("ALTER TABLE run RENAME TO away"))
        deadline = time.monotonic() + 10
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lease.lost


def test_attempts_are_counted_before_the_work_and_a_killer_study_ends_visibly(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    for attempt in range(1, settings.maximum_attempts + 1):
        assert claimed(sessions, settings).attempts == attempt
        let_lease_lapse(sessions)
    assert claim(sessions, settings) is None
    with sessions() as session:
        study = session.get_one(Study, UID)
        assert (study.state, study.reason_code, study.priority) == (StudyState.FAILED, "poison", None)
        assert "3 starts" in (study.reason or "")
        assert session.scalars(select(Run.state)).all() == [RunState.FAILED]
        assert session.scalars(select(Event.kind).order_by(Event.id)).all() == ["claimed"] * 3 + ["failed"]


def test_a_retryable_failure_is_queued_again_until_the_attempts_are_used_up(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    outcomes = []
    for _ in range(settings.maximum_attempts):
        made = claimed(sessions, settings)
        with sessions.begin() as session:
            outcomes.append(fail_run(session, made, "file_missing", "x", retryable=True, settings=settings))
    assert outcomes == [True, True, False]
    with sessions() as session:
        study = session.get_one(Study, UID)
        assert (study.state, study.reason_code, study.reason) == (StudyState.FAILED, "file_missing", "x")


def test_a_permanent_failure_fails_at_once(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, settings)
    with sessions.begin() as session:
        assert not fail_run(session, made, "bundle", "x", retryable=False, settings=settings)
    assert claim(sessions, settings) is None


def test_a_finished_run_becomes_the_current_one_and_supersedes_what_was_not_sent(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    first = claimed(sessions, settings)
    with sessions.begin() as session:
        add_result(session.get_one(Run, first.run_id))
        finish_run(session, first, ROUTINE)
    add_run(sessions, 2)
    second = claimed(sessions, settings)
    with sessions.begin() as session:
        finish_run(session, second, STAT)
    with sessions() as session:
        study = session.get_one(Study, UID)
        assert (study.current_run_id, study.priority, study.state) == (second.run_id, "STAT", "triaged")
        assert study.flagged_at is not None
        assert session.scalars(select(Run.state).order_by(Run.id)).all() == ["superseded", "done"]
        deliveries = session.scalars(select(Delivery.state).order_by(Delivery.id)).all()
        assert deliveries == [DeliveryState.SENT, DeliveryState.SUPERSEDED]


def add_result(run: Run) -> None:
    """Give the run one result that one destination has and another has not."""
    result = Result(
        kind="structured_report",
        sop_class_uid="1",
        sop_instance_uid="1",
        series_instance_uid="1",
        path="",
        bytes=1,
        sha256="",
        created_at=datetime.now(UTC),
    )
    result.deliveries = [
        Delivery(destination="a", state=DeliveryState.SENT),
        Delivery(destination="b", state=DeliveryState.PENDING),
    ]
    run.results = [result]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (STAT, ROUTINE, ("STAT", 0.9)),
        (ROUTINE, STAT, ("STAT", 0.9)),
        (ROUTINE, ROUTINE, ("ROUTINE", 0.1)),
        (STAT, replace(STAT, priority_rank=0.95), ("STAT", 0.95)),
        (STAT, replace(STAT, priority_rank=0.85), ("STAT", 0.9)),
    ],
)
def test_a_later_run_never_lowers_the_priority(
    sessions: SessionFactory, settings: Settings, first: RunVerdict, second: RunVerdict, kept: tuple[str, float]
) -> None:
    add_study(sessions)
    flagged_at = []
    for number, verdict in ((1, first), (2, second)):
        if number > 1:
            add_run(sessions, number)
        made = claimed(sessions, settings)
        with sessions.begin() as session:
            flagged_at.append(finish_run(session, made, verdict).flagged_at)
    with sessions() as session:
        study = session.get_one(Study, UID)
        assert (study.priority, study.priority_rank) == kept
    assert flagged_at[0] in (None, flagged_at[1]), "since the first time"


def test_a_historical_study_is_never_flagged(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    made = claimed(sessions, settings)
    with sessions.begin() as session:
        finish_run(session, made, RunVerdict(StudyState.TRIAGED, Priority.STAT, 0.9, "x", historical=True))
    with sessions() as session:
        assert session.get_one(Study, UID).flagged_at is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome": StudyState.TRIAGED},
        {"outcome": StudyState.NOT_ANALYSED, "priority": Priority.ROUTINE},
        {"outcome": StudyState.NOT_ANALYSED},
        {"outcome": StudyState.HELD, "reason_code": "x"},
    ],
)
def test_a_verdict_that_could_look_like_nothing_found_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"verdict|end"):
        RunVerdict(**wrong)  # type: ignore[arg-type]
