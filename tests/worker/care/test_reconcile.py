"""Gaps closed from a real Orthanc: found by C-FIND, fetched by C-MOVE and C-GET, once, and never without a word."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import chest_radiograph, write_dicom
from orthanc import CLOSED, Orthanc, StartHospital, need, real_radiograph
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from services import free_port, wait_for_port
from sites import LISTEN, Site, wait_until
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import send
from worker.arrival.intake import Intake
from worker.care.forgetting import Forgotten, note_forgotten
from worker.care.reconciled import Window
from worker.cli import app
from worker.figures.overview import read_overview
from worker.processes.gap_closing import GapCloser, opened_reconciler
from worker.rows.database import SessionFactory, database_now, open_engine, session_factory
from worker.rows.gaps import close_gaps, next_gap, note_receiving, open_gaps, put_off
from worker.rows.site_tables import Event, ReceptionGap, ServiceLease
from worker.rows.states import StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings
from worker.settings.environment import settings_environment
from worker.settings.reconcile import Reconcile

pytestmark = pytest.mark.timeout(300)
NO_ROUTING = ""
YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


def recent_radiograph(**keywords: object) -> Dataset:
    """Return a radiograph of a quarter of an hour ago: at no hour of the day one that is still to come."""
    began = datetime.now(UTC) - timedelta(minutes=15)
    return chest_radiograph(**({"StudyDate": f"{began:%Y%m%d}", "StudyTime": f"{began:%H%M%S}"} | keywords))


def commanded(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run ``reconcile --json``; return the exit code and what it wrote."""
    for name, value in settings_environment(settings).items():
        if name.startswith("CXR_"):
            monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["reconcile", "--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def instances(site: Site) -> int:
    with site.session() as session:
        return session.scalar(select(func.count()).select_from(Instance)) or 0


def events(site: Site, kind: str) -> list[Event]:
    with site.session() as session:
        return list(session.scalars(select(Event).where(Event.kind == kind)))


def asking(site: Site, port: int, ae_title: str = "ORTHANC", retrieve: str = "move") -> Settings:
    """Return the site's settings with an archive to ask."""
    archive = {"ae_title": ae_title, "host": "127.0.0.1", "port": port, "retrieve": retrieve}
    return site.settings.model_copy(update={"reconcile": Reconcile.model_validate(archive)})


def compressed(folder: Path) -> Path:
    """Return a real film of today in JPEG 2000."""
    return real_radiograph("RG1_J2KR.dcm", folder)


def test_what_the_archive_has_and_we_have_not_is_fetched_once(
    start_hospital: StartHospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc, site = start_hospital(NO_ROUTING, command=LISTEN)
    fast = datetime.now(UTC) + timedelta(minutes=30)
    here, leg = recent_radiograph(), recent_radiograph(Modality="CT")
    film = recent_radiograph(StudyDate=f"{fast:%Y%m%d}", StudyTime=f"{fast:%H%M%S}")
    second = recent_radiograph(
        StudyInstanceUID=here.StudyInstanceUID, SeriesInstanceUID=here.SeriesInstanceUID, PatientID=here.PatientID
    )
    old = recent_radiograph(StudyDate="20200101")
    held = (here, film, second, old, leg)
    names = [orthanc.push(write_dicom(item, tmp_path / f"held{number}.dcm")) for number, item in enumerate(held)]
    orthanc.call("/modalities/CXRAI/store", names[0].encode())
    wait_until(lambda: instances(site) == 1, "what is routed as always")
    settings = asking(site, orthanc.dicom_port)

    status, looked = commanded(monkeypatch, settings, "--since", YESTERDAY, "--dry-run")
    assert status == 1
    assert {item["sop_instance_uid"] for item in looked["missing"]} == {film.SOPInstanceUID, second.SOPInstanceUID}
    assert instances(site) == 1
    assert events(site, "reconciled") == []

    status, done = commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert (status, done["fetched"], done["complete"]) == (0, 2, True), done
    fetched = {event.study_instance_uid: event.details["sop_instance_uids"] for event in events(site, "fetched")}
    assert fetched == {item.StudyInstanceUID: [item.SOPInstanceUID] for item in (film, second)}
    assert instances(site) == 3

    status, again = commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert (status, again["missing"], again["fetched"]) == (0, [], 0)
    assert instances(site) == 3

    orthanc.push(compressed(tmp_path))
    status, got = commanded(monkeypatch, asking(site, orthanc.dicom_port, retrieve="get"), "--since", YESTERDAY)
    assert (status, got["fetched"], got["complete"]) == (0, 1, True), got
    assert senders(site) == {("ORTHANC", ExplicitVRLittleEndian), ("ORTHANC", JPEG2000Lossless)}
    assert due(site) == 3
    assert [event.details["complete"] for event in events(site, "reconciled")] == [True] * 3


def senders(site: Site) -> set[tuple[str, str]]:
    """Return from whom and in which transfer syntaxes instances came."""
    with site.session() as session:
        rows = session.execute(select(Instance.calling_ae_title, Instance.transfer_syntax_uid))
        return {(row[0], row[1]) for row in rows}


def due(site: Site) -> int:
    """Return how many studies have their run, or get it by themselves."""
    with site.session() as session:
        studies = session.scalars(select(Study)).all()
        return sum(study.due_at is not None or study.state == StudyState.QUEUED for study in studies)


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_an_archive_of_another_make_is_asked_the_same_way(
    lone_listener: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retrieve: str
) -> None:
    site = lone_listener
    films = [write_dicom(recent_radiograph(), tmp_path / f"film{number}.dcm") for number in range(2)]
    with dcmqrscp(tmp_path, site.settings.listen_port) as port:
        sent = send(Peer("ARCHIVE", "127.0.0.1", port), films, "MODALITY")
        assert all(item.accepted for item in sent), sent
        settings = asking(site, port, "ARCHIVE", retrieve)
        status, done = commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert (status, done["fetched"], done["complete"]) == (0, 2, True), done
    assert {title for title, _syntax in senders(site)} == {"ARCHIVE"}


def test_a_forgotten_patient_is_not_fetched_again(
    lone_listener: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = lone_listener
    film = recent_radiograph()
    with session_factory(open_engine(site.settings.effective_database_url)).begin() as session:
        note_forgotten(session, Forgotten(1, 1, 3, 0, 0), [film.StudyInstanceUID], reason="asked", by="Ada Admin")
    with dcmqrscp(tmp_path, site.settings.listen_port) as port:
        files = [write_dicom(each, tmp_path / f"{place}.dcm") for place, each in enumerate((film, recent_radiograph()))]
        assert all(item.accepted for item in send(Peer("ARCHIVE", "127.0.0.1", port), files, "MODALITY"))
        status, done = commanded(monkeypatch, asking(site, port, "ARCHIVE"), "--since", YESTERDAY)
    assert (status, done["fetched"], done["complete"]) == (0, 1, True), done
    assert film.StudyInstanceUID not in {event.study_instance_uid for event in events(site, "fetched")}


@pytest.mark.parametrize(
    ("day", "began", "since", "until"),
    [
        ("20261025", "021000", "00:40", "01:20"),  # 02:40 to 02:20, in the night in which 02:00 to 03:00 comes twice
        ("20261025", "025000", "00:40", "01:20"),
        ("20260329", "031000", "00:50", "01:15"),  # 01:50 to 03:15, in the night in which that hour does not come
    ],
)
def test_a_study_of_the_night_in_which_clocks_change_is_missed_by_no_gap(
    lone_listener: Site, tmp_path: Path, day: str, began: str, since: str, until: str
) -> None:
    site = lone_listener
    date = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    window = Window(*(date + timedelta(hours=int(at[:2]), minutes=int(at[3:])) for at in (since, until)))
    film = chest_radiograph(StudyDate=day, StudyTime=began)
    with dcmqrscp(tmp_path, site.settings.listen_port) as port:
        sent = send(Peer("ARCHIVE", "127.0.0.1", port), [write_dicom(film, tmp_path / "film.dcm")], "MODALITY")
        assert sent[0].accepted, sent
        settings = asking(site, port, "ARCHIVE").model_copy(update={"time_zone": "Europe/Berlin"})
        with opened_reconciler(settings) as reconciler:
            found = reconciler.reconcile(window, "test", fetch=False)
    assert [item.sop_instance_uid for item in found.missing] == [film.SOPInstanceUID]


def test_an_image_that_is_here_under_another_study_is_named_and_not_fetched(
    lone_listener: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = lone_listener
    here, moved = recent_radiograph(), recent_radiograph()
    with dcmqrscp(tmp_path, site.settings.listen_port) as port:
        archive, worker = Peer("ARCHIVE", "127.0.0.1", port), Peer("CXRAI", "127.0.0.1", site.settings.listen_port)
        files = [write_dicom(each, tmp_path / f"{place}.dcm") for place, each in enumerate((here, moved))]
        assert all(item.accepted for item in send(worker, files, "ARCHIVE"))
        came_in = moved.StudyInstanceUID
        moved.StudyInstanceUID, moved.PatientID = generate_uid(), "ANOTHER"
        write_dicom(moved, files[1])
        assert all(item.accepted for item in send(archive, files, "MODALITY"))
        status, found = commanded(monkeypatch, asking(site, port, "ARCHIVE"), "--since", YESTERDAY)
        assert (status, found["missing"], found["complete"]) == (0, [], True), found
        (elsewhere,) = found["elsewhere"]
        assert elsewhere == {
            "study_instance_uid": moved.StudyInstanceUID,
            "sop_instance_uid": moved.SOPInstanceUID,
            "here_under": came_in,
        }
        assert f"1 object is here under another study than in {found['archive']}" in found["summary"]
        table = CliRunner().invoke(app, ["reconcile", "--since", YESTERDAY])
    assert "Here under another study" in table.stdout
    assert came_in[-10:] in table.stdout  # the rest is folded
    assert events(site, "reconciled")[0].details["elsewhere"] == [list(elsewhere.values())]
    with site.session() as session:
        assert {study.state for study in session.scalars(select(Study))} != {StudyState.HELD}


@contextmanager
def dcmqrscp(folder: Path, worker_port: int) -> Iterator[int]:
    """Run dcmtk's archive; gives its port."""
    port = free_port()
    (folder / "archive").mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nworker = (CXRAI, 127.0.0.1, {worker_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {folder / 'archive'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    command = [need("dcmqrscp", "dcmtk"), "-c", str(folder / "dcmqrscp.cfg")]
    with (
        (folder / "archive.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as archive,
    ):
        try:
            wait_for_port(port, 20)
            yield port
        finally:
            archive.terminate()


@pytest.fixture
def lone_listener(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    settings = make_settings(
        database_url=sqlite_url, listen_port=free_port(), sources=[{"ae_title": "ARCHIVE"}], **CLOSED
    )
    site = Site(settings, tmp_path / "log.txt")
    site.start_listening(LISTEN)
    yield site
    site.stop()


def test_an_archive_that_does_not_know_our_address_is_told_apart_from_one_that_is_not_there(
    start_hospital: StartHospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc, site = start_hospital(NO_ROUTING, command=LISTEN)
    settings = asking(site, orthanc.dicom_port)
    film = recent_radiograph()
    orthanc.push(write_dicom(film, tmp_path / "film.dcm"))
    orthanc.know_worker(free_port())
    status, found = commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert (status, found["complete"], found["fetched"]) == (1, False, 0)
    assert [item["sop_instance_uid"] for item in found["failures"]] == [film.SOPInstanceUID]
    assert "archive failed to send it" in found["failures"][0]["reason"]
    note_gap(site.settings)
    commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert gaps_of(site) == 1
    assert commanded(monkeypatch, settings, "--since", YESTERDAY, "--give-up")[0] == 1
    assert gaps_of(site) == 0
    orthanc.stop()
    status, found = commanded(monkeypatch, settings, "--since", YESTERDAY)
    assert status == 1
    assert "cannot reach" in found["problem"] or "no association" in found["problem"]
    assert [event.details["complete"] for event in events(site, "reconciled")] == [False] * 4


def note_gap(settings: Settings) -> None:
    """Have a listener note a gap of the last hour."""
    engine = open_engine(settings.effective_database_url)
    with session_factory(engine).begin() as session:
        note_receiving(session, "listener")
        let_pass(session, timedelta(hours=1))
        assert note_receiving(session, "listener") is not None
    engine.dispose()


def gaps_of(site: Site) -> int:
    with site.session() as session:
        return len(open_gaps(session))


def test_after_downtime_the_listener_fetches_by_itself_what_came_meanwhile(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc = Orthanc(tmp_path, free_port(), NO_ROUTING)
    orthanc.start()
    archive = {
        "ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port, "after_downtime": True
    }  # fmt: skip
    settings = make_settings(
        database_url=sqlite_url,
        listen_port=orthanc.worker_port,
        sources=[{"ae_title": "ORTHANC"}],
        reconcile=archive,
        **CLOSED,
    )
    site = Site(settings, tmp_path / "log.txt")
    engine = open_engine(sqlite_url)
    sessions = session_factory(engine)
    try:
        first = site.start_listening(LISTEN)
        wait_until(lambda: receiving_until(sessions) is not None, "the listener notes that it receives", 20)
        site.kill(first)
        with sessions.begin() as session:
            let_pass(session, timedelta(hours=2))
        taken = datetime.now(UTC) - timedelta(hours=1)
        film = recent_radiograph(StudyDate=f"{taken:%Y%m%d}", StudyTime=f"{taken:%H%M%S}")
        orthanc.push(write_dicom(film, tmp_path / "film.dcm"))
        site.start_listening(LISTEN)
        wait_until(lambda: instances(site) == 1, "the film is fetched", 120)
        wait_until(lambda: closed(sessions), "the gap is closed", 60)
        assert len(events(site, "reception_gap")) == 1
    finally:
        site.stop()
        orthanc.stop()
        engine.dispose()


def let_pass(session: Session, time: timedelta) -> None:
    """Have the last sign of a listener be so much older."""
    session.get_one(ServiceLease, "receiving").lease_until -= time


def receiving_until(sessions: SessionFactory) -> datetime | None:
    with sessions() as session:
        return session.scalar(select(ServiceLease.lease_until).where(ServiceLease.name == "receiving"))


def closed(sessions: SessionFactory) -> bool:
    with sessions() as session:
        return [gap.closed_at is not None for gap in session.scalars(select(ReceptionGap))] == [True]


def test_gaps_are_noted_once_put_off_and_closed_only_by_a_window_that_covers_them(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        assert note_receiving(session, "first") is None
        assert note_receiving(session, "second") is None
        let_pass(session, timedelta(hours=1))
    with sessions.begin() as session:
        gap = note_receiving(session, "first")
        assert gap is not None
        length = gap.ends_at - gap.begins_at
        assert timedelta(minutes=60) <= length < timedelta(minutes=62), "since it was last known to receive"
    with sessions.begin() as session:
        assert note_receiving(session, "second") is None
        (gap,) = open_gaps(session)
        due = next_gap(session)
        assert due is not None
        put_off(session, gap.id, "ORTHANC is gone")
    with sessions.begin() as session:
        assert next_gap(session) is None
        (gap,) = open_gaps(session)
        assert (gap.attempts, gap.reason) == (1, "ORTHANC is gone")
        assert close_gaps(session, gap.begins_at + timedelta(seconds=1), gap.ends_at) == 0
        assert close_gaps(session, gap.begins_at, gap.ends_at) == 1
        assert open_gaps(session) == []


def test_a_gap_stays_open_and_says_why_while_the_archive_is_gone(
    make_settings: Callable[..., Settings], sqlite_url: str
) -> None:
    archive = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": free_port(), "after_downtime": True}
    settings = make_settings(database_url=sqlite_url, reconcile=archive)
    note_gap(settings)
    with opened_reconciler(settings) as reconciler:
        assert isinstance(reconciler.receiver, Intake)
        closer = GapCloser(settings, reconciler.sessions, reconciler.receiver)
        for _ in range(2):  # the second time it is not yet its turn
            closer.close_next()
        with reconciler.sessions() as session:
            (gap,) = open_gaps(session)
            (sentence,) = [
                item.sentence
                for item in read_overview(session, settings, database_now(session)).attention
                if "received" in item.sentence
            ]
    assert gap.attempts == 1
    assert gap.reason is not None
    assert "ARCHIVE" in gap.reason
    assert gap.reason in sentence


def test_nothing_is_asked_where_no_archive_is_configured(settings: Settings, sqlite_url: str) -> None:
    from worker.care.reconciled import Window
    from worker.care.reconciliation import NothingToAsk

    settings = settings.model_copy(update={"database_url": sqlite_url})
    now = datetime.now(UTC)
    with opened_reconciler(settings) as reconciler, pytest.raises(NothingToAsk):
        reconciler.reconcile(Window(now - timedelta(hours=1), now), "test")


def delete_like_retention(site: Site) -> Path:
    """Delete the only stored image; return where it was."""
    (file,) = site.settings.instances_dir.glob("[0-9]*/*")
    engine = open_engine(site.settings.effective_database_url)
    with session_factory(engine).begin() as session:
        session.execute(update(Instance).values(deleted_at=datetime.now(UTC)))
    engine.dispose()
    file.unlink()
    return file


def test_what_retention_deleted_is_fetched_only_when_its_study_is_asked_for(
    start_hospital: StartHospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc, site = start_hospital(NO_ROUTING, command=LISTEN)
    film = recent_radiograph()
    uid = str(film.StudyInstanceUID)
    name = orthanc.push(write_dicom(film, tmp_path / "film.dcm"))
    orthanc.call("/modalities/CXRAI/store", name.encode())
    wait_until(lambda: instances(site) == 1, "the film is stored")
    file = delete_like_retention(site)
    settings = asking(site, orthanc.dicom_port)
    assert commanded(monkeypatch, settings, "--since", YESTERDAY)[1]["missing"] == []
    assert not file.exists()
    status, found = commanded(monkeypatch, settings, "--study", uid)
    assert (status, found["fetched"], found["complete"]) == (0, 1, True), found
    assert file.exists()
    assert instances(site) == 1
    assert [event.study_instance_uid for event in events(site, "image_restored")] == [uid]
    orthanc.delete(name)
    delete_like_retention(site)
    status, found = commanded(monkeypatch, settings, "--study", uid)
    assert (status, found["complete"]) == (1, False)
    assert "did not come back" in found["problem"]


def lose(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [lose, cut])
def test_what_the_disk_lost_is_fetched_when_its_study_is_asked_for(
    damage: Callable[[Path], None], start_hospital: StartHospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc, site = start_hospital(NO_ROUTING, command=LISTEN)
    film, other = recent_radiograph(), recent_radiograph()
    for number, item in enumerate((film, other)):
        name = orthanc.push(write_dicom(item, tmp_path / f"film{number}.dcm"))
        orthanc.call("/modalities/CXRAI/store", name.encode())
    wait_until(lambda: instances(site) == 2, "both films are stored")
    (file,) = (site.settings.instances_dir / str(film.StudyInstanceUID)).glob("*")
    received = file.read_bytes()
    damage(file)
    settings = asking(site, orthanc.dicom_port)
    status, found = commanded(monkeypatch, settings, "--study", str(film.StudyInstanceUID))
    assert (status, found["fetched"], found["complete"]) == (0, 1, True), found
    assert file.read_bytes() == received
    status, found = commanded(monkeypatch, settings, "--study", str(film.StudyInstanceUID))
    assert (status, found["missing"]) == (0, [])  # nothing is fetched that is as it was received
