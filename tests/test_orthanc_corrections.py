"""Corrections beside a real Orthanc that forwards everything it stores, our own objects and notes included."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from bundles import FLAGGED
from factories import chest_radiograph, write_dicom
from orthanc import EVERYTHING, Orthanc, StartHospital
from rejection_notes import archive_note
from sites import Site, wait_until
from sqlalchemy import func, select

from dicom_io.rejection_reading import read_rejection_note
from worker.rows.tables import Instance

pytestmark = pytest.mark.timeout(400)
OBJECTS = 1 + len(FLAGGED)


def returned(site: Site) -> int:
    """Return how many of our own objects came back."""
    with site.session() as session:
        own = select(func.count()).select_from(Instance).where(Instance.reason_code == "own_result")
        return session.scalar(own) or 0


def notes_in(orthanc: Orthanc, uid: str) -> list[str]:
    return [item for item in orthanc.results(uid) if orthanc.tag(item, "Modality") == "KO"]


def test_a_note_that_orthanc_passes_on_takes_the_results_back_and_ours_comes_back_without_effect(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    orthanc, site = start_hospital(EVERYTHING)
    image = chest_radiograph()
    uid = str(image.StudyInstanceUID)
    orthanc.push(write_dicom(image, tmp_path / "image.dcm"))
    wait_until(lambda: returned(site) == OBJECTS, "the results came back")
    site.wait_for_delivery(uid, "sent")
    stored = {str(orthanc.tag(item, "SOPInstanceUID")) for item in orthanc.results(uid)}
    orthanc.push(write_dicom(archive_note([image], "113037"), tmp_path / "note.dcm"))
    wait_until(lambda: returned(site) == OBJECTS + 1, "our note came back, too")
    study = site.wait_for_state(uid, "not_analysed")
    assert (study.reason_code, study.priority) == ("rejected", None)
    (note,) = notes_in(orthanc, uid)
    file = orthanc.file(note, tmp_path)
    read = read_rejection_note(file)
    assert read is not None
    assert read.title.code_value == "113037"
    assert {sop_instance_uid for _study, sop_instance_uid in read.sop_instance_uids} == stored
    assert pydicom.dcmread(file).PatientID == image.PatientID
    assert len(site.runs(uid)) == 1
    assert len(orthanc.results(uid)) == OBJECTS + 1, "nobody answers a note with a note"
