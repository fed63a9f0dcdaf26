"""Everything kept of one patient is deleted, and of nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from hl7_messages import patient, update
from patient_traces import IDENTITY, MARK
from peers import running_pacs
from rows_of import all_rows
from sqlalchemy import select
from typer.testing import CliRunner

from dicom_io.storing.instance_store import InstanceStore
from worker.arrival.completion import queue_if_due
from worker.care.administration import mark_read
from worker.care.forgetting import ForgettingRefused, Forgotten, forget_patient
from worker.care.identity_correction import Identity, correct_study
from worker.cli import app
from worker.hl7.inbox import Inbox
from worker.rows.database import SessionFactory, database_now
from worker.rows.site_tables import Event, InboundMessage
from worker.rows.study_tables import Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

pytestmark = pytest.mark.either_database

PATIENT_ID = IDENTITY["PatientID"]


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> Iterator[Bench]:
    write_test_bundle(tmp_path / "bundle")
    with running_pacs() as pacs:
        archive = pacs.destination
        yield Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[archive]), sessions)


def forget(bench: Bench, patient_id: str = PATIENT_ID, issuer: str | None = None) -> Forgotten:
    with bench.sessions.begin() as session:
        return forget_patient(
            session, patient_id, issuer, reason="asked for by the patient", by="Ada Admin", settings=bench.settings
        )


def sent(bench: Bench, **keywords: object) -> str:
    uid = bench.triage(chest_radiograph(**IDENTITY | keywords)).study_instance_uid
    deliver(uid, bench.office)
    return uid


def test_no_row_and_no_file_of_the_patient_is_left_and_another_patient_keeps_everything(bench: Bench) -> None:
    other = sent(bench, PatientName="Other^One", PatientID="OTHER-1", OtherPatientIDs="", StudyID="1",
                 AccessionNumber="2", ReferringPhysicianName="", PatientBirthDate="19600101")  # fmt: skip
    kept = [(row.disposition, row.path) for row in bench.instances(other)]
    uid = sent(bench)
    with bench.sessions.begin() as session:
        mark_read(session, uid, "Dr. Reader")
    inbox = Inbox(bench.settings, Hl7Listener(), bench.sessions)
    inbox.take(update(patient(PATIENT_ID, "Zqxmark^Jane", "19470813")), "127.0.0.1")
    inbox.take(update(patient("OTHER-1")), "127.0.0.1")
    InstanceStore(bench.settings.instances_dir).quarantine([b"\0\1" + PATIENT_ID.encode()], "unreadable")
    assert MARK in all_rows(bench.sessions).lower()

    forgotten = forget(bench)
    assert (forgotten.studies, forgotten.instances, forgotten.messages, forgotten.quarantined) == (1, 1, 1, 1)
    assert forgotten.results == 3
    rows = all_rows(bench.sessions)
    assert MARK not in rows.lower()
    assert uid not in rows
    for path in bench.settings.data_dir.rglob("*"):
        assert uid not in str(path)
        assert not path.is_file() or ".db" in path.name or MARK.encode() not in path.read_bytes().lower()
    with bench.sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "forgotten"))
        assert (event.actor, event.reason, event.study_instance_uid) == ("Ada Admin", "asked for by the patient", None)
        assert session.scalars(select(InboundMessage)).one().content is not None, "the other patient's message"
    assert [(row.disposition, row.path) for row in bench.instances(other)] == kept
    assert all((bench.settings.instances_dir / path).is_file() for _, path in kept)
    assert sent(bench, StudyInstanceUID=uid) == uid, "sent again, it is a new study"


def test_unfinished_work_is_never_deleted(bench: Bench) -> None:
    received = bench.receive(chest_radiograph(**IDENTITY))
    with pytest.raises(ForgettingRefused, match=f"{received} is unfinished"):
        forget(bench)
    assert bench.instances(received)
    analysed = bench.triage(chest_radiograph(**IDENTITY | {"PatientID": "ZQXMARK-2"})).study_instance_uid
    with pytest.raises(ForgettingRefused, match="analysed or sent"):
        forget(bench, "ZQXMARK-2")
    deliver(analysed, bench.office)
    assert forget(bench, "ZQXMARK-2").studies == 1


def test_a_number_of_two_issuers_wants_the_issuer_and_a_study_of_two_patients_a_decision(bench: Bench) -> None:
    first = sent(bench, IssuerOfPatientID="NORTH")
    second = sent(bench, IssuerOfPatientID="SOUTH")
    with pytest.raises(ForgettingRefused, match="--issuer"):
        forget(bench)
    assert forget(bench, issuer="NORTH").studies == 1
    with bench.sessions() as session:
        assert session.get(Study, first) is None
        assert session.get(Study, second) is not None
    bench.receive(chest_radiograph(**IDENTITY | {"PatientID": "SOMEBODY", "StudyInstanceUID": second}))
    with pytest.raises(ForgettingRefused, match=r"another patient|unfinished"):
        forget(bench)


@pytest.mark.parametrize("nobody", ["", " "])
def test_an_empty_number_is_nobodys(bench: Bench, nobody: str) -> None:
    """As a script passes it whose variable is not set: many patients' images come without a number."""
    first, second = (sent(bench, **IDENTITY | {"PatientID": ""}) for _ in range(2))
    Inbox(bench.settings, Hl7Listener(), bench.sessions).take(update(patient("OTHER-1")), "127.0.0.1")
    refused = InstanceStore(bench.settings.instances_dir).quarantine([b"\0\1 "], "unreadable")
    with pytest.raises(ForgettingRefused, match="Patient ID is empty"):
        forget(bench, nobody)
    assert bench.instances(first)
    assert bench.instances(second)
    assert refused.exists()


def test_a_corrected_study_is_forgotten_under_its_right_number(bench: Bench) -> None:
    uid = sent(bench)
    with bench.sessions.begin() as session:
        correct_study(
            session, uid, Identity(patient_id="RIGHT-1"), reason="typing error", by="Ada Admin", settings=bench.settings
        )
    with bench.sessions.begin() as session:
        assert queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper") is not None
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert forget(bench, "RIGHT-1").studies == 1
    assert uid not in all_rows(bench.sessions)


def test_the_command_asks_first_and_names_nobody(bench: Bench, database_url: str, tmp_path: Path) -> None:
    sent(bench)
    config = tmp_path / "site.toml"
    config.write_text(f'data_dir = "{bench.settings.data_dir}"\ndatabase_url = "{database_url}"\n')
    forgetting = ["forget", PATIENT_ID, "--reason", "asked", "--by", "Ada", "--config", str(config)]
    assert CliRunner().invoke(app, forgetting, input="n\n").exit_code == 1
    assert MARK in all_rows(bench.sessions).lower()
    done = CliRunner().invoke(app, [*forgetting, "--yes"])
    assert done.exit_code == 0, done.output
    assert "1 studies with 1 images and 3 results are deleted" in done.output
    assert MARK not in done.output.lower()
    with pytest.raises(ForgettingRefused, match="nothing is kept"):
        CliRunner().invoke(app, [*forgetting, "--yes"], catch_exceptions=False)
