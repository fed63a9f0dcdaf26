"""A second bundle in the shadow, promoted and rolled back: what counts is untouched, what was said stays said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import Bench
from bundles import SAYS, write_test_bundle
from factories import chest_radiograph
from sqlalchemy import select, update
from typer.testing import CliRunner

from model.classifier import Classifier, NotFiniteError
from worker.arrival.completion import queue_run
from worker.care.administration import NotStated
from worker.care.check import check_everything
from worker.care.promotion import PromotionRefused, latest_to_undo, promote, proven_version, rollback
from worker.cli import app
from worker.figures.overview import read_overview
from worker.processes.lost_rings import give_up_used_up_runs, queued_runs_to_ring
from worker.processes.work import require_usable
from worker.rows.active_bundle import active_bundle
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import RunState, RunTrigger, StudyState
from worker.rows.study_tables import Study
from worker.runs.shadowing import shadow_next
from worker.runs.triage import triage
from worker.runs.workplace import BundleUnusable, open_workplace
from worker.sending.delivery import deliver
from worker.settings.config import ConfigurationError, Settings, load_settings
from worker.settings.environment import settings_environment

pytestmark = pytest.mark.either_database

OTHER = {**SAYS, "Pneumothorax": 0.30, "Mass": 0.88}
"""What the candidate says: no pneumothorax, but a mass."""


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    write_test_bundle(tmp_path / "candidate", OTHER, version="0.0.2")
    settings = make_settings(
        bundles={"default": tmp_path / "bundle", "candidate": tmp_path / "candidate"},
        shadow_bundle="candidate",
        accept_unknown_sources=True,
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9}],
    )
    return Bench(settings, sessions)


def with_database(bench: Bench) -> Settings:
    """The bench's settings for code that opens the database itself."""
    url = bench.sessions.kw["bind"].url.render_as_string(hide_password=False)
    return bench.settings.model_copy(update={"database_url": url})


def promote_candidate(bench: Bench) -> str:
    version = proven_version(bench.settings, "candidate")
    with bench.sessions.begin() as session:
        promote(
            session,
            bench.settings,
            "candidate",
            model_version=version,
            instead_of="default",
            reason="it misses less",
            by="anna",
        )
    return version


def snapshot(bench: Bench, uid: str) -> object:
    """Everything of a study that anybody is shown or told."""
    with bench.sessions() as session:
        study = {column.name: getattr(session.get_one(Study, uid), column.name) for column in Study.__table__.columns}
        deliveries = session.execute(select(Delivery.id, Delivery.state, Delivery.attempts)).all()
        results = session.scalars(select(Result.sop_instance_uid)).all()
    instances = [(i.disposition, i.reason, i.image_score) for i in bench.instances(uid)]
    return study, deliveries, results, instances, bench.event_kinds(uid)


