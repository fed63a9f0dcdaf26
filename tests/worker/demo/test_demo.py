from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from bundles import SAYS, write_test_bundle
from factories import chest_radiograph, write_dicom
from peers import StandInPacs
from pydicom import dcmread
from services import free_port
from study_rows import NOW as ROWS_NOW
from study_rows import add_triaged_study

from dicom_io.services.storage_scu import send
from model.bundle import Bundle
from model.labels import LABELS
from worker.demo.demonstration import is_over, send_study
from worker.demo.pacs import StoredObject, stand_in_pacs
from worker.demo.report import Outcome, violations
from worker.demo.setup import MARKER, DemoFailed, demo_settings, free_ports, fresh_folder
from worker.demo.studies import (
    DemoStudy,
    Expectation,
    SampleMissing,
    expectation_of,
    phantom_studies,
    real_studies,
    sample_path,
)
from worker.rows.database import SessionFactory
from worker.rows.states import Priority, StudyState
from worker.settings.config import load_settings
from worker.views.study_detail import study_detail

NOW = datetime(2026, 3, 2, 9, 30)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_test_bundle(tmp_path / "bundle", demonstration=True)


def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with pytest.raises(DemoFailed, match="no demonstration made it"), fresh_folder(tmp_path):
        pytest.fail("it must not begin")
    assert precious.read_text() == "mine"


def test_an_old_demonstration_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with fresh_folder(folder):
        (folder / "old").write_text("x")
    with fresh_folder(folder):
        assert sorted(path.name for path in folder.iterdir()) == [MARKER, "outgoing"]


def test_a_running_demonstration_keeps_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with fresh_folder(folder):
        (folder / "its").write_text("x")
        with pytest.raises(DemoFailed, match="is running in"), fresh_folder(folder):
            pytest.fail("it must not begin")
        assert (folder / "its").read_text() == "x"


