"""What is done to one study leaves every other one as it is, those of the same patient, too.

Beside the study stand others in the states in which a forgotten condition would find them: results sent, waiting or
refused, a run that waits, a correction that nobody has carried, a version that nobody has judged, the word of another
model, a processed copy alone. After each deed all that is known of them is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, drawn_chest
from one_database import database_url  # noqa: F401 (a fixture; a condition is missing on both or on neither)
from peers import StandInPacs, accept_everything
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from receivers import Hl7Receiver
from rejection_notes import named
from rows_of import rows_of_study

from dicom_io.data_sets.rejection_title import RejectionTitle
from worker.arrival.completion import queue_if_due
from worker.arrival.correction import correct_identity
from worker.care.administration import requeue_study
from worker.care.identity_correction import Identity, correct_study
from worker.care.image_rejection import reject_by_hand
from worker.care.release import release_study
from worker.care.retraction import retract_study
from worker.care.whose_study import WhoseStudy
from worker.rows.database import SessionFactory, database_now
from worker.rows.leases import locked_study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings

BY = "Ada Admin"
OBJECTS = 1 + len(FLAGGED)
Deed = Callable[[Bench, Dataset], None]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path, pacs: StandInPacs
) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")
    write_test_bundle(tmp_path / "other", {"Mass": 0.9, "Pneumothorax": 0.1}, version="0.0.2")

    def make(**fields: Any) -> Bench:
        settings = make_settings(
            bundles={"default": tmp_path / "bundle", "other": tmp_path / "other"},
            sources=[{"ae_title": "MODALITY"}, {"ae_title": "OTHER", "bundle": "other"}],
            destinations=[pacs.destination],
            **fields,
        )
        return Bench(settings, sessions)

    return make


def correct(bench: Bench, uid: str) -> None:
    with bench.sessions.begin() as session:
        study = locked_study(session, uid)
        assert study is not None
        correct_identity(
            session,
            study,
            patient_id="RIGHT",
            issuer_of_patient_id="",
            demographics={},
            cause="archive",
            actor="test",
        )


def go_on(bench: Bench, uid: str) -> None:
    """Do what the sweeper and the workers do next."""
    with bench.sessions.begin() as session:
        queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper")
    triage(uid, bench.workplace)
    deliver(uid, bench.office)


def neighbours(telling: Bench, bench: Bench, pacs: StandInPacs) -> list[str]:
    """Return the UIDs of studies in every state in which another one's deed might find them."""
    delivered = telling.triage(chest_radiograph()).study_instance_uid
    deliver(delivered, telling.office)
    other = telling.receive(chest_radiograph(), calling_ae_title="OTHER")
    triage(other, telling.workplace)
    deliver(other, telling.office)
    refused = bench.triage(chest_radiograph()).study_instance_uid
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0xC000
    deliver(refused, bench.office)
    pacs.status = accept_everything
    owing = bench.triage(chest_radiograph()).study_instance_uid
    deliver(owing, bench.office)
    correct(bench, owing)
    replaced = bench.triage(image := chest_radiograph()).study_instance_uid
    deliver(replaced, bench.office)
    blank_version(bench, image)
    waiting = bench.triage(chest_radiograph()).study_instance_uid
    copy = bench.triage(chest_radiograph(SeriesDescription="BONE SUPPRESSED")).study_instance_uid
    queued = bench.receive(chest_radiograph())
    return [delivered, refused, owing, replaced, waiting, other, copy, queued]


def radiograph(**keywords: Any) -> Dataset:
    """Return an image from which other pictures are drawn than from those of the neighbours."""
    return chest_radiograph(drawn_chest(rows=90), **keywords)


def tomograph(**keywords: Any) -> Dataset:
    """Return an image that is ignored."""
    return chest_radiograph(SOPClassUID=CTImageStorage, Modality="CT", **keywords)


def late_image(bench: Bench, image: Dataset) -> None:
    bench.receive(radiograph(StudyInstanceUID=image.StudyInstanceUID))


