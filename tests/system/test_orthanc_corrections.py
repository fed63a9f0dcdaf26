"""Corrections beside a real Orthanc that forwards everything it stores, our own objects and notes included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from bundles import FLAGGED
from factories import chest_radiograph, write_dicom
from orthanc import EVERYTHING, ONLY_IMAGES, Orthanc, StartHospital
from rejection_notes import archive_note
from sites import Site, wait_until
from sqlalchemy import func, select, text

from dicom_io.data_sets.rejection_reading import read_rejection_note
from dicom_io.results.identity import OPTIONAL, REQUIRED
from worker.rows.study_tables import Instance

pytestmark = pytest.mark.timeout(400)
OBJECTS = 1 + len(FLAGGED)
EVERY_KIND = 1 + 2 * len(FLAGGED) + 1
"""Report, capture and presentation state per finding, summary."""


def returned(site: Site) -> int:
    """Return how many of our own objects came back."""
    with site.session() as session:
        own = select(func.count()).select_from(Instance).where(Instance.reason_code == "own_result")
        return session.scalar(own) or 0


def notes_in(orthanc: Orthanc, uid: str) -> list[str]:
    return [item for item in orthanc.results(uid) if orthanc.tag(item, "Modality") == "KO"]


def tags_of(orthanc: Orthanc, instance: str) -> dict[str, Any]:
    """Return what Orthanc, with its own decoder, reads of patient, study and order; absent and empty are the same."""
    tags = orthanc.call(f"/instances/{instance}/simplified-tags")
    return {keyword: tags.get(keyword) or "" for keyword in (*REQUIRED, *OPTIONAL, "StudyInstanceUID")}


def command(site: Site, *arguments: str) -> None:
    assert site.start(arguments).wait(60) == 0, site.log()[-2000:]


def leftovers(site: Site) -> int:
    with site.session() as session:
        return session.scalar(text("SELECT SUM(leftovers) FROM triage_worklist")) or 0


def test_every_object_names_what_its_source_names_and_what_a_person_corrects_and_retracts(
    start_hospital: StartHospital, tmp_path: Path
) -> None:
    destination = {"pictures": "sc+gsps", "summary_capture": True, "storage_commitment": True}
    orthanc, site = start_hospital(ONLY_IMAGES, destination)
    image = chest_radiograph(
        SpecificCharacterSet="ISO_IR 144",
        PatientName="Иванов^Иван",
        IssuerOfPatientID="HOSPITAL",
        StudyDescription="Грудная клетка",
        TimezoneOffsetFromUTC="+0300",
    )
    uid = str(image.StudyInstanceUID)
    source = tags_of(orthanc, orthanc.push(write_dicom(image, tmp_path / "image.dcm")))
    assert source["PatientName"] == "Иванов^Иван"
    wait_until(lambda: len(orthanc.results(uid)) == EVERY_KIND, "the results are there")
    site.wait_for_delivery(uid, "committed")
    first = orthanc.results(uid)
    assert [tags_of(orthanc, item) for item in first] == [source] * EVERY_KIND

    command(site, "correct", uid, "--patient-id", "RIGHT-1", "--accession-number", "A-2", "--reason", "wrong order")
    wait_until(lambda: len(orthanc.results(uid)) == 2 * EVERY_KIND + 1, "issued again, and a note")
    site.wait_for_delivery(uid, "committed")
    right = source | {"PatientID": "RIGHT-1", "PatientAge": "", "AccessionNumber": "A-2"}  # the age was the other's
    (note,) = notes_in(orthanc, uid)
    again = [item for item in orthanc.results(uid) if item not in (*first, note)]
    assert [tags_of(orthanc, item) for item in again] == [right] * EVERY_KIND
    assert tags_of(orthanc, note) == source, "filed where the rejected objects are"
    wait_until(lambda: leftovers(site) == 0, "Orthanc has taken the note")

    command(site, "retract", uid, "--reason", "not this patient at all", "--by", "Ada")
    wait_until(lambda: len(notes_in(orthanc, uid)) == 2, "a second note")
    wait_until(lambda: leftovers(site) == 0, "Orthanc has taken it, too")
    (second,) = [item for item in notes_in(orthanc, uid) if item != note]
    assert tags_of(orthanc, second) == right
    read = read_rejection_note(orthanc.file(second, tmp_path))
    assert read is not None
    assert {named for _study, named in read.sop_instance_uids} == {
        str(orthanc.tag(item, "SOPInstanceUID")) for item in again
    }
    study = site.study(uid)
    assert study is not None
    assert (study.state, study.reason_code) == ("not_analysed", "retracted")
    assert "RIGHT-1" not in site.log()


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
