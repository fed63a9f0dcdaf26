"""Rejection notes (IHE IOCM): ours against independent validators, anybody's read."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from reports import FLAGGED, QUIET, report_on, source_radiograph
from validators import dcentvfy_errors, dciodvfy_errors, dsrdump

from dicom_io.data_sets.rejection_reading import RejectionNote, UnreadableNoteError, read_rejection_note
from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION, RejectionTitle
from dicom_io.results.identity_guard import identity_differences, require_identity
from dicom_io.results.rejection_note import build_rejection_note
from dicom_io.results.reporting import InvalidReportError
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries
from dicom_io.results.structured_report import build_structured_report
from dicom_io.selection.decision import SelectionRules, is_own_result

MADE_AT = datetime(2026, 1, 16, 8, 0, tzinfo=UTC)
PICTURE = np.full((64, 48, 3), 90, np.uint8)


def results(source: Dataset) -> list[Dataset]:
    """Return the report and one capture made from a source."""
    report = report_on(source, findings=FLAGGED + QUIET)
    return [
        build_structured_report([source], report),
        CaptureSeries([source], report).of_finding(report.flagged[0], PICTURE),
    ]


def note_on(source: Dataset, title: RejectionTitle = RejectionTitle.PATIENT_SAFETY, **more: Any) -> Dataset:
    return build_rejection_note(results(source), title, "Taken back: another patient's images.", MADE_AT, **more)


def request(accession_number: str) -> Dataset:
    item = Dataset()
    item.AccessionNumber, item.RequestedProcedureID = accession_number, "RP-1"
    item.ScheduledProcedureStepID = "SPS-1"
    return item


def written(note: Dataset, folder: Path) -> Path:
    path = folder / "note.dcm"
    path.write_bytes(write_result(note))
    return path


SOURCES = {
    "plain": {},
    "order": {"RequestAttributesSequence": [request("ACC0001"), request("OTHER")]},
    "type 2 missing": {"PatientBirthDate": None, "PatientSex": None, "StudyID": None, "AccessionNumber": None},
    "japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "cyrillic": {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг"},
    "chinese": {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
}


@pytest.mark.parametrize("attributes", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("title", RejectionTitle)
def test_independent_validators_find_nothing_wrong(
    tmp_path: Path, attributes: dict[str, Any], title: RejectionTitle
) -> None:
    source = source_radiograph(**attributes)
    path = written(note_on(source, title), tmp_path)
    assert dciodvfy_errors(path) == []
    shown = dsrdump(path)
    assert "Key Object Selection Document" in shown
    assert title.meaning in shown
    assert "Warning" not in shown
    source_path = tmp_path / "source.dcm"
    source.save_as(source_path, enforce_file_format=True)
    assert dcentvfy_errors(source_path, path) == []


@pytest.mark.parametrize("attributes", SOURCES.values(), ids=SOURCES.keys())
def test_a_note_carries_patient_study_and_orders_of_what_it_rejects(attributes: dict[str, Any]) -> None:
    source = source_radiograph(**attributes)
    report, capture = results(source)
    note = note_on(source)
    require_identity(write_result(note), report)
    assert identity_differences(note, capture) == []
    wrong = source_radiograph(PatientID="SOMEBODY")
    with pytest.raises(InvalidReportError, match="PatientID"):
        require_identity(write_result(note), results(wrong)[0])


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"SpecificCharacterSet": None}, "Falsche Gr??e (???)"),
        ({"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг"}, "Falsche Größe (Оля)"),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Buc^Jérôme"}, "Falsche Größe (Оля)"),
    ],
)
def test_a_reason_in_any_letters_is_told_as_far_as_the_archive_can_read_it(
    tmp_path: Path, attributes: dict[str, Any], told: str
) -> None:
    results_of = results(source_radiograph(**attributes))
    note = build_rejection_note(results_of, RejectionTitle.QUALITY, "Falsche Größe (Оля)", MADE_AT)
    path = written(note, tmp_path)
    assert dciodvfy_errors(path) == []
    read = pydicom.dcmread(path)
    assert [item.TextValue for item in read.ContentSequence if item.ValueType == "TEXT"][-1] == told
    assert str(read.PatientName) == str(results_of[0].PatientName)


def test_an_order_that_the_note_lacks_is_found() -> None:
    source = source_radiograph(RequestAttributesSequence=[request("ACC0001"), request("OTHER")])
    note = note_on(source)
    note.ReferencedRequestSequence.pop()
    assert identity_differences(note, results(source)[0]) == ["ReferencedRequestSequence"]


def test_reading_a_note_of_ours_gives_what_it_was_made_from(tmp_path: Path) -> None:
    source = source_radiograph()
    named = {("1.2.3", str(result.SOPInstanceUID)) for result in results(source)}
    path = written(note_on(source, RejectionTitle.WRONG_WORKLIST_ENTRY), tmp_path)
    assert read_rejection_note(path) == RejectionNote(RejectionTitle.WRONG_WORKLIST_ENTRY, frozenset(named))


def test_a_note_is_recognised_as_ours_and_has_the_same_bytes_when_made_again() -> None:
    note = note_on(source_radiograph(), site_zone=ZoneInfo("Europe/Berlin"))
    assert is_own_result(note, SelectionRules())
    assert write_result(note) == write_result(note_on(source_radiograph(), site_zone=ZoneInfo("Europe/Berlin")))
    assert (note.Modality, note.SOPClassUID, note.ContentTime) == ("KO", KEY_OBJECT_SELECTION, "090000")
    assert note_on(source_radiograph(), RejectionTitle.QUALITY).SOPInstanceUID != note.SOPInstanceUID


def test_objects_of_two_studies_make_no_note() -> None:
    other = source_radiograph(StudyInstanceUID="1.2.4")
    with pytest.raises(InvalidReportError, match="one study"):
        build_rejection_note([results(source_radiograph())[0], results(other)[0]], RejectionTitle.QUALITY, "", MADE_AT)


def test_another_title_rejects_nothing(tmp_path: Path) -> None:
    note = note_on(source_radiograph())
    item = note.ConceptNameCodeSequence[0]
    item.CodeValue, item.CodeMeaning = "113000", "Of Interest"
    assert read_rejection_note(written(note, tmp_path)) is None
    item.CodeValue, item.CodingSchemeDesignator = "113001", "99LOCAL"
    assert read_rejection_note(written(note, tmp_path)) is None


def test_without_a_content_tree_the_evidence_counts_and_without_evidence_the_own_study(tmp_path: Path) -> None:
    source = source_radiograph()
    uids = {str(result.SOPInstanceUID) for result in results(source)}
    for left_out in ("ContentSequence", "CurrentRequestedProcedureEvidenceSequence"):
        note = note_on(source)
        delattr(note, left_out)
        found = read_rejection_note(written(note, tmp_path))
        assert found is not None
        assert found.sop_instance_uids == {("1.2.3", uid) for uid in uids}


def test_references_that_are_no_uids_are_left_out(tmp_path: Path) -> None:
    note = note_on(source_radiograph())
    for item in note.ContentSequence:
        for reference in item.get("ReferencedSOPSequence") or ():
            reference.ReferencedSOPInstanceUID = "../../etc/passwd"
    found = read_rejection_note(written(note, tmp_path))
    assert found is not None
    assert found.sop_instance_uids == set()


def test_a_damaged_note_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "note.dcm"
    path.write_bytes(b"no DICOM at all" * 20)
    with pytest.raises(UnreadableNoteError):
        read_rejection_note(path)


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_every_cut_of_a_note_is_read_or_refused_in_words(tmp_path: Path) -> None:
    content = write_result(note_on(source_radiograph()))
    path = tmp_path / "cut.dcm"
    for length in range(132, len(content), 23):
        path.write_bytes(content[:length])
        try:
            read_rejection_note(path)
        except UnreadableNoteError as error:
            assert "Test^Radiograph" not in str(error)


def test_a_deeply_nested_tree_ends(tmp_path: Path) -> None:
    note = note_on(source_radiograph())
    tree = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.ContentSequence = [tree]
        tree = outer
    note.ContentSequence = [*note.ContentSequence, tree]
    assert read_rejection_note(written(note, tmp_path)) is not None
    assert len(pydicom.dcmread(tmp_path / "note.dcm").ContentSequence) > 0


def test_a_note_is_read_from_disk_once(tmp_path: Path) -> None:
    path, opened = written(note_on(source_radiograph()), tmp_path), []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]) == str(path):
            opened.append(arguments[0])

    sys.addaudithook(watch)
    assert read_rejection_note(path) is not None
    watching = False  # the hook stays for as long as the process
    assert len(opened) == 1
