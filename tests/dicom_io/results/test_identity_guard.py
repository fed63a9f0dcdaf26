"""Nothing leaves that says anything else of patient, study or order than its source; each kind of slip is found."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from reports import report_on, source_radiograph

from dicom_io.results.identity_guard import identity_differences, require_identity
from dicom_io.results.presentation_state import build_presentation_state
from dicom_io.results.reporting import InvalidReportError
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture
from dicom_io.results.structured_report import build_structured_report

NAMES = {
    "ISO_IR 144": "Иванов^Иван",
    "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "GB18030": "Wang^XiaoDong=王^小东",
    "ISO_IR 192": "Yamada^Tarou=山田^太郎",
    "ISO_IR 100": "Äneas^Rüdiger",
    "": "Müller^Ä",
}


def source_in(character_set: str) -> Dataset:
    """Return a source with a name and an order in that character set, as read from a file."""
    text = NAMES[character_set].partition("=")[2].partition("=")[0] or NAMES[character_set]
    order, code, other_id = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "XR01", "99LOCAL", text.replace("^", " ")
    order.RequestedProcedureID, order.ScheduledProcedureStepID = "RP1", "SPS1"
    order.RequestedProcedureDescription = text.replace("^", " ")
    order.RequestedProcedureCodeSequence = [code]
    other_id.PatientID, other_id.TypeOfPatientID = "OTHER-7", "TEXT"
    source = source_radiograph(
        PatientName=NAMES[character_set],
        IssuerOfPatientID="HOSPITAL",
        OtherPatientIDsSequence=[other_id],
        RequestAttributesSequence=[order],
        TimezoneOffsetFromUTC="+0100",
    )
    if character_set:
        source.SpecificCharacterSet = ["", character_set] if character_set.startswith("ISO 2022") else character_set
    else:
        del source.SpecificCharacterSet
    return dcmread(BytesIO(write_result(source)))


def made(kind: str, source: Dataset) -> Dataset:
    """Return our object of that kind about the source."""
    report, picture = report_on(source), np.zeros((6, 5, 3), np.uint8)
    if kind == "report":
        return build_structured_report([source], report)
    if kind == "capture":
        return CaptureSeries([source], report).of_finding(report.flagged[0], picture)
    if kind == "summary":
        return build_summary_capture([source], report, picture)
    return build_presentation_state(source, report, report.flagged[0], [])


KINDS = ("report", "capture", "summary", "state")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("character_set", NAMES)
def test_every_object_of_ours_passes_whatever_the_character_set(character_set: str, kind: str) -> None:
    source = source_in(character_set)
    written = write_result(made(kind, source))
    require_identity(written, source)
    assert str(dcmread(BytesIO(written)).PatientName) == str(source.PatientName)


@pytest.mark.parametrize("missing", ["PatientID", "PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"])
def test_what_the_source_lacks_may_be_empty(missing: str) -> None:
    source = source_radiograph(**{missing: None})
    for kind in KINDS:
        require_identity(write_result(made(kind, source)), source)


def set_to(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, keyword, value)


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


SABOTAGE: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "another patient's name": (set_to("PatientName", "Other^Person"), "PatientName"),
    "a name in capitals": (set_to("PatientName", "ИВАНОВ^ИВАН"), "PatientName"),
    "another patient ID": (set_to("PatientID", "T-0002"), "PatientID"),
    "a trimmed patient ID": (set_to("PatientID", "T-000"), "PatientID"),
    "a lost issuer": (without("IssuerOfPatientID"), "IssuerOfPatientID"),
    "an invented age": (set_to("PatientAge", "001Y"), "PatientAge"),
    "a swapped birth date": (set_to("PatientBirthDate", "19700110"), "PatientBirthDate"),
    "another accession number": (set_to("AccessionNumber", "ACC0002"), "AccessionNumber"),
    "another study": (set_to("StudyInstanceUID", "1.2.4"), "StudyInstanceUID"),
    "a shifted study time": (set_to("StudyTime", "102501"), "StudyTime"),
    "a dropped offset": (without("TimezoneOffsetFromUTC"), "TimezoneOffsetFromUTC"),
    "other patient IDs lost": (set_to("OtherPatientIDsSequence", []), "OtherPatientIDsSequence"),
    "a wrong character set": (set_to("SpecificCharacterSet", "ISO_IR 100"), "PatientName"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SABOTAGE)
def test_a_slip_is_found_and_named_without_its_value(name: str, kind: str) -> None:
    source = source_in("ISO_IR 144")
    spoil, keyword = SABOTAGE[name]
    spoiled = dcmread(BytesIO(write_result(made(kind, source))))
    written = write_result(spoiled)
    if keyword == "PatientName" and name == "a wrong character set":
        written = written.replace(b"ISO_IR 144", b"ISO_IR 100")
    else:
        spoil(spoiled)
        written = write_result(spoiled)
    with pytest.raises(InvalidReportError, match=keyword) as caught:
        require_identity(written, source)
    assert "Иванов" not in str(caught.value)
    assert "T-000" not in str(caught.value)


@pytest.mark.parametrize("kind", ["report", "capture", "state"])
def test_a_lost_or_swapped_order_is_found(kind: str) -> None:
    source = source_in("ISO_IR 144")
    sequence = "ReferencedRequestSequence" if kind == "report" else "RequestAttributesSequence"
    for spoil in (
        lambda result: delattr(result, sequence),
        lambda result: setattr(result[sequence].value[0], "RequestedProcedureID", "RP2"),
        lambda result: setattr(result[sequence].value[0], "RequestedProcedureDescription", "Hand"),
    ):
        spoiled = made(kind, source)
        spoil(spoiled)
        read = dcmread(BytesIO(write_result(spoiled)))
        assert identity_differences(read, source) == [sequence]
