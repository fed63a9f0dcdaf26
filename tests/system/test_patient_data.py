"""No name, number or birth date of a patient outside the stores and the rows made for them, whatever goes wrong."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom
from hl7.client import MLLPClient
from hl7_messages import patient, report, update
from patient_traces import IDENTITY, MARK, traces
from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom.events import Event
from services import free_port, wait_for_port
from sites import DELIVERY, LISTEN, SWEEP, TRIAGE, Site, wait_until

from hl7_io.mllp import framed
from worker.rows.database import open_engine, session_factory
from worker.rows.events import record

pytestmark = pytest.mark.timeout(400)


class QuotingPacs(StandInPacs):
    """Refuses every object and quotes the patient's name while doing so, as some archives do."""

    def _store(self, event: Event) -> Dataset:  # type: ignore[override]
        super()._store(event)
        answer = Dataset()
        answer.Status = 0xA700
        answer.ErrorComment = f"no room for {IDENTITY['PatientName']}"
        return answer


@pytest.fixture
def quoting_pacs() -> Iterator[StandInPacs]:
    pacs = QuotingPacs(status=lambda *_: 0xA700)
    pacs.start()
    yield pacs
    pacs.stop()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of all processes started from here."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def site(temporary: Path, quoting_pacs: StandInPacs, site_with: Callable[..., Site]) -> Site:
    return site_with(
        worklist_port=free_port(),
        destinations=[quoting_pacs.destination],
        hl7_destinations=[{
            "name": "ris", "host": "127.0.0.1", "port": free_port(), "receiving_application": "RIS",
            "receiving_facility": "HOSPITAL",
        }],
        hl7_listener={"port": free_port()},
    )  # fmt: skip


def test_nothing_names_the_patient_while_all_goes_well_and_while_it_does_not(
    site: Site, temporary: Path, quoting_pacs: StandInPacs, tmp_path: Path
) -> None:
    site.start_listening(LISTEN)
    site.start(SWEEP)
    uids = _send_what_hospitals_send(site, tmp_path)
    wait_until(lambda: (study := site.study(uids["good"])) is not None and study.state == "queued", "a run is queued")
    wait_until(lambda: list(site.settings.data_dir.rglob("*.msg")), "a task message waits in the broker's folder")
    assert traces(site, [temporary]) == [], "before any worker was there to take the messages"

    for command in (TRIAGE, DELIVERY, ("hl7",)):
        site.start(command)
    site.start((), module="worklist")
    assert site.settings.hl7_listener is not None
    for port in (site.settings.hl7_listener.port, site.settings.worklist_port):
        wait_for_port(port, 120)
    site.wait_for_state(uids["good"], "triaged")
    assert site.wait_for_state(uids["broken"], "not_analysed").reason_code == "undecodable"
    assert site.wait_for_state(uids["two patients"], "held").reason_code == "identity_conflict"
    wait_until(lambda: quoting_pacs.arrivals and "A700" in site.log().upper(), "the archive refused")
    _send_messages(site)
    answers = _ask_the_page(site, uids["good"])
    assert any("cxr_" in answer for answer in answers), "the metrics were read"
    assert traces(site, [temporary], answers) == []


@pytest.mark.parametrize("place", ["log", "temporary file", "event", "metrics"])
def test_a_planted_mark_is_found(site: Site, temporary: Path, place: str) -> None:
    site.log_path.write_text("nothing\n")
    assert traces(site, [temporary], ["cxr_studies 1"]) == []
    answers = []
    if place == "log":
        site.log_path.write_text(f"stored {IDENTITY['PatientName']}\n")
    elif place == "temporary file":
        (temporary / "left.bin").write_bytes(b"\0" + IDENTITY["PatientBirthDate"].encode())
    elif place == "metrics":
        answers = [f'cxr_studies{{patient="{IDENTITY["PatientID"]}"}} 1']
    else:
        with session_factory(open_engine(site.settings.effective_database_url)).begin() as session:
            record(session, "received", actor="test", study_instance_uid="1.2", reason=MARK)
    assert len(traces(site, [temporary], answers)) == 1


def _send_what_hospitals_send(site: Site, folder: Path) -> dict[str, str]:
    """Send a good image, one cut short, two patients in one study, one without UIDs and no DICOM at all."""
    good, broken, other = (chest_radiograph(**IDENTITY) for _ in range(3))
    broken.PixelData = broken.PixelData[:300]
    twin = chest_radiograph(**IDENTITY | {"PatientID": "ZQXMARK-4712", "StudyInstanceUID": other.StudyInstanceUID})
    unnamed = chest_radiograph(**IDENTITY, StudyInstanceUID="")
    accepted = [write_dicom(each, folder / f"{place}.dcm") for place, each in enumerate((good, broken, other, twin))]
    assert [outcome.status for outcome in site.send(*accepted)] == [0x0000] * 4
    assert site.send(write_dicom(unnamed, folder / "unnamed.dcm"))[0].status != 0x0000
    named = {"good": good, "broken": broken, "two patients": other}
    return {name: str(dataset.StudyInstanceUID) for name, dataset in named.items()}


def _send_messages(site: Site) -> None:
    """Send an update, a final report and bytes that are neither, each about the marked patient."""
    assert site.settings.hl7_listener is not None
    marked = patient(IDENTITY["PatientID"], IDENTITY["PatientName"], IDENTITY["PatientBirthDate"])
    broken = update(marked).replace(b"EVN|", b"E V N|").replace(b"PV1", b"\xff\xfe")
    for content in (update(marked), report(marked, accession=IDENTITY["AccessionNumber"]), broken):
        with MLLPClient("127.0.0.1", site.settings.hl7_listener.port) as client:
            client.socket.settimeout(20)
            assert b"MSA|" in client.send(framed(content))


def _ask_the_page(site: Site, uid: str) -> list[str]:
    """Look at the patient on the page; return what programs without a reader's eyes are told: numbers and refusals."""
    for shown in (f"/?q={IDENTITY['PatientID']}", f"/studies/{uid}"):
        assert MARK in _get(site, shown).lower(), "the reader sees the patient"
    _get(site, f"/studies/{IDENTITY['AccessionNumber']}")  # says again what was asked; only the log is of interest
    return [_get(site, path) for path in ("/metrics", "/healthz", "/studies/1.2.3")]


def _get(site: Site, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.settings.worklist_port}{path}", timeout=30) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    return content.decode()
