"""The same report in an older class: all of it, under a UID that every delivery agrees on."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from reports import report_on, source_radiograph

from dicom_io.results.report_class import REPORT_CLASSES, older_class, report_in_class
from dicom_io.results.reporting import InvalidReportError
from dicom_io.results.result_file import write_result
from dicom_io.results.structured_report import build_structured_report

NEWEST, MIDDLE, OLDEST = REPORT_CLASSES


def stored(document: Dataset) -> Dataset:
    """Return the document as a delivery finds it: written to a file and read back."""
    return dcmread(BytesIO(write_result(document)))


def newest_report() -> Dataset:
    source = source_radiograph(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    source = stored(source)
    return build_structured_report([source], report_on(source), include_negatives=True)


@pytest.mark.parametrize("sop_class_uid", REPORT_CLASSES)
def test_a_stored_report_rewritten_equals_the_one_built_in_that_class(sop_class_uid: str) -> None:
    source = stored(source_radiograph(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"))
    built = build_structured_report([source], report_on(source), include_negatives=True, sop_class_uid=sop_class_uid)
    assert write_result(report_in_class(stored(newest_report()), sop_class_uid)) == write_result(built)


def test_nothing_but_class_and_instance_uid_changes() -> None:
    document = stored(newest_report())
    older = report_in_class(document, OLDEST)
    changed = [element.keyword for element in document if element != older[element.tag]]
    assert changed == ["SOPClassUID", "SOPInstanceUID"]
    assert set(document.keys()) == set(older.keys())


def test_the_given_report_stays_as_it_is() -> None:
    document = stored(newest_report())
    before = write_result(document)
    report_in_class(document, MIDDLE)
    assert write_result(document) == before


def test_the_way_down_does_not_matter() -> None:
    document = stored(newest_report())
    by_steps = report_in_class(stored(report_in_class(document, MIDDLE)), OLDEST)
    assert write_result(by_steps) == write_result(report_in_class(document, OLDEST))


def test_classes_are_offered_in_turn() -> None:
    offered, uid = [NEWEST], older_class(NEWEST)
    while uid:
        offered, uid = [*offered, uid], older_class(uid)
    # Comprehensive 3D, Comprehensive, Enhanced (PS3.4 table B.5-1)
    assert offered == [f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (34, 33, 22)]
    assert older_class("1.2.840.10008.5.1.4.1.1.7") is None


def test_what_cannot_be_is_refused() -> None:
    document = stored(newest_report())
    with pytest.raises(InvalidReportError, match="not rewritten in the newer Comprehensive 3D SR"):
        report_in_class(report_in_class(document, OLDEST), NEWEST)
    with pytest.raises(InvalidReportError, match="must be one of"):
        report_in_class(document, "1.2.840.10008.5.1.4.1.1.88.65")
    point = Dataset()
    point.ValueType = "SCOORD3D"
    document.ContentSequence[-1].ContentSequence[0].ContentSequence.append(point)
    with pytest.raises(InvalidReportError, match="does not allow three-dimensional coordinates"):
        report_in_class(document, MIDDLE)
    assert report_in_class(document, NEWEST).SOPInstanceUID == document.SOPInstanceUID