def test_the_configuration_stays_on_loopback_and_knows_its_sender(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_LISTEN_HOST", "192.0.2.1")
    ports = free_ports()
    settings = demo_settings(tmp_path, ports, bundle, bundle)
    assert "CXR_CONFIG" not in os.environ
    assert (settings.listen_host, settings.worklist_host) == ("127.0.0.1", "127.0.0.1")
    assert not settings.accept_unknown_sources
    assert settings.source("DEMOMODALITY") is not None
    assert settings.allow_demonstration_bundle
    assert settings.bundles == {"default": bundle.folder, "real": bundle.folder}
    assert (settings.source("DEMOMODALITY").bundle, settings.source("DEMOREALFILMS").bundle) == ("default", "real")
    assert len({ports.listener, ports.page, ports.pacs, ports.pacs_web}) == 4
    assert not load_settings().allow_demonstration_bundle


def test_real_radiographs_get_new_identities_and_keep_their_pixels(tmp_path: Path) -> None:
    studies = real_studies(tmp_path, NOW)
    assert [study.expectation.state for study in studies] == ["triaged", "triaged", "out_of_scope"]
    datasets = [dcmread(study.files[0]) for study in studies]
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 3
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 3
    assert {dataset.StudyDate for dataset in datasets} == {"20260302"}
    assert [dataset.file_meta.TransferSyntaxUID.is_compressed for dataset in datasets] == [False, True, False]
    assert datasets[0].PixelData == dcmread(sample_path("RG1_UNCR.dcm")).PixelData


def test_a_missing_sample_is_named() -> None:
    with pytest.raises(SampleMissing, match=r"RG9\.dcm is not installed"):
        sample_path("RG9.dcm")


def test_expectations_follow_the_bundle_and_leave_close_calls_open(bundle: Bundle) -> None:
    known = [SAYS.get(label) for label in LABELS]
    assert expectation_of(bundle, known) == Expectation(StudyState.TRIAGED, Priority.STAT, ("Pneumothorax", "Effusion"))
    close = [0.601 if label == "Mass" else SAYS.get(label) for label in LABELS]
    assert expectation_of(bundle, close) == Expectation(StudyState.TRIAGED)


def test_a_bundle_without_a_pneumothorax_cannot_be_shown(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SampleMissing, match="pneumothorax"):
        phantom_studies(bundle, tmp_path, NOW)


def test_the_archive_of_our_own_keeps_what_it_gets(tmp_path: Path) -> None:
    dataset = chest_radiograph()
    file = write_dicom(dataset, tmp_path / "one.dcm")
    with stand_in_pacs(tmp_path / "pacs", free_port(), free_port(), {}, orthanc=None) as pacs:
        (outcome,) = send(pacs.peer, [file], "TEST")
        assert outcome.status == 0
        (held,) = pacs.objects(dataset.StudyInstanceUID)
        assert pacs.objects("../..") == []
    assert (held.sop_instance_uid, held.modality) == (dataset.SOPInstanceUID, "DX")
    assert np.array_equal(dcmread(held.place).pixel_array, dataset.pixel_array)


def test_a_refusal_ends_the_demonstration_with_its_status(tmp_path: Path) -> None:
    study = DemoStudy(
        "A study", "1.2.3", (write_dicom(chest_radiograph(), tmp_path / "a.dcm"),), Expectation(StudyState.TRIAGED)
    )
    pacs = StandInPacs(status=lambda sop_class_uid, sop_instance_uid: 0xA700)
    pacs.start()
    try:
        with pytest.raises(DemoFailed, match="PACS did not accept A study: 0xA700"):
            send_study(study, pacs.peer)
    finally:
        pacs.stop()


def outcome_of(sessions: SessionFactory, expectation: Expectation, *, in_pacs: bool) -> Outcome:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.91}).study_instance_uid
    with sessions() as session:
        detail = study_detail(session, uid, ROWS_NOW, timedelta(hours=1))
    assert detail is not None
    assert detail.current_run is not None
    assert is_over(detail)
    held = [StoredObject(result.sop_instance_uid, "SR", "here") for result in detail.current_run.results]
    study = DemoStudy("A study", uid, (), expectation)
    return Outcome(study, detail, datetime(2026, 3, 2, 9, 25, tzinfo=UTC), held if in_pacs else [])


def test_a_study_that_ended_as_it_must_is_no_violation(sessions: SessionFactory) -> None:
    expected = Expectation(StudyState.TRIAGED, Priority.STAT, ("Pneumothorax",))
    outcome = outcome_of(sessions, expected, in_pacs=True)
    assert violations([outcome]) == []
    assert outcome.delivery_seconds == 1.0


@pytest.mark.parametrize(
    ("expectation", "in_pacs", "complaint"),
    [
        (Expectation(StudyState.OUT_OF_SCOPE), True, "should be out_of_scope"),
        (Expectation(StudyState.TRIAGED, Priority.ROUTINE), True, "priority STAT, should be ROUTINE"),
        (Expectation(StudyState.TRIAGED, None, ("Mass",)), True, "flagged ['Pneumothorax'], should be ['Mass']"),
        (Expectation(StudyState.TRIAGED), False, "2 of 2 results are not in the PACS"),
    ],
)
def test_every_unmet_expectation_is_named(
    sessions: SessionFactory, expectation: Expectation, in_pacs: bool, complaint: str
) -> None:
    wrong = violations([outcome_of(sessions, expectation, in_pacs=in_pacs)])
    assert len(wrong) == 1
    assert complaint in wrong[0]


def test_a_study_the_worker_never_saw_is_a_violation() -> None:
    study = DemoStudy("A study", "1.2.3", (), Expectation(StudyState.TRIAGED))
    assert violations([Outcome(study, None, datetime(2026, 3, 2, tzinfo=UTC), [])]) == [
        "A study: the worker has no record of it"
    ]
