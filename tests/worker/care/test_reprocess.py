"""Archived studies analysed again: behind every live one, stopped and resumed anywhere, never announced anew."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from benches import Bench
from bundles import SAYS, write_test_bundle
from factories import chest_radiograph, drawn_chest, write_dicom
from forks import Order, run_command, start_command
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from services import free_port
from sites import QUICK, Site, wait_until
from sqlalchemy import func, insert, select, update
from study_rows import add_instance, add_study, add_triaged_study
from typer.testing import CliRunner

from benchmarks.process_tree import descendants
from worker.arrival.completion import queue_run
from worker.care.administration import mark_read
from worker.care.reprocessing import (
    Listed,
    ReprocessingRefused,
    Wanted,
    count_studies,
    give_up,
    list_studies,
    order,
    require_possible,
)
from worker.cli import app
from worker.figures.backfills import backfill_figures, not_done
from worker.figures.measures import measures
from worker.figures.overview import read_overview
from worker.processes.backfill import backfill_processes, is_over
from worker.processes.lost_rings import abandoned_runs_to_ring, give_up_used_up_runs
from worker.processes.up import settings_environment
from worker.rows.backfills import end_abandoned_runs, take_next
from worker.rows.database import SessionFactory, database_now, open_engine, session_factory
from worker.rows.delivery_tables import Delivery, Notification
from worker.rows.leases import claim_run
from worker.rows.migrate import upgrade
from worker.rows.run_tables import Backfill, BackfillStudy, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, RunState, RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.runs.reprocessing import reprocess_next
from worker.runs.triage import triage
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

OTHER = {**SAYS, "Pneumothorax": 0.30, "Mass": 0.88}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ALL = Wanted(LONG_AGO)
WITH_CANDIDATE = Wanted(LONG_AGO, bundle="candidate")
MONTHS_OLD = {"StudyDate": "20250102"}


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    write_test_bundle(tmp_path / "candidate", OTHER, version="0.0.2")
    settings = make_settings(
        bundles={"default": tmp_path / "bundle", "candidate": tmp_path / "candidate"},
        accept_unknown_sources=True,
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9}],
        webhooks=[{"name": "phones", "url": "http://127.0.0.1:9/"}],
    )
    return Bench(settings, sessions)


def listed(writing: SessionFactory, backfill_id: int, stopped: Callable[[], bool] = lambda: False) -> Listed:
    return list_studies(session_factory(writing.kw["bind"], read_only=True), writing, backfill_id, stopped)


def ordered(bench: Bench, wanted: Wanted = ALL) -> int:
    with bench.sessions.begin() as session:
        backfill, _new = order(session, wanted, "anna")
    listed(bench.sessions, backfill.id)
    return backfill.id


def states(bench: Bench, backfill_id: int) -> dict[str, str]:
    with bench.sessions() as session:
        query = select(BackfillStudy.study_instance_uid, BackfillStudy.state)
        return dict(session.execute(query.where(BackfillStudy.backfill_id == backfill_id)).all())


def all_sent(bench: Bench) -> None:
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT))


def archived(bench: Bench, **keywords: object) -> str:
    """Analyse a study and have its results delivered."""
    uid = bench.triage(chest_radiograph(**keywords)).study_instance_uid
    all_sent(bench)
    return uid


def test_an_order_lists_what_can_be_analysed_newest_first_and_counts_what_cannot(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        uids = [add_triaged_study(session, {"Mass": 0.9}, minutes_ago=age).study_instance_uid for age in (3, 1, 2)]
        gone = add_triaged_study(session, {}, minutes_ago=4, calling_ae_title="OTHER")
        session.flush()
        gone.instances[0].deleted_at = gone.first_received_at
        knee = add_study(session, state=StudyState.OUT_OF_SCOPE)
        add_instance(session, knee, disposition="out_of_scope", reason_code="not_chest")
        add_instance(session, add_study(session, state=StudyState.HELD))
        add_instance(session, add_study(session, state=StudyState.QUEUED))
        first, new = order(session, ALL, "anna")
    assert new and listed(sessions, first.id) == Listed(3, 1, 1)
    with sessions.begin() as session:
        rows = session.execute(select(BackfillStudy.study_instance_uid, BackfillStudy.state).order_by(BackfillStudy.id))
        assert rows.all() == [
            (uids[1], "waiting"), (uids[2], "waiting"), (uids[0], "waiting"), (gone.study_instance_uid, "missing")
        ]  # fmt: skip
        assert "deleted" in (not_done(session, first.id, 5)[0].reason or "")
        again, new = order(session, ALL, "bert")
        assert (again.id, new) == (first.id, False), "the same words go on"
        narrowed = [order(session, Wanted(LONG_AGO, **words), "anna")[0].id for words in (
            {"source": "OTHER"}, {"finding": "Mass"}, {"finding": "Nodule"}, {"until": LONG_AGO + timedelta(days=1)},
        )]  # fmt: skip
        assert len({first.id, *narrowed}) == 5
    found = [listed(sessions, backfill_id) for backfill_id in narrowed]
    assert [(each.to_do, each.missing) for each in found] == [(0, 1), (3, 0), (0, 0), (0, 0)]
    with sessions() as session:
        ended = session.scalars(select(Backfill.id).where(Backfill.ended_at.is_not(None)))
        assert set(ended) == {narrowed[0], narrowed[2], narrowed[3]}, "there is nothing to do"


def test_listing_goes_on_where_it_was_interrupted(sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.care.reprocessing.STEP_STUDIES", 3)
    with sessions.begin() as session:
        for _ in range(10):  # all at the same moment
            add_triaged_study(session, {}, delivery_state=None)
        backfill, _ = order(session, ALL, "anna")
    answers = iter([False, True])
    assert listed(sessions, backfill.id, lambda: next(answers)).to_do == 3
    assert listed(sessions, backfill.id).to_do == 7
    with sessions() as session:
        assert session.scalar(select(func.count(BackfillStudy.study_instance_uid.distinct()))) == 10


def test_what_cannot_be_ordered_is_refused(bench: Bench) -> None:
    for wanted in (
        Wanted(LONG_AGO, bundle="gone"), Wanted(LONG_AGO, finding="Broken arm"), Wanted(LONG_AGO, until=LONG_AGO)
    ):  # fmt: skip
        with pytest.raises(ReprocessingRefused):
            require_possible(wanted, bench.settings)


def test_an_order_of_a_time_to_come_is_refused_and_not_written(sessions: SessionFactory) -> None:
    ahead = Wanted(datetime.now(UTC) + timedelta(days=1))
    with sessions() as session:
        with pytest.raises(ReprocessingRefused, match="--since lies in the future"):
            order(session, ahead, "anna")
        with pytest.raises(ReprocessingRefused, match="--since lies in the future"):
            count_studies(session, ahead)
        assert session.scalar(select(func.count(Backfill.id))) == 0


def test_two_who_order_the_same_at_once_give_one_order(postgresql_url: str) -> None:
    """On SQLite one writes at a time."""
    engine = open_engine(postgresql_url)
    sessions = session_factory(engine)
    second: list[tuple[int, bool]] = []

    def order_as_well() -> None:
        with sessions.begin() as session:
            backfill, new = order(session, ALL, "bert")
            second.append((backfill.id, new))

    with sessions.begin() as session:
        first, _ = order(session, ALL, "anna")
        other = threading.Thread(target=order_as_well)
        other.start()
        other.join(0.5)  # more than it takes alone: it must be waiting
    other.join(30)
    assert second == [(first.id, False)]
    engine.dispose()


def test_an_order_is_given_up_once_and_one_that_is_none_names_those_under_way(sessions: SessionFactory) -> None:
    narrowed = Wanted(LONG_AGO, LONG_AGO + timedelta(days=1), "candidate", "ROOM 2", "Mass", aside=True)
    with sessions.begin() as session:
        with pytest.raises(ReprocessingRefused, match="no order is under way"):
            give_up(session, ALL, "anna")
        order(session, ALL, "anna")
        order(session, narrowed, "anna")
    with sessions.begin() as session:
        with pytest.raises(ReprocessingRefused) as refused:
            give_up(session, WITH_CANDIDATE, "anna")
        assert "--since 2020-01-01T00:00:00 (backfill 1)" in str(refused.value)
        assert (
            "--since 2020-01-01T00:00:00 --until 2020-01-02T00:00:00 --model candidate --source 'ROOM 2' --finding Mass"
            " --no-delivery (backfill 2)"
        ) in str(refused.value)
    with sessions.begin() as session:
        assert give_up(session, ALL, "anna") == 0
        with pytest.raises(ReprocessingRefused):
            give_up(session, ALL, "bert")
        given_up = session.scalars(select(Event.actor).where(Event.kind == "backfill_given_up")).all()
        assert given_up == ["anna"]


def as_if_received(bench: Bench, instance: Instance, change: Callable[[bytes], bytes]) -> None:
    """Change a stored file as if it had come so."""
    path = bench.workplace.instances.open_path(instance.path)
    path.write_bytes(change(path.read_bytes()))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with bench.sessions.begin() as session:
        session.execute(update(Instance).where(Instance.id == instance.id).values(sha256=sha256))


def test_another_models_word_replaces_the_former_and_nobody_is_told_of_an_old_study(bench: Bench) -> None:
    recent = archived(bench)
    old = archived(bench)
    with bench.sessions.begin() as session:
        session.execute(update(Notification).values(channel="another way"))  # as if this channel were new
        told = session.scalar(select(func.count(Notification.id)))
    for instance in bench.instances(old):
        as_if_received(bench, instance, lambda kept: kept.replace(today().encode(), MONTHS_OLD["StudyDate"].encode()))
    before = bench.study(old)
    assert before.flagged_at is not None and not before.historical
    backfill_id = ordered(bench, WITH_CANDIDATE)
    assert reprocess_next(bench.workplace, backfill_id) and reprocess_next(bench.workplace, backfill_id)
    assert reprocess_next(bench.workplace, backfill_id) is None
    assert states(bench, backfill_id) == {recent: "done", old: "done"}
    for uid in (recent, old):
        first, second = bench.runs(uid)
        assert (first.state, second.state, second.trigger, second.bundle) == (
            RunState.SUPERSEDED, RunState.DONE, RunTrigger.REPROCESS, "candidate"
        )  # fmt: skip
        assert bench.study(uid).current_run_id == second.id
    assert bench.results(bench.runs(recent)[1]), "as any new run of a recent study"
    assert bench.results(bench.runs(old)[1]) == [] and bench.deliveries(bench.runs(old)[1]) == []
    after = bench.study(old)
    for name in ("state", "priority", "priority_reason", "flagged_at", "historical", "read_at"):
        assert getattr(after, name) == getattr(before, name), name
    with bench.sessions() as session:
        assert session.scalar(select(func.count(Notification.id)).where(Notification.study_instance_uid == old)) == 1
        assert told == 2
    assert is_over(bench.sessions, backfill_id, bench.settings)


def today() -> str:
    return str(chest_radiograph().StudyDate)


def test_no_archived_study_is_taken_while_a_live_one_waits(bench: Bench) -> None:
    archived(bench), archived(bench)
    backfill_id = ordered(bench, WITH_CANDIDATE)
    live = bench.receive(chest_radiograph())
    for _ in range(3):
        assert reprocess_next(bench.workplace, backfill_id) is None
    assert set(states(bench, backfill_id).values()) == {"waiting"}
    with bench.sessions.begin() as session:
        claim = claim_run(session, live, "other:1", bench.settings)
    assert claim is not None, "the live one is there for any worker"
    with bench.sessions() as session:
        assert session.scalar(select(func.count(Run.id)).where(Run.queue == "backfill")) == 0
    assert reprocess_next(bench.workplace, backfill_id), "it is in hand, nothing waits"
    assert sorted(states(bench, backfill_id).values()) == ["done", "waiting"]


def test_a_worker_that_died_leaves_a_study_that_waits_again_until_its_attempts_are_used_up(bench: Bench) -> None:
    uid = archived(bench)
    before = (bench.study(uid).state, bench.study(uid).current_run_id)
    backfill_id = ordered(bench, WITH_CANDIDATE)
    for attempt in range(1, bench.settings.maximum_attempts + 1):
        with bench.sessions.begin() as session:
            claim = take_next(session, backfill_id, "dead:1", bench.settings)
            assert claim is not None and (claim.backfill, claim.attempts) == (True, 1)
            session.execute(update(Run).where(Run.id == claim.run_id).values(lease_until=LONG_AGO))
            assert give_up_used_up_runs(session, bench.settings) == 0
            assert abandoned_runs_to_ring(session, bench.settings) == [], "no Celery queue is rung for it"
            assert claim_run(session, uid, "live:1", bench.settings) is None
            assert end_abandoned_runs(session, bench.settings) == 1
            session.execute(update(BackfillStudy).values(not_before=None))
        expected = "failed" if attempt == bench.settings.maximum_attempts else "waiting"
        assert states(bench, backfill_id) == {uid: expected}
    assert (bench.study(uid).state, bench.study(uid).current_run_id) == before
    late = chest_radiograph(StudyInstanceUID=uid)
    bench.receive(late)
    assert triage(uid, bench.workplace), "nothing of the backfill is in the way of a late image"


def test_a_database_only_order_leaves_all_that_counts_as_it_is(bench: Bench) -> None:
    uid = archived(bench)
    columns = Study.__table__.columns.keys()
    before = [getattr(bench.study(uid), name) for name in columns], bench.event_kinds(uid)
    backfill_id = ordered(bench, Wanted(LONG_AGO, bundle="candidate", aside=True))
    assert reprocess_next(bench.workplace, backfill_id)
    assert ([getattr(bench.study(uid), name) for name in columns], bench.event_kinds(uid)) == before
    first, aside = bench.runs(uid)
    assert (first.state, aside.state, aside.shadow, aside.priority) == (RunState.DONE, RunState.DONE, True, "URGENT")
    assert aside.trigger == RunTrigger.REPROCESS and bench.results(aside) == []
    with bench.sessions() as session:
        said = {p.finding: p.probability for p in session.get_one(Run, aside.id).predictions if p.probability}
    assert said == pytest.approx(OTHER, abs=1e-3)


def test_what_fails_is_named_and_the_study_keeps_its_answer(bench: Bench) -> None:
    gone, blank = archived(bench), archived(bench)
    bench.workplace.instances.open_path(bench.instances(gone)[0].path).unlink()
    as_if_received(bench, bench.instances(blank)[0], lambda kept: kept[:-2000])
    backfill_id = ordered(bench, WITH_CANDIDATE)
    while reprocess_next(bench.workplace, backfill_id):
        pass
    assert states(bench, backfill_id) == {gone: "missing", blank: "done"}
    for uid in (gone, blank):
        study = bench.study(uid)
        assert (study.state, study.priority, study.current_run_id) == ("triaged", "STAT", bench.runs(uid)[0].id)
        assert bench.runs(uid)[0].state == RunState.DONE
        assert {instance.disposition for instance in bench.instances(uid)} == {"analysed"}
    with bench.sessions() as session:
        marks = {row.study_instance_uid: row.reason for row in session.scalars(select(BackfillStudy))}
        assert "cannot be read back" in (marks[gone] or "") and marks[blank] == "undecodable"
        (figures,) = backfill_figures(session, database_now(session))
    assert (figures.done, figures.missing, figures.studies) == (1, 1, 2)


def test_a_study_with_something_on_its_way_is_put_off_and_a_held_one_passed_over(bench: Bench) -> None:
    unsent = bench.triage(chest_radiograph()).study_instance_uid
    held = archived(bench)
    with bench.sessions.begin() as session:
        results = [result.id for result in bench.results(bench.runs(unsent)[0])]
        session.execute(update(Delivery).where(Delivery.result_id.in_(results)).values(state=DeliveryState.PENDING))
    backfill_id = ordered(bench, WITH_CANDIDATE)
    with bench.sessions.begin() as session:
        session.execute(update(Study).where(Study.study_instance_uid == held).values(state=StudyState.HELD))
    assert reprocess_next(bench.workplace, backfill_id) is None
    assert states(bench, backfill_id) == {unsent: "waiting", held: "skipped"}
    assert not is_over(bench.sessions, backfill_id, bench.settings)
    all_sent(bench)
    assert reprocess_next(bench.workplace, backfill_id) is None, "it is looked at again in a minute"
    with bench.sessions.begin() as session:
        session.execute(update(BackfillStudy).values(not_before=None))
    assert reprocess_next(bench.workplace, backfill_id)
    assert is_over(bench.sessions, backfill_id, bench.settings)


def test_a_study_that_was_read_stays_read_and_untold_whatever_the_new_model_says(bench: Bench) -> None:
    quiet = Bench(bench.settings.model_copy(update={"thresholds": dict.fromkeys(SAYS, 0.99)}), bench.sessions)
    uid = archived(quiet)
    with bench.sessions.begin() as session:
        mark_read(session, uid, "anna")
    backfill_id = ordered(bench, WITH_CANDIDATE)
    assert reprocess_next(bench.workplace, backfill_id)
    study = bench.study(uid)
    assert (study.priority, study.read_by) == ("URGENT", "anna")
    assert "reopened" not in bench.event_kinds(uid)
    with bench.sessions() as session:
        assert session.scalar(select(func.count(Notification.id))) == 0


def test_a_persons_requeue_does_not_wait_for_the_backfill(bench: Bench) -> None:
    uid = archived(bench)
    backfill_id = ordered(bench, WITH_CANDIDATE)
    with bench.sessions.begin() as session:
        queue_run(session, session.get_one(Study, uid), RunTrigger.MANUAL, bench.settings, actor="anna")
    assert reprocess_next(bench.workplace, backfill_id) is None
    assert triage(uid, bench.workplace)
    assert reprocess_next(bench.workplace, backfill_id)


@pytest.fixture
def own_bench(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    write_test_bundle(tmp_path / "candidate", OTHER, version="0.0.2")
    settings = make_settings(
        bundles={"default": tmp_path / "bundle", "candidate": tmp_path / "candidate"},
        accept_unknown_sources=True,
        database_url=sqlite_url,
        lease_seconds=2.0,
        lease_renewal_seconds=0.5,
        ring_again_seconds=0.2,
    )
    return Bench(settings, session_factory(open_engine(sqlite_url)))


def test_ctrl_c_reaches_the_command_and_none_of_its_processes(own_bench: Bench) -> None:
    """A terminal sends it to all of them; what is still loading then would end in a stack trace."""
    with backfill_processes(own_bench.settings, ordered(own_bench), 1) as (process,):
        status = Path(f"/proc/{process.pid}/status").read_text()
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
    assert blocked & 1 << signal.SIGINT - 1


@pytest.mark.timeout(300)
def test_the_command_goes_on_after_kill_9_and_shows_in_status(own_bench: Bench, tmp_path: Path) -> None:
    uids = {archived(own_bench) for _ in range(6)}
    command = ["reprocess", "--since", "2020-01-01", "--model", "candidate", "--json"]
    environment = settings_environment(own_bench.settings)
    process = start_command(Order("worker", command, environment, str(tmp_path)), tmp_path / "log.txt")
    try:
        wait_until(lambda: "done" in states(own_bench, 1).values(), "one study is done", 120)
    finally:
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)
    left = states(own_bench, 1)
    assert "done" in left.values() and set(left) == uids
    done = run_command("worker", command, environment, tmp_path, 150)
    said = json.loads(done.stdout)
    assert (done.returncode, said["id"], said["done"], said["studies"]) == (0, 1, 6, 6), done.stderr
    for uid in uids:
        assert [run.bundle for run in own_bench.runs(uid) if run.state == RunState.DONE] == ["candidate"]
    with own_bench.sessions() as session:
        overview = read_overview(session, own_bench.settings, database_now(session))
    found = {m.labels["state"]: m.value for m in measures(overview) if m.name == "cxr_backfill_studies"}
    assert (found["done"], found["waiting"]) == (6, 0)


def test_the_command_counts_gives_up_and_names_what_is_gone(own_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_environment(own_bench.settings).items():
        monkeypatch.setenv(name, value)
    uid = archived(own_bench)
    words = ["reprocess", "--since", "2020-01-01"]
    counted = CliRunner().invoke(app, [*words, "--dry-run", "--json"])
    assert json.loads(counted.stdout) == {"to_do": 1, "missing": 0, "nothing_to_analyse": 0}
    with own_bench.sessions() as session:
        assert session.scalar(select(func.count(Backfill.id))) == 0
    nothing = CliRunner().invoke(app, [*words, "--give-up", "--json"])
    assert isinstance(nothing.exception, ReprocessingRefused), "the command line says it and exits with 1"
    ordered(own_bench)
    assert json.loads(CliRunner().invoke(app, [*words, "--give-up", "--json"]).stdout) == {
        "given_up": True,
        "studies": 1,
    }
    with own_bench.sessions.begin() as session:
        session.execute(update(BackfillStudy).values(state="waiting"))
    own_bench.workplace.instances.open_path(own_bench.instances(uid)[0].path).unlink()
    named = CliRunner().invoke(app, words)
    assert named.exit_code == 1 and uid[:30] in named.stdout and "of 1 the images are gone" in named.stdout, (
        named.output
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_100_000_studies_are_ordered_in_steps_that_hold_nobody_up(
    sessions: SessionFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    number, now = 100_000, datetime.now(UTC)
    with sessions.begin() as session:
        model = add_triaged_study(session, {}, now=now)
        study, instance = ({c.name: getattr(row, c.name) for c in row.__table__.columns} for row in (
            model, model.instances[0]
        ))  # fmt: skip
    del instance["id"]
    study["current_run_id"] = None
    for start in range(0, number, 10_000):
        uids = [f"2.25.9{n:07d}" for n in range(start, start + 10_000)]
        with sessions.begin() as session:
            session.execute(insert(Study), [study | {"study_instance_uid": uid} for uid in uids])
            session.execute(insert(Instance), [
                instance | {"study_instance_uid": uid, "sop_instance_uid": f"{uid}.1"} for uid in uids
            ])  # fmt: skip
    over, waits = threading.Event(), []

    def write_as_the_listener_does() -> None:
        while not over.wait(0.02):
            began = time.monotonic()
            with sessions.begin() as session:
                add_study(session, now=now)
            waits.append(time.monotonic() - began)

    with sessions.begin() as session:
        backfill, _ = order(session, ALL, "anna")
    listener = threading.Thread(target=write_as_the_listener_does)
    listener.start()
    began = time.monotonic()
    found = listed(sessions, backfill.id)
    seconds = time.monotonic() - began
    over.set()
    listener.join()
    with capsys.disabled():
        print(
            f"\n{sessions.kw['bind'].dialect.name}: {number} studies ordered in {seconds:.1f} s; {len(waits)} writes"
            f" meanwhile, the median {statistics.median(waits):.3f} s, the longest {max(waits):.2f} s"
        )
    assert found.to_do == number + 1
    assert statistics.median(waits) < 0.5
    assert max(waits) < 5.0
    began = time.monotonic()
    with sessions() as session:
        figures = backfill_figures(session, now)[0]
    assert figures.waiting == number + 1
    assert time.monotonic() - began < 1.0, "what the page shows"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_live_studies_wait_no_longer_for_a_worker_while_a_backfill_runs(
    make_settings: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_test_bundle(tmp_path / "bundle")
    write_test_bundle(tmp_path / "candidate", OTHER, version="0.0.2")
    bundles = {"default": tmp_path / "bundle", "candidate": tmp_path / "candidate"}
    site = Site(make_settings(**QUICK, listen_port=free_port(), bundles=bundles), tmp_path / "log")
    upgrade(site.settings.effective_database_url)
    image = chest_radiograph(drawn_chest(2000, 1800))

    def send_all(number: int) -> list[float]:
        uids = []
        for _place in range(number):
            uid = generate_uid()
            copy = write_dicom(new_identity(image, uid), tmp_path / f"{uid}.dcm")
            site.send(copy)
            uids.append(uid)
        for uid in uids:
            site.wait_for_state(uid, StudyState.TRIAGED)
        runs = [site.runs(uid)[-1] for uid in uids]
        return [(run.started_at - run.queued_at).total_seconds() for run in runs if run.started_at]

    try:
        site.start_listening()
        send_all(60)
        alone = send_all(15)
        command = ("reprocess", "--since", "2020-01-01", "--model", "candidate", "--json")
        backfill = site.start(command)
        wait_until(lambda: done_of(site) > 0, "the backfill goes forward")
        beside = send_all(15)
        assert backfill.poll() is None and done_of(site) < 75, "it still runs"
        assert backfill.wait(300) == 0
    finally:
        site.stop()
    with capsys.disabled():
        print(
            f"\nseconds from queued to claimed: alone median {statistics.median(alone):.3f}, longest {max(alone):.2f};"
            f" beside a backfill median {statistics.median(beside):.3f}, longest {max(beside):.2f}"
        )
    assert statistics.median(beside) < statistics.median(alone) + 0.5


def done_of(site: Site) -> int:
    with site.session() as session:
        return session.scalar(select(func.count(BackfillStudy.id)).where(BackfillStudy.state == "done")) or 0


def new_identity(image: Dataset, study_instance_uid: str) -> Dataset:
    copy = deepcopy(image)
    copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID = (
        study_instance_uid,
        generate_uid(),
        generate_uid(),
    )
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return copy
