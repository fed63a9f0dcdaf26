"""The real processes from C-STORE to the PACS: SQLite with messages on disk, and PostgreSQL with Redis."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from benches import dicom_bytes
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, computed_radiograph, write_dicom
from peers import StandInPacs, WatchedPacs
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, RLELossless, generate_uid
from services import free_port, wait_for_port
from sites import QUICK, Site, wait_until
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from worker.rows.migrate import upgrade
from worker.rows.site_tables import ProcessHeartbeat
from worker.settings.config import load_settings

pytestmark = pytest.mark.timeout(400)
DATABASE = "cxr_end_to_end"
OBJECTS = 1 + len(FLAGGED)
"""One report and one picture per flagged finding."""

KEPT_LONG = {"keep_open_seconds": 30.0}
"""Longer than the worker takes to stop."""


@pytest.fixture(scope="module")
def pacs() -> Iterator[WatchedPacs]:
    started = WatchedPacs()
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def empty_postgresql_url(postgres_url: str) -> Iterator[str]:
    """URL of a fresh database for all tests of this file."""
    administration = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
        yield make_url(postgres_url).set(database=DATABASE).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))
    administration.dispose()


@pytest.fixture(
    scope="module", params=[pytest.param("sqlite and files", marks=pytest.mark.slow), "postgresql and redis"]
)
def site(request: pytest.FixtureRequest, pacs: WatchedPacs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    urls = {}
    if request.param != "sqlite and files":
        urls["database_url"] = request.getfixturevalue("empty_postgresql_url")
        urls["broker_url"] = request.getfixturevalue("redis_url")
    settings = load_settings(
        data_dir=folder / "data",
        listen_port=free_port(),
        worklist_port=free_port(),
        bundles={"default": write_test_bundle(folder / "bundle").folder},
        destinations=[pacs.destination | KEPT_LONG],
        **urls,
        **QUICK,
    )
    settings.data_dir.mkdir()
    upgrade(settings.effective_database_url)
    running = Site(settings, folder / "log.txt", forked=False)
    try:
        whole = running.start_listening(("up",))
        yield running
        kept_open = list(pacs.open)
        whole.terminate()
        whole.wait(60)
    finally:
        running.stop()
    assert whole.returncode == 0, "a clean stop has exit status 0"
    assert heartbeats(running) == {}, "processes that ended on purpose are not missed"
    wait_until(lambda: not pacs.open, "end of the associations that were kept open", 5)
    assert all(association.is_released for association in kept_open), "they are released in order"


def heartbeats(site: Site) -> dict[str, str]:
    """Return what the processes that show themselves compute on, by role."""
    with site.session() as session:
        return {row.role: row.device for row in session.scalars(select(ProcessHeartbeat))}


def in_pacs(pacs: StandInPacs, study_instance_uid: str) -> list[Dataset]:
    """Return every object of the study that reached the PACS, each arrival counted."""
    datasets = [arrival.dataset for arrival in pacs.stored]
    return [dataset for dataset in datasets if dataset.StudyInstanceUID == study_instance_uid]


def send(site: Site, folder: Path, *datasets: Dataset) -> str:
    paths = [write_dicom(dataset, folder / f"{dataset.SOPInstanceUID}.dcm") for dataset in datasets]
    assert [outcome.status for outcome in site.send(*paths)] == [0x0000] * len(paths)
    return str(datasets[0].StudyInstanceUID)


def delivered(site: Site, folder: Path, *datasets: Dataset) -> str:
    uid = send(site, folder, *datasets)
    site.wait_for_state(uid, "triaged")
    site.wait_for_delivery(uid, "sent")
    return uid


def test_a_radiograph_comes_back_as_report_pictures_priority_and_a_line_on_the_page(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    source = chest_radiograph(AccessionNumber="E2E-1", PatientName="Doe^Jane")
    uid = delivered(site, tmp_path, source)
    results = in_pacs(pacs, uid)
    assert sorted(dataset.Modality for dataset in results) == ["OT", "OT", "SR"]
    assert {(dataset.AccessionNumber, str(dataset.PatientName)) for dataset in results} == {("E2E-1", "Doe^Jane")}
    study = site.study(uid)
    assert study is not None
    assert (study.priority, study.state) == ("STAT", "triaged")
    wait_for_port(site.settings.worklist_port, 30)
    with urllib.request.urlopen(f"http://127.0.0.1:{site.settings.worklist_port}/", timeout=30) as page:
        assert "Pneumothorax" in page.read().decode()


def test_every_process_shows_itself(site: Site) -> None:
    expected = {"listener": "", "sweeper": "", "triage worker": "openvino", "delivery worker": ""}
    wait_until(lambda: heartbeats(site) == expected, "every process gave a sign of life")


def test_no_name_and_no_patient_id_stands_in_any_log_line(site: Site, tmp_path: Path) -> None:
    broken = chest_radiograph(PatientName="Secret^Person", PatientID="SECRET-4711", AccessionNumber="SECRETACC")
    broken.PixelData = broken.PixelData[:300]
    uid = send(site, tmp_path, broken)
    assert site.wait_for_state(uid, "not_analysed").reason_code == "undecodable"
    log = site.log()
    assert uid in log
    assert not [word for word in ("Secret", "SECRET-4711", "SECRETACC") if word in log]


def test_sent_twice_and_transcoded_there_is_still_one_result_set(site: Site, pacs: StandInPacs, tmp_path: Path) -> None:
    source = chest_radiograph()
    uid = delivered(site, tmp_path, source)
    send(site, tmp_path, source)
    copy = pydicom.dcmread(BytesIO(dicom_bytes(source)))
    copy.compress(RLELossless, generate_instance_uid=False)
    send(site, tmp_path, copy)
    wait_until(lambda: len(site.runs(uid)) == 2, "the run for the transcoded version")
    site.wait_for_state(uid, "triaged")
    assert [run.outcome for run in site.runs(uid)] == ["triaged", "unchanged"]
    assert len(in_pacs(pacs, uid)) == OBJECTS


def test_own_results_coming_back_make_no_run(site: Site, pacs: StandInPacs, tmp_path: Path) -> None:
    uid = delivered(site, tmp_path, chest_radiograph())
    send(site, tmp_path, *in_pacs(pacs, uid))
    probe = delivered(site, tmp_path, chest_radiograph())  # whatever the loop had started would be done before this
    assert probe != uid
    assert len(site.runs(uid)) == 1
    assert len(in_pacs(pacs, uid)) == OBJECTS


def test_a_late_image_supersedes_and_the_new_report_names_the_old(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    first = chest_radiograph()
    uid = delivered(site, tmp_path, first)
    old = {dataset.SOPInstanceUID for dataset in in_pacs(pacs, uid) if dataset.Modality == "SR"}
    late = computed_radiograph(StudyInstanceUID=uid)
    send(site, tmp_path, late)
    wait_until(lambda: len(site.runs(uid)) == 2, "the late image's run")
    site.wait_for_state(uid, "triaged")
    site.wait_for_delivery(uid, "sent")
    (report,) = [d for d in in_pacs(pacs, uid) if d.Modality == "SR" and d.SOPInstanceUID not in old]
    predecessor = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert {predecessor.ReferencedSOPInstanceUID} == old


def test_a_leg_is_out_of_scope_and_a_mixed_study_is_analysed_for_its_chest_image(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    leg = computed_radiograph(BodyPartExamined="LEG", StudyDescription="Leg", ViewPosition="AP")
    leg_uid = send(site, tmp_path, leg)
    chest = chest_radiograph()
    report = chest_radiograph(
        StudyInstanceUID=chest.StudyInstanceUID,
        SOPClassUID=ComprehensiveSRStorage,
        SOPInstanceUID=generate_uid(),
        Modality="SR",
        PixelData=None,
    )
    chest_uid = delivered(site, tmp_path, report, chest)
    assert len(in_pacs(pacs, chest_uid)) == OBJECTS
    assert site.wait_for_state(leg_uid, "out_of_scope").reason_code == "not_chest"
    assert in_pacs(pacs, leg_uid) == []


@pytest.mark.parametrize("other", [{"PatientID": "TWO"}, {"PatientName": "Roe^Jane"}, {"PatientBirthDate": "19610101"}])
def test_two_patients_in_one_study_are_held_and_nothing_is_sent(
    site: Site, pacs: StandInPacs, tmp_path: Path, other: dict[str, str]
) -> None:
    one = chest_radiograph(PatientID="ONE", PatientName="Doe^John")
    same = {"PatientID": "ONE", "PatientName": "DOE^JOHN", "StudyInstanceUID": one.StudyInstanceUID}
    two = chest_radiograph(**same | other)
    uid = send(site, tmp_path, one, two)
    assert site.wait_for_state(uid, "held").reason_code == "identity_conflict"
    delivered(site, tmp_path, chest_radiograph())
    assert in_pacs(pacs, uid) == []


@pytest.mark.parametrize(
    ("names", "choice", "chosen"),
    [
        (("Doe^John", "Roe^Jane"), ("--patient-id", "TWO"), ("TWO", "Roe^Jane")),
        (("Doe^John", "Roe^Jane"), ("--patient-name", "Doe^John"), ("ONE", "Doe^John")),
        (("Doe^John", "Roe^Jane"), ("--patient-name", "Roe^Jane", "--one-patient"), ("ONE", "Roe^Jane")),
    ],
)
def test_a_held_study_that_is_released_comes_back_as_the_chosen_patients(
    site: Site,
    pacs: StandInPacs,
    tmp_path: Path,
    names: tuple[str, str],
    choice: tuple[str, ...],
    chosen: tuple[str, str],
) -> None:
    one = chest_radiograph(PatientID="ONE", PatientName=names[0])
    same = {"PatientID": chosen[0], "StudyInstanceUID": one.StudyInstanceUID}
    two = chest_radiograph(**same, PatientName=names[1])
    uid = send(site, tmp_path, one, two)
    site.wait_for_state(uid, "held")
    released = site.run("release", uid, *choice)
    assert released.returncode == 0, released.stderr
    site.wait_for_state(uid, "triaged")
    site.wait_for_delivery(uid, "sent")
    results = in_pacs(pacs, uid)
    assert len(results) == OBJECTS
    assert {(str(result.PatientID), str(result.PatientName)) for result in results} == {chosen}


def test_an_archive_that_was_away_gets_everything_when_it_is_back(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    pacs.stop()
    try:
        uid = send(site, tmp_path, chest_radiograph())
        site.wait_for_state(uid, "triaged")
        wait_until(lambda: site.delivery_states(uid) == {"pending"}, "deliveries wait")
    finally:
        pacs.start()
    site.wait_for_delivery(uid, "sent")
    assert len(in_pacs(pacs, uid)) == OBJECTS
