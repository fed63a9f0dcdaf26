"""Images go when a site no longer keeps them, rows and results stay, and unfinished work is never touched."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from committing import Archive, running_archive
from factories import chest_radiograph
from httpx import Client
from pages import served
from pydicom.dataset import Dataset
from sites import SWEEP, Site
from sqlalchemy import select
from sqlalchemy.orm import object_session

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.correction import correct_identity
from worker.care.administration import requeue_study
from worker.care.requeue import requeue_quietly
from worker.care.retention import expired_studies, mark_deleted
from worker.foundation.errors import RunRefused
from worker.processes.sweep import CLEANING_INTERVAL_SECONDS, Bells, Sweeper
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.orphans import remove_deleted
from worker.rows.run_tables import Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, RunState, StudyState
from worker.rows.study_tables import Instance, ReceivedNote, Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import ConfigurationError, Settings

pytestmark = pytest.mark.either_database

YEAR = {"images_after_days": 365}
COMMITTED = {"images_after_commitment_days": 2}
on_one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MakeBench = Callable[..., Bench]


@pytest.fixture
def archive() -> Iterator[Archive]:
    with running_archive() as started:
        yield started


@pytest.fixture
def make_bench(
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    database_url: str,
    archive: Archive,
    tmp_path: Path,
) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.pacs.port}

    def make(**retention: float) -> Bench:
        fields = {"bundles": {"default": tmp_path / "bundle"}, "retention": retention, "database_url": database_url}
        return Bench(make_settings(destinations=[pacs | {"storage_commitment": True}], **fields), sessions)

    return make


def delivered(bench: Bench, *images: Dataset) -> str:
    uid = bench.triage(*(images or (chest_radiograph(),))).study_instance_uid
    deliver(uid, bench.office)
    assert {row.state for row in bench.deliveries(bench.runs(uid)[-1])} == {"committed"}
    return uid


def sweeper_of(bench: Bench) -> Sweeper:
    store = InstanceStore(bench.settings.instances_dir)
    return Sweeper(
        bench.settings, bench.sessions, store, Bells(lambda *_: None, lambda _: None, lambda _queue: 0), "sweeper"
    )


def sweep(bench: Bench) -> None:
    sweeper_of(bench).sweep()


def let_pass(bench: Bench, **time: float) -> None:
    """Make everything that happened so much older: the rows' times and the files'."""
    past = timedelta(**time)
    with bench.sessions.begin() as session:
        for table, columns in (
            (Instance, ("received_at", "restored_at")),
            (Study, ("first_received_at", "last_received_at")),
            (Delivery, ("committed_at",)),
        ):
            for row in session.scalars(select(table)):
                for column in columns:
                    if (moment := getattr(row, column)) is not None:
                        setattr(row, column, moment - past)
    for file in bench.settings.data_dir.rglob("*.dcm"):
        stamp = file.stat().st_mtime - past.total_seconds()
        os.utime(file, (stamp, stamp))


def images(bench: Bench) -> list[Path]:
    return sorted(bench.settings.instances_dir.glob("[0-9]*/*"))


def results(bench: Bench) -> list[Path]:
    return sorted(bench.settings.results_dir.glob("[0-9]*/*"))


def test_after_the_time_a_site_keeps_them_images_go_and_everything_else_stays(make_bench: MakeBench) -> None:
    bench = make_bench(**YEAR)
    uid, kept = delivered(bench), delivered(bench)
    written = results(bench)
    let_pass(bench, days=364)
    sweep(bench)
    assert len(images(bench)) == 2
    with bench.sessions.begin() as session:
        moved = session.scalars(select(Instance).where(Instance.study_instance_uid == uid)).one()
        moved.received_at -= timedelta(days=2)
    sweep(bench)
    sweep(bench)
    assert [path.relative_to(bench.settings.instances_dir).parts[0] for path in images(bench)] == [kept]
    assert results(bench) == written
    assert bench.study(uid).state == StudyState.TRIAGED
    assert bench.study(uid).images_deleted_at is not None
    with bench.sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "images_deleted")).all()
    assert (event.study_instance_uid, event.details["objects"], event.details["images_after_days"]) == (uid, 1, 365)


@on_one_database
def test_nothing_is_deleted_unless_a_site_says_so(make_bench: MakeBench) -> None:
    bench = make_bench()
    delivered(bench)
    let_pass(bench, days=10_000)
    sweep(bench)
    assert len(images(bench)) == 1


@on_one_database
def test_a_committed_study_loses_its_images_when_the_archive_has_had_it_long_enough(make_bench: MakeBench) -> None:
    bench = make_bench(**COMMITTED)
    delivered(bench)
    let_pass(bench, days=1)
    sweep(bench)
    assert len(images(bench)) == 1
    let_pass(bench, days=1.1)
    sweep(bench)
    assert images(bench) == []


def held(study: Study, run: Run, delivery: Delivery) -> None:
    study.state = StudyState.HELD


def failed(study: Study, run: Run, delivery: Delivery) -> None:
    study.state = StudyState.FAILED


def queued(study: Study, run: Run, delivery: Delivery) -> None:
    run.state = RunState.QUEUED


def not_sent(study: Study, run: Run, delivery: Delivery) -> None:
    delivery.state = DeliveryState.PENDING


def refused(study: Study, run: Run, delivery: Delivery) -> None:
    delivery.state = DeliveryState.REFUSED


def not_committed(study: Study, run: Run, delivery: Delivery) -> None:
    delivery.state, delivery.commitment_due_at = DeliveryState.SENT, study.last_received_at + timedelta(days=9000)


def not_looked_at(study: Study, run: Run, delivery: Delivery) -> None:
    study.instances[0].disposition = "candidate"


def about_to_be_looked_at(study: Study, run: Run, delivery: Delivery) -> None:
    study.due_at = study.last_received_at + timedelta(days=9000)


def corrected(study: Study, run: Run, delivery: Delivery) -> None:
    who = {"patient_id": "ANOTHER-1", "issuer_of_patient_id": "", "cause": "ADT^A40", "actor": "test"}
    session = object_session(study)
    assert session is not None
    assert correct_identity(session, study, demographics={}, **who)
    study.due_at = None


def rejected_by_the_archive(study: Study, run: Run, delivery: Delivery) -> None:
    session = object_session(study)
    assert session is not None
    session.add(ReceivedNote(instance_id=study.instances[0].id, state="waiting", attempts=0))


UNFINISHED = (
    held, failed, queued, not_sent, refused, not_committed, not_looked_at, about_to_be_looked_at, corrected,
    rejected_by_the_archive,
)  # fmt: skip


def test_unfinished_work_keeps_its_images_however_old_it_is(make_bench: MakeBench) -> None:
    bench = make_bench(**YEAR, **COMMITTED)
    uid = delivered(bench)
    let_pass(bench, days=4000)
    for change in UNFINISHED:
        with bench.sessions() as session:
            study = session.get_one(Study, uid)
            change(study, study.runs[0], study.runs[0].results[0].deliveries[0])
            session.flush()
            assert expired_studies(session, bench.settings.retention) == [], change.__name__
            assert mark_deleted(session, uid, bench.settings.retention) == [], change.__name__
            session.rollback()
    with bench.sessions() as session:
        assert expired_studies(session, bench.settings.retention) == [uid], "without any of it"


def emptied(bench: Bench, image: Dataset) -> str:
    """Return a delivered study whose images retention has deleted."""
    uid = delivered(bench, image)
    let_pass(bench, days=400)
    sweep(bench)
    assert images(bench) == []
    return uid


def test_an_image_that_is_sent_again_is_kept_anew_and_makes_nothing_twice(
    make_bench: MakeBench, archive: Archive
) -> None:
    bench, image = make_bench(**YEAR), chest_radiograph()
    uid = emptied(bench, image)
    with bench.sessions.begin() as session, pytest.raises(RunRefused, match=f"reconcile --study {uid}"):
        requeue_study(session, uid, bench.settings, "Ada")
    bench.receive(image)
    sweep(bench)
    assert len(images(bench)) == 1
    assert len(bench.runs(uid)) == 1
    assert bench.study(uid).images_deleted_at is None
    assert len(archive.pacs.stored) == 1 + len(FLAGGED)
    assert bench.event_kinds(uid).count("image_restored") == 1
    let_pass(bench, days=364)
    sweep(bench)
    assert len(images(bench)) == 1, "for as long as any other"
    store = InstanceStore(bench.settings.instances_dir)
    with bench.sessions.begin() as session:
        requeue_quietly(session, store, bench.settings, uid, "Ada")
    triage(uid, bench.workplace)
    assert [run.outcome for run in bench.runs(uid)] == ["triaged", "unchanged"]


@on_one_database
def test_a_late_image_of_an_emptied_study_fails_visibly_instead_of_replacing_the_report_by_half_of_one(
    make_bench: MakeBench,
) -> None:
    bench, image = make_bench(**YEAR), chest_radiograph()
    uid = emptied(bench, image)
    before = bench.study(uid).current_run_id
    late = chest_radiograph(StudyInstanceUID=uid, PatientID=image.PatientID, SeriesInstanceUID=image.SeriesInstanceUID)
    bench.triage(late)
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.current_run_id) == ("failed", "file_missing", before)
    assert f"reconcile --study {uid}" in (study.reason or "")


@on_one_database
def test_a_sweeper_killed_between_rows_and_files_leaves_files_that_the_next_one_removes(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(**YEAR)
    uid = delivered(bench)
    let_pass(bench, days=400)
    site = Site(bench.settings, tmp_path / "log.txt")
    try:
        assert site.start(SWEEP, "after_deleted_rows_before_files").wait(60) == -signal.SIGKILL
        assert bench.study(uid).images_deleted_at is not None
        assert len(images(bench)) == 1
    finally:
        site.stop()
    following, real = sweeper_of(bench), time.monotonic
    following.sweep()
    monkeypatch.setattr(time, "monotonic", lambda: real() + CLEANING_INTERVAL_SECONDS)
    following.sweep()
    assert images(bench) == []


def test_an_image_that_comes_again_just_when_it_is_deleted_keeps_its_file(make_bench: MakeBench) -> None:
    bench, image = make_bench(**YEAR), chest_radiograph()
    uid = delivered(bench, image)
    let_pass(bench, days=400)
    store = InstanceStore(bench.settings.instances_dir)
    with bench.sessions.begin() as session:
        paths = mark_deleted(session, uid, bench.settings.retention)
    bench.receive(image)
    assert remove_deleted(store, bench.sessions, paths) == 0
    let_pass(bench, days=1)
    assert remove_deleted(store, bench.sessions, paths) == 0
    assert len(images(bench)) == 1


@on_one_database
def test_the_page_says_that_and_when_the_pictures_were_deleted(make_bench: MakeBench) -> None:
    bench, image = make_bench(**YEAR), chest_radiograph()
    uid = emptied(bench, image)
    with bench.sessions() as session:
        today = f"{database_now(session):%Y-%m-%d}"
        (row,) = session.scalars(select(Instance)).all()
    with served(bench.settings) as url, Client(base_url=url, timeout=30) as client:
        html = client.get(f"/studies/{uid}").text
        picture = client.get(f"/studies/{uid}/instances/{row.id}.png")
        maps = [part.split('"')[0] for part in html.split('href="') if part.startswith(f"/studies/{uid}/results/")]
        shown = [client.get(path) for path in maps]
    assert "Pictures deleted here" in html
    assert f"reconcile --study {uid}" in html
    assert (picture.status_code, today in picture.text) == (410, True)
    assert [answer.headers["content-type"] for answer in shown] == ["image/png"] * len(FLAGGED)


def test_deleting_on_commitment_needs_an_archive_that_commits(make_settings: Callable[..., Settings]) -> None:
    pacs: dict[str, Any] = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    with pytest.raises(ConfigurationError, match="storage_commitment"):
        make_settings(destinations=[pacs], retention=COMMITTED)
    assert not make_settings().retention.deletes