def blank_version(bench: Bench, image: Dataset) -> None:
    uids = {"StudyInstanceUID": image.StudyInstanceUID, "SOPInstanceUID": image.SOPInstanceUID}
    bench.receive(chest_radiograph(np.zeros_like(drawn_chest()), **uids))


def corrected(bench: Bench, image: Dataset) -> None:
    right = Identity(patient_id="RIGHT")
    with bench.sessions.begin() as session:
        correct_study(session, image.StudyInstanceUID, right, reason="wristband", by=BY, settings=bench.settings)


def held_and_released(bench: Bench, image: Dataset) -> None:
    uid = image.StudyInstanceUID
    bench.receive(radiograph(StudyInstanceUID=uid, PatientID="TWO"))
    assert bench.study(uid).state == "held"
    with bench.sessions.begin() as session:
        release_study(session, bench.workplace.instances, uid, WhoseStudy("TWO"), BY, settings=bench.settings)


def retracted(bench: Bench, image: Dataset) -> None:
    with bench.sessions.begin() as session:
        retract_study(session, image.StudyInstanceUID, reason="wrong side", by=BY, settings=bench.settings)


def rejected(bench: Bench, image: Dataset) -> None:
    with bench.sessions.begin() as session:
        reject_by_hand(
            session,
            image.StudyInstanceUID,
            [image.SOPInstanceUID],
            title=RejectionTitle.QUALITY,
            reason="blurred",
            by=BY,
            settings=bench.settings,
        )


def requeued(bench: Bench, image: Dataset) -> None:
    with bench.sessions.begin() as session:
        requeue_study(session, image.StudyInstanceUID, bench.settings, BY)


DEEDS: list[Deed] = [late_image, blank_version, corrected, held_and_released, retracted, rejected, requeued]


def test_what_is_done_to_one_study_leaves_every_other_one_as_it_is(
    make_bench: MakeBench, pacs: StandInPacs, ris: Hl7Receiver
) -> None:
    telling, quiet = make_bench(hl7_destinations=[{"name": "ris", "host": "127.0.0.1", "port": ris.port}]), make_bench()
    others = neighbours(telling, quiet, pacs)
    before = [rows_of_study(quiet.sessions, other) for other in others]
    pictures = {bytes(arrival.dataset.get("PixelData", b"")) for arrival in pacs.stored} - {b""}
    objects, messages = len(pacs.stored), len(ris.messages)
    for deed in DEEDS:
        bench = telling if deed is retracted else quiet  # to make a message takes as long as all the rest
        image = radiograph()
        uid = str(image.StudyInstanceUID)
        bench.triage(image)
        bench.receive(tomograph(StudyInstanceUID=uid))  # then it is asked whether an image was replaced
        deliver(uid, bench.office)
        (first,) = bench.runs(uid)
        assert (first.trigger, first.result_revision, first.images_not_analysed) == ("auto", 1, 0)
        told = [arrival.dataset for arrival in pacs.stored[objects:]]
        assert [dataset.PatientID for dataset in told] == [image.PatientID] * OBJECTS, deed.__name__
        deed(bench, image)
        go_on(bench, uid)
        runs = bench.runs(uid)
        assert [run.run_number for run in runs] == list(range(1, 1 + len(runs)))
        of_study = {str(result.sop_instance_uid) for run in runs for result in bench.results(run)}
        for dataset in (arrival.dataset for arrival in pacs.stored[objects:]):
            assert {dataset.SOPInstanceUID, *earlier(dataset)} <= of_study, deed.__name__
            assert dataset.get("PixelData") not in pictures, deed.__name__
        objects = len(pacs.stored)
    assert [rows_of_study(quiet.sessions, other) for other in others] == before
    assert len(ris.messages) == messages + 2
    for message in map(str, ris.messages[messages:]):
        assert not [other for other in others if other in message]
        assert "Mass" not in message, "which another model said of another study"
    assert quiet.triage(tomograph()).state == "out_of_scope"


def earlier(dataset: Dataset) -> set[str]:
    """Return the SOP Instance UIDs that a report replaces, or a note rejects."""
    if dataset.Modality == "KO":
        return named(dataset)
    studies = dataset.get("PredecessorDocumentsSequence") or ()
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
