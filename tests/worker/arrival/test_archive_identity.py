"""Whose study it is by the archive's word: asked by C-FIND of a real Orthanc, and of peers that answer badly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, write_dicom
from one_database import database_url  # noqa: F401 (a fixture; corrections are tried on both elsewhere)
from orthanc import StartHospital
from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event as NetworkEvent
from sites import wait_until
from sqlalchemy import select

from worker.arrival.completion import queue_if_due
from worker.arrival.correction import correct_identity
from worker.processes.ringing import Bells
from worker.processes.sweep import Sweeper
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import locked_study
from worker.rows.site_tables import Event
from worker.runs.triage import triage
from worker.sending.archive_identity import settle_identity
from worker.sending.delivery import deliver
from worker.settings.config import ConfigurationError, Settings

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
OBJECTS = 1 + len(FLAGGED)


@pytest.mark.timeout(400)
def test_orthancs_patient_and_order_are_those_of_the_results_and_what_it_lacks_is_waited_for(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    orthanc, site = start_hospital("", {"refresh_identity": True}, accept_unknown_sources=True)
    image = chest_radiograph(PatientID="TYPED", AccessionNumber="A-TYPED")
    uid = str(image.StudyInstanceUID)
    reconciled = deepcopy(image)
    reconciled.PatientID, reconciled.PatientName, reconciled.AccessionNumber = "HIS-1", "Right^Name", "A-HIS"
    assert site.send(write_dicom(image, tmp_path / "typed.dcm"))[0].accepted
    site.wait_for_state(uid, "triaged")

    def waits() -> bool:
        with site.session() as session:
            comments = session.scalars(select(Delivery.last_comment)).all()
        return len(comments) == OBJECTS and all("does not know the study yet" in str(words) for words in comments)

    wait_until(waits, "the archive was asked")
    assert orthanc.results(uid) == []
    orthanc.push(write_dicom(reconciled, tmp_path / "reconciled.dcm"))
    wait_until(lambda: len(orthanc.results(uid)) == OBJECTS, "the results are there")
    site.wait_for_delivery(uid, "sent")
    keywords = ("PatientID", "PatientName", "AccessionNumber")
    found = {tuple(orthanc.tag(item, keyword) for keyword in keywords) for item in orthanc.results(uid)}
    assert found == {("HIS-1", "Right^Name", "A-HIS")}, "and nothing ever left under what was typed"
    with site.session() as session:
        event = session.scalars(select(Event).where(Event.kind == "identity_corrected")).one()
    assert "by the word of orthanc" in str(event.reason)
    assert "HIS-1" not in site.log()


class AskedPacs(StandInPacs):
    """A stand-in PACS that answers C-FIND with these matches, or this status."""

    def __init__(self, matches: list[Dataset] | None = None, status: int = 0x0000) -> None:
        super().__init__()
        self.matches = matches or []
        self.find_status = status
        self.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, self._find))

    def _find(self, event: NetworkEvent) -> Iterator[tuple[int, Dataset | None]]:
        for match in self.matches:
            yield 0xFF00, match
        yield self.find_status, None


@pytest.fixture
def start(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Iterator[Any]:
    started: list[StandInPacs] = []
    write_test_bundle(tmp_path / "bundle")

    def begin(pacs: StandInPacs) -> Bench:
        started.append(pacs)
        pacs.start()
        address = pacs.destination
        settings = make_settings(
            bundles={"default": tmp_path / "bundle"}, destinations=[address | {"refresh_identity": True}]
        )
        return Bench(settings, sessions)

    yield begin
    for pacs in started:
        pacs.stop()


def match(uid: str, **values: str) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", uid
    for keyword, value in values.items():
        setattr(answer, keyword, value)
    return answer


def comments(bench: Bench, uid: str) -> set[str | None]:
    return {row.last_comment for row in bench.deliveries(bench.runs(uid)[-1])}


def test_a_name_in_another_script_is_taken_as_it_is_and_empty_answers_change_nothing(start: Any) -> None:
    pacs = AskedPacs()
    bench = start(pacs)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    pacs.matches = [match(uid, SpecificCharacterSet="ISO_IR 144", PatientID="", PatientName="Иванов^Иван")]
    deliver(uid, bench.office)
    assert pacs.stored == []
    with bench.sessions.begin() as session:
        assert queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper") is not None
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert {(str(a.dataset.PatientName), a.dataset.PatientID) for a in pacs.stored} == {("Иванов^Иван", "PHANTOM-1")}
    assert len(pacs.stored) == OBJECTS


@pytest.mark.parametrize(
    ("pacs", "words"),
    [
        (lambda: StandInPacs(), "does not offer queries"),
        (lambda: AskedPacs(status=0xA700), "status 0xA700"),
        (lambda: AskedPacs([match("1.2.3", PatientID="OTHER")]), "does not know the study yet"),
    ],
    ids=["no queries", "refused", "another study"],
)
def test_without_an_answer_results_wait_and_say_why(start: Any, pacs: Callable[[], StandInPacs], words: str) -> None:
    asked = pacs()
    bench = start(asked)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    assert asked.stored == []
    assert {row.state for row in bench.deliveries(bench.runs(uid)[0])} == {"pending"}
    assert all(words in str(comment) for comment in comments(bench, uid))


def test_two_identities_in_the_archive_are_left_to_a_person(start: Any) -> None:
    pacs = AskedPacs()
    bench = start(pacs)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    pacs.matches = [match(uid, PatientID="ONE"), match(uid, PatientID="TWO")]
    deliver(uid, bench.office)
    assert pacs.stored == []
    assert {"PACS has the study under 2 identities; settle that there"} == comments(bench, uid)
    assert bench.study(uid).patient_id == "PHANTOM-1"


def test_what_hl7_or_a_person_said_stands_against_an_archive_that_lags(start: Any) -> None:
    pacs = AskedPacs()
    bench = start(pacs)
    uid = bench.receive(chest_radiograph())
    with bench.sessions.begin() as session:
        study = locked_study(session, uid)
        assert study is not None
        said = {"patient_id": "MERGED", "issuer_of_patient_id": "", "demographics": {}}
        correct_identity(session, study, cause="ADT^A40", actor="hl7", **said)
    triage(uid, bench.workplace)
    pacs.matches = [match(uid, PatientID="PHANTOM-1")]
    deliver(uid, bench.office)
    assert {arrival.dataset.PatientID for arrival in pacs.stored} == {"MERGED"}


def test_a_study_that_is_held_meanwhile_stays_so_whichever_of_two_patients_the_archive_names(start: Any) -> None:
    pacs = AskedPacs()
    bench = start(pacs)
    image = chest_radiograph(PatientID="ONE")
    uid = bench.receive(image)
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="TWO"))
    assert bench.study(uid).state == "held"
    pacs.matches = [match(uid, PatientID="TWO", PatientName=str(image.PatientName))]
    (destination,) = bench.settings.destinations
    settle_identity(uid, destination, bench.office)
    bells = Bells(lambda _uid, _queue: None, lambda _uid: None, lambda _queue: 1)
    Sweeper(bench.settings, bench.sessions, bench.workplace.instances, bells, "sweeper-1").sweep()
    assert (bench.study(uid).state, bench.study(uid).patient_id) == ("held", "ONE")


def test_only_one_archive_says_whose_study_it_is(make_settings: Callable[..., Settings]) -> None:
    address = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104, "refresh_identity": True}
    with pytest.raises(ConfigurationError, match="one archive says whose study it is"):
        make_settings(destinations=[address | {"name": "a"}, address | {"name": "b"}])
