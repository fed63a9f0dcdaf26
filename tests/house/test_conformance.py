"""The conformance statement says what the code does: its tables of results are compared with the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage
from pynetdicom.presentation import build_context

from dicom_io.data_sets import transfer_syntaxes
from dicom_io.data_sets.rejection_title import KEY_OBJECT_SELECTION, RejectionTitle
from dicom_io.foundation.concepts import Code
from dicom_io.foundation.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.results import presentation_state, rejection_note, secondary_capture, structured_report
from dicom_io.results.codes import FINDINGS, PRIORITY_CODES, display_name
from dicom_io.results.identity import OPTIONAL, REQUIRED
from dicom_io.results.presentation_state import LAYER
from dicom_io.results.report_class import REPORT_CLASSES
from dicom_io.services.negotiation import LIMIT_EXCEEDED, OTHER_APPLICATION, rejection, supported_contexts
from dicom_io.storing.receiving import ScpSettings
from worker.arrival.intake import REJECT_AFTER_SECONDS
from worker.settings.peers import Destination

STATEMENT = (Path(__file__).resolve().parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
FLOWING = " ".join(STATEMENT.split())


def table(header: str) -> list[list[str]]:
    """Return the cells of the table under the line that starts with `header`."""
    lines = STATEMENT.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def written(code: Code) -> str:
    return f"{code.value} {code.scheme_designator}"


def test_our_identifiers_are_those_of_the_code() -> None:
    assert f"Implementation Class UID `{IMPLEMENTATION_CLASS_UID}`" in FLOWING
    assert f"Implementation Version Name `{IMPLEMENTATION_VERSION_NAME}`" in FLOWING


def test_the_finding_codes_are_those_of_the_code() -> None:
    assert table("| Finding | Code | Site |") == [
        [display_name(label), written(found.finding), f"{found.site.value} {found.site.meaning}"]
        for label, found in FINDINGS.items()
    ]


def test_the_priority_codes_are_those_of_the_code() -> None:
    assert table("| Level | Priority in the report |") == [
        [
            level,
            f"{written(codes.report)} {codes.report.meaning}",
            codes.scheduled_procedure_step_priority,
            codes.hl7_tq1_9,
        ]
        for level, codes in PRIORITY_CODES.items()
    ]


def test_the_objects_are_those_the_builders_make() -> None:
    report, capture, summary, state, note = table("| Object | SOP class |")
    assert REPORT_CLASSES[0] in report[1]
    assert all(uid.removeprefix("1.2.840.10008.5.1.4.1.1") in report[1] for uid in REPORT_CLASSES)
    assert str(SecondaryCaptureImageStorage) in capture[1]
    assert str(GrayscaleSoftcopyPresentationStateStorage) in state[1]
    assert KEY_OBJECT_SELECTION in note[1]
    series = [row[2].split(",")[0] for row in (report, capture, summary, state, note)]
    numbers = (structured_report, secondary_capture, secondary_capture, presentation_state, rejection_note)
    assert series == [str(module.SERIES_NUMBER) for module in numbers]
    assert f"`{structured_report.SERIES_DESCRIPTION}`" in FLOWING
    assert f"`{presentation_state.SERIES_DESCRIPTION}`" in FLOWING
    assert f"`{rejection_note.SERIES_DESCRIPTION}`" in FLOWING
    assert [title.code_value for title in RejectionTitle] == re.findall(r"\b1130\d\d\b", received_titles())
    assert f"`{LAYER}`" in FLOWING


def received_titles() -> str:
    """Return the sentence that lists the titles of rejection notes."""
    return FLOWING.split("A Key Object Selection whose title is")[1].split("(DCM)")[0]


def covers(cell: str, transfer_syntax: str) -> bool:
    """Say whether a cell such as ``.4.50, .4.100 to .4.108`` names this UID, in its fragmentable form as well."""
    end = transfer_syntax.removeprefix("1.2.840.10008.1.2")
    for part in re.split(r"[,;] ", cell):
        first, _, last = part.partition(" to ")
        if last and end.startswith(".4.") and number(first) <= number(end) <= number(last):
            return True
        if end == first.replace("-", ""):
            return True
    return False


def number(end: str) -> int:
    return int(end.split(".")[2])


def test_the_transfer_syntaxes_are_those_the_listener_takes() -> None:
    cells = [row[1] for row in table("| Transfer syntaxes |")]
    ours = [str(syntax) for syntax in transfer_syntaxes.KNOWN]
    assert [syntax for syntax in ours if sum(covers(cell, syntax) for cell in cells) != 1] == []
    single = [part for cell in cells for part in re.split(r"[,;] ", cell) if " to " not in part]
    assert [part for part in single if not any(covers(part, syntax) for syntax in ours)] == []
    offered = [build_context("1.2.840.10008.5.1.4.1.1.1", syntax) for syntax in ours]
    assert supported_contexts(offered)[0].transfer_syntax == ours


def test_the_rejections_are_those_of_the_listener() -> None:
    settings = ScpSettings(ae_title="CXRAI", host="", port=0, callers={"MODALITY": ("192.0.2.7",)})
    refused = [
        rejection(settings, calling, called, "192.0.2.8", accepting=accepting)
        for calling, called, accepting in (("MODALITY", "OTHER", True), ("STRANGER", "CXRAI", True))
    ]
    refused.append(rejection(settings, "MODALITY", "CXRAI", "192.0.2.7", accepting=False))
    written = [tuple(int(cell.split()[0]) for cell in row[1:]) for row in table("| Rejected (A-ASSOCIATE-RJ) when |")]
    listed = (OTHER_APPLICATION, *refused, LIMIT_EXCEEDED)
    assert written == [(each.result, each.source, each.diagnostic) for each in listed if each]
    assert f"for {REJECT_AFTER_SECONDS:g} seconds" in FLOWING


def test_every_choice_of_pictures_is_named() -> None:
    choices = get_args(Destination.model_fields["pictures"].annotation)
    assert f"`pictures` ({', '.join(f'`{choice}`' for choice in choices)})" in FLOWING
    assert "summary_capture" in Destination.model_fields


def test_the_number_of_copied_attributes_is_the_number_described() -> None:
    """A new copied attribute has to be described: this list is the statement's, in the code's names."""
    described = {
        "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDsSequence", "PatientBirthDate",
        "PatientBirthTime", "PatientSex", "PatientAge", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "StudyDescription", "TimezoneOffsetFromUTC",
    }  # fmt: skip
    not_named = {"IssuerOfPatientIDQualifiersSequence", "PatientIdentityRemoved", "DeidentificationMethod"}
    assert set(REQUIRED) | set(OPTIONAL) == described | not_named
