"""A corrected order or patient: results are issued again under it, and the images stay as they came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import write_test_bundle
from factories import chest_radiograph
from peers import StandInPacs, running_pacs
from pydicom.dataset import Dataset

from worker.arrival.completion import queue_if_due
from worker.arrival.correction import correct_identity
from worker.rows.database import SessionFactory, database_now
from worker.rows.leases import locked_study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: what is special to PostgreSQL has tests of its own."""
    return sqlite_url


@pytest.fixture
def pacs() -> Iterator[StandInPacs]:
    with running_pacs() as started:
        yield started


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path, pacs: StandInPacs) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    archive = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, destinations=[archive]), sessions)


def delivered(bench: Bench, **keywords: Any) -> str:
    uid = bench.triage(chest_radiograph(**keywords)).study_instance_uid
    deliver(uid, bench.office)
    return uid


def correct(bench: Bench, uid: str, **changed: Any) -> bool:
    with bench.sessions.begin() as session:
        study = locked_study(session, uid)
        assert study is not None
        said = {"patient_id": study.patient_id, "issuer_of_patient_id": "", "demographics": {}, **changed}
        return correct_identity(session, study, cause="archive", actor="test", **said)


def run_if_due(bench: Bench, uid: str) -> bool:
    with bench.sessions.begin() as session:
        queued = queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper")
    if queued is not None:
        triage(uid, bench.workplace)
        deliver(uid, bench.office)
    return queued is not None


def request(accession_number: str) -> Dataset:
    item = Dataset()
    item.AccessionNumber, item.RequestedProcedureID = accession_number, "RP-1"
    return item


def test_a_corrected_accession_number_is_in_every_result_and_in_the_request_the_report_answers(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [request("A0001"), request("OTHER")]
    uid = delivered(bench, AccessionNumber="A0001", RequestAttributesSequence=orders)
    before = len(pacs.stored)
    monkeypatch.setattr("worker.runs.triage.analyse", lambda *arguments: pytest.fail("looked at the picture again"))
    assert correct(bench, uid, accession_number="A0002")
    assert bench.study(uid).accession_number == "A0002"
    assert run_if_due(bench, uid)
    again = [arrival.dataset for arrival in pacs.stored[before:] if arrival.dataset.Modality != "KO"]
    assert {o.AccessionNumber for o in again} == {"A0002"}
    (report,) = [o for o in again if o.Modality == "SR"]
    assert [item.AccessionNumber for item in report.ReferencedRequestSequence] == ["A0002", "OTHER"]
    assert not correct(bench, uid, accession_number="A0002")
    assert not run_if_due(bench, uid)


def test_an_image_of_another_order_keeps_its_accession_number(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    correct(bench, uid, accession_number="A0002")
    run_if_due(bench, uid)
    study = bench.triage(chest_radiograph(StudyInstanceUID=uid, AccessionNumber="A0003"))
    assert (study.state, study.accession_number) == ("triaged", "A0002")
    (report,) = [o for o in bench.datasets(bench.runs(uid)[-1]) if o.Modality == "SR"]
    assert report.AccessionNumber == "A0002"


def test_an_image_that_comes_later_under_the_old_accession_number_is_of_the_corrected_order(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    correct(bench, uid, accession_number="A0002")
    study = bench.triage(chest_radiograph(StudyInstanceUID=uid, AccessionNumber="A0001"))
    assert study.accession_number == "A0002"
    datasets = bench.datasets(bench.runs(uid)[-1])
    assert {o.AccessionNumber for o in datasets} == {"A0002"}


def test_patient_and_order_are_corrected_together(bench: Bench) -> None:
    uid = delivered(bench, AccessionNumber="A0001")
    assert correct(bench, uid, patient_id="RIGHT", accession_number="A0002", demographics={"patient_name": "Right^One"})
    run_if_due(bench, uid)
    for dataset in bench.datasets(bench.runs(uid)[-1]):
        assert (dataset.PatientID, dataset.AccessionNumber, str(dataset.PatientName)) == ("RIGHT", "A0002", "Right^One")