def test_a_run_in_the_shadow_says_its_word_in_sql_and_changes_nothing_else(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    before = snapshot(bench, uid)
    assert shadow_next(bench.workplace)
    assert snapshot(bench, uid) == before
    active, shadow = bench.runs(uid)
    assert (shadow.shadow, shadow.trigger, shadow.bundle, shadow.state) == (True, "shadow", "candidate", RunState.DONE)
    assert (active.priority, shadow.priority) == ("STAT", "URGENT")
    assert active.state == RunState.DONE, "the run that counts is not superseded"
    with bench.sessions() as session:
        said = {p.finding: p.probability for p in session.get_one(Run, shadow.id).predictions if p.probability}
        assert session.get_one(Study, uid).current_run_id == active.id
    assert said == pytest.approx(OTHER, abs=1e-3)
    assert not shadow_next(bench.workplace), "nothing else waits"
    deliver(uid, bench.office)  # the port is closed; what matters is what is tried
    assert {row.result_id for row in bench.deliveries(active)} == {result.id for result in bench.results(active)}
    assert bench.results(shadow) == []


def test_what_waits_in_the_shadow_neither_holds_up_nor_is_rung_for(bench: Bench) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    late = chest_radiograph(StudyInstanceUID=uid, SOPInstanceUID=f"{image.SOPInstanceUID[:60]}.2")
    bench.receive(late)
    assert [run.trigger for run in bench.runs(uid)] == ["auto", "shadow", "late_image"]
    with bench.sessions.begin() as session:
        session.execute(update(Run).values(rung_at=None))
        assert [run.run_number for run in queued_runs_to_ring(session, bench.settings)] == [3]
    assert triage(uid, bench.workplace)
    states = [(run.run_number, run.state) for run in bench.runs(uid)]
    assert states == [(1, "superseded"), (2, "superseded"), (3, "done"), (4, "queued")]
    shadow_next(bench.workplace)
    with bench.sessions() as session:
        assert len(session.get_one(Run, bench.runs(uid)[3].id).predictions) == 2 * 14


def test_a_failure_in_the_shadow_is_seen_there_and_leaves_the_study_alone(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(update(Run).where(Run.shadow).values(bundle="gone"))
    shadow_next(bench.workplace)
    run = bench.runs(uid)[1]
    assert (run.state, run.reason_code) == (RunState.FAILED, "bundle")
    other = bench.triage(chest_radiograph(PatientID="B")).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(update(Run).where(Run.shadow, Run.state == RunState.QUEUED).values(attempts=99))
        assert give_up_used_up_runs(session, bench.settings) == 1
    assert bench.runs(other)[1].reason_code == "poison"
    for study in (bench.study(uid), bench.study(other)):
        assert (study.state, study.priority, study.reason_code) == (StudyState.TRIAGED, "STAT", None)
    assert "failed" not in bench.event_kinds(uid) + bench.event_kinds(other)


def test_a_bundle_in_the_shadow_that_computes_no_number_fails_there_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_number(*_: object) -> None:
        raise NotFiniteError("bundle x 1 computes no finite number for Mass")

    uid = bench.triage(chest_radiograph()).study_instance_uid
    monkeypatch.setattr(Classifier, "classify", no_number)
    shadow_next(bench.workplace)
    run = bench.runs(uid)[1]
    assert (run.state, run.reason_code) == (RunState.FAILED, "bundle")
    assert "no finite number for Mass" in str(run.reason)
    assert bench.study(uid).state == StudyState.TRIAGED


def test_what_waits_without_a_shadow_worker_wants_a_person(bench: Bench) -> None:
    bench.triage(chest_radiograph())
    with bench.sessions() as session:
        waiting = [item.sentence for item in read_overview(session, bench.settings, database_now(session)).attention]
    assert "1 study waiting for a second analysis and no shadow worker is running" in waiting
    shadow_next(bench.workplace)
    with bench.sessions() as session:
        done = [item.sentence for item in read_overview(session, bench.settings, database_now(session)).attention]
    assert not any("second analysis" in sentence for sentence in done)


def test_a_held_study_waits_in_the_shadow_too(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    with bench.sessions.begin() as session:
        session.get_one(Study, uid).state = StudyState.HELD
    assert not shadow_next(bench.workplace)
    assert bench.runs(uid)[1].state == RunState.QUEUED


def test_a_queued_run_takes_the_bundle_that_is_active_when_it_is_claimed(bench: Bench) -> None:
    first = bench.triage(chest_radiograph(PatientID="A")).study_instance_uid
    waiting = bench.receive(chest_radiograph(PatientID="B"))
    assert bench.runs(waiting)[0].bundle == "default"
    version = promote_candidate(bench)
    triage(waiting, bench.workplace)
    (run,) = bench.runs(waiting)
    assert (run.bundle, run.model_version, run.priority) == ("candidate", version, "URGENT")
    old = bench.runs(first)[0]
    assert (old.bundle, old.priority) == ("default", "STAT"), "what was said stays said"
    assert old.model_version != version
    fresh = open_workplace(with_database(bench))
    fresh.sessions.kw["bind"].dispose()
    assert fresh.models.keys() == {"candidate"}, "a worker that starts now loads it"
    undone = bench.receive(chest_radiograph(PatientID="C"))
    with bench.sessions.begin() as session:
        rollback(
            session,
            bench.settings,
            latest_to_undo(session, "default"),
            model_version=str(old.model_version),
            instead_of="default",
            reason="too many masses",
            by="ben",
        )
    triage(undone, bench.workplace)
    assert bench.runs(undone)[0].model_version == old.model_version
    assert bench.runs(waiting)[0].model_version == version
    with bench.sessions() as session:
        events = session.scalars(
            select(Event).where(Event.kind.in_(("promoted", "rolled_back"))).order_by(Event.id)
        ).all()
    assert [(event.kind, event.actor, event.reason) for event in events] == [
        ("promoted", "anna", "it misses less"),
        ("rolled_back", "ben", "too many masses"),
    ]
    assert [(e.details["bundle_before"], e.details["bundle"]) for e in events] == [
        ("default", "candidate"),
        ("candidate", "default"),
    ]
    assert [event.details["model_version"] for event in events] == [version, old.model_version]


def test_a_study_analysed_again_after_a_promotion_keeps_its_earlier_run(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    version = promote_candidate(bench)
    with bench.sessions.begin() as session:
        queue_run(session, session.get_one(Study, uid), RunTrigger.MANUAL, bench.settings, actor="anna")
    triage(uid, bench.workplace)
    first, _shadow, again = bench.runs(uid)
    assert again.model_version == version
    assert first.model_version not in (None, version)
    assert bench.study(uid).priority == "STAT", "a machine never lowers"


def test_promotions_that_make_no_sense_are_refused(bench: Bench, tmp_path: Path) -> None:
    words = {"model_version": "v", "instead_of": "default", "reason": "why", "by": "anna"}
    with bench.sessions.begin() as session:
        for bundle, changes, why in (
            ("unknown", {}, "not configured"),
            ("default", {}, "already"),
            ("candidate", {"instead_of": "elsewhere"}, "not configured"),
        ):
            with pytest.raises(PromotionRefused, match=why):
                promote(session, bench.settings, bundle, **(words | changes))
        with pytest.raises(NotStated):
            promote(session, bench.settings, "candidate", **(words | {"reason": " "}))
        with pytest.raises(PromotionRefused, match="nothing to roll back"):
            latest_to_undo(session, "default")
        assert session.scalars(select(Event.kind).where(Event.study_instance_uid.is_(None))).all() == []
    write_test_bundle(tmp_path / "drawn", OTHER, demonstration=True)
    with pytest.raises(BundleUnusable, match="demonstration"):
        proven_version(bench.settings.model_copy(update={"bundles": {"drawn": tmp_path / "drawn"}}), "drawn")
    with pytest.raises(ConfigurationError, match="shadow_bundle"):
        load_settings(shadow_bundle="nobody")


def test_of_two_who_roll_back_at_once_one_is_told_that_it_is_done(bench: Bench) -> None:
    """The other would undo an earlier promotion, by a bundle that was not proven."""
    words = {"model_version": "v", "instead_of": "default", "reason": "why"}
    with bench.sessions.begin() as session:
        promote(session, bench.settings, "candidate", by="anna", **words)
        promote(session, bench.settings, "default", by="anna", **words)
        promote(session, bench.settings, "candidate", by="anna", **words)
        undoing = latest_to_undo(session, "default")
    with bench.sessions.begin() as session:
        assert rollback(session, bench.settings, undoing, by="ben", **words).bundle == "default"
    with bench.sessions.begin() as session:
        with pytest.raises(PromotionRefused, match=r"somebody else has just changed .* now it is default"):
            rollback(session, bench.settings, undoing, by="carl", **words)
        assert active_bundle(session) == "default"
        rolled_back = session.scalars(select(Event.actor).where(Event.kind == "rolled_back")).all()
        assert rolled_back == ["ben"]


def test_promote_and_rollback_are_one_command_each(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_database(bench)
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["promote", "candidate", "--reason", "it misses less", "--by", "anna", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["bundle_before"] == "default"
    undone = CliRunner().invoke(app, ["rollback", "--reason", "too many masses"])
    assert "bundle default" in undone.stdout
    assert isinstance(CliRunner().invoke(app, ["rollback", "--reason", "again"]).exception, PromotionRefused)


def test_a_worker_that_does_not_know_the_promoted_bundle_does_not_start(bench: Bench) -> None:
    promote_candidate(bench)
    known = with_database(bench)
    require_usable(known, ("stat",))
    unknown = known.model_copy(update={"bundles": {"default": known.bundles["default"]}, "shadow_bundle": ""})
    with pytest.raises(BundleUnusable, match="candidate: was promoted in the place of default and is not configured"):
        require_usable(unknown, ("stat",))
    checks = {result.name: result for result in check_everything(unknown)}
    assert not checks["active bundles"].passed


def test_the_shadow_worker_works_off_what_waits_and_ends_cleanly(bench: Bench) -> None:
    uids = [bench.triage(chest_radiograph(PatientID=name)).study_instance_uid for name in "AB"]
    settings = with_database(bench)
    process = subprocess.Popen([sys.executable, "-m", "worker", "shadow"], env=settings_environment(settings))
    try:
        deadline = time.monotonic() + 60
        while any(bench.runs(uid)[1].state != RunState.DONE for uid in uids):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
