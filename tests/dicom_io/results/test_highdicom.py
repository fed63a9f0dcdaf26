"""What is built and written fast is what the libraries build and write, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from highdicom_reports import highdicom_note, highdicom_report
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from reports import CREATED_AT, FLAGGED, QUIET, report_on, source_radiograph

from dicom_io.data_sets.item_encoding import encode_element
from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.results.presentation_state import build_presentation_state, can_be_presented
from dicom_io.results.rejection_note import build_rejection_note
from dicom_io.results.report_class import REPORT_CLASSES
from dicom_io.results.reporting import AnalysedImage, Predecessor, Report, ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture
from dicom_io.results.structured_report import build_structured_report


def order(**attributes: str) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def first() -> Dataset:
    return source_radiograph()


def second() -> Dataset:
    return source_radiograph("1.2.3.11", SeriesInstanceUID="1.2.3.2", ViewPosition="AP", Modality="CR")


def japanese() -> Dataset:
    """Return a source whose name and order are in a Japanese character set, read from a file as a worker has it."""
    source = source_radiograph(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        RequestAttributesSequence=[order(RequestedProcedureID="RP1", RequestedProcedureDescription="胸部")],
    )
    return dcmread(BytesIO(write_result(source)))


def computed_radiograph() -> Dataset:
    path = get_testdata_file("RG1_J2KI.dcm", download=False)
    assert isinstance(path, str)
    return dcmread(path)


def ordered() -> Dataset:
    """Return a source with orders and another Patient ID, read from a file as a worker has it."""
    source = source_radiograph(
        RequestAttributesSequence=[order(RequestedProcedureID="RP1"), order(ScheduledProcedureStepID="S")],
        OtherPatientIDsSequence=[order(PatientID="X", TypeOfPatientID="TEXT")],
        PatientAge="",
        PixelAspectRatio=[1, 1],
    )
    return dcmread(BytesIO(write_result(source)))


def western() -> Dataset:
    """Return a source with texts beyond ASCII in one character set, of several values and none."""
    source = source_radiograph(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jörg",
        StudyDescription="Thorax, großes Format",
        ReferringPhysicianName=None,
        AccessionNumber="",
    )
    return dcmread(BytesIO(write_result(source)))


def repeated(*sources: Dataset) -> Report:
    predecessors = tuple(Predecessor(REPORT_CLASSES[n], f"2.25.{n + 1}", f"2.25.9{n % 2}") for n in (0, 1, 2))
    return report_on(*sources, predecessors=predecessors, reissue_reason="an image was added", demonstration=False)


def halved(*sources: Dataset) -> Report:
    images = tuple(AnalysedImage(source.SOPInstanceUID, "cd" * 32, half_resolution=True) for source in sources)
    return report_on(*sources, images=images, findings=(ReportedFinding("Edema", 1.0, 0.123456), *QUIET))


def quiet(*sources: Dataset) -> Report:
    return report_on(*sources, findings=QUIET)


def of_both_images(*sources: Dataset) -> Report:
    findings = (ReportedFinding("Effusion", 0.6, 0.5, 1), ReportedFinding("Pneumothorax", 0.90049, 0.5, 0), *QUIET)
    return report_on(*sources, findings=findings)


def worded(*sources: Dataset) -> Report:
    return report_on(*sources, priority_reason="Pneumothorax größer als 50 % — sofort", findings=FLAGGED)


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "flagged": ((first,), report_on, {}),
    "with those below their thresholds": ((first,), report_on, {"include_negatives": True}),
    "nothing flagged": ((first,), quiet, {"include_negatives": True}),
    "two images": ((first, second), of_both_images, {"site_zone": ZoneInfo("Asia/Tokyo")}),
    "another report replaced": ((first, second), repeated, {"device_serial_number": "north-2"}),
    "half resolution": ((computed_radiograph,), halved, {}),
    "Japanese": ((japanese,), report_on, {}),
    "words beyond ASCII": ((first,), worded, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_the_one_that_highdicom_builds(name: str) -> None:
    makers, report_of, arguments = CASES[name]
    sources = [make() for make in makers]
    report = report_of(*sources)
    ours, theirs = (
        build(sources, report, **arguments) for build in (build_structured_report, highdicom_report)
    )  # fmt: skip
    assert as_pydicom_writes(ours) == as_pydicom_writes(theirs)


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_written_as_pydicom_writes_it(name: str) -> None:
    makers, report_of, arguments = CASES[name]
    sources = [make() for make in makers]
    document = build_structured_report(sources, report_of(*sources), **arguments)
    written = write_result(document)
    assert written == as_pydicom_writes(document)
    assert dcmread(BytesIO(written)) == document


@pytest.mark.parametrize("make", [first, second, japanese, computed_radiograph, ordered, western])
def test_pictures_and_lines_are_written_as_pydicom_writes_them(make: Callable[[], Dataset]) -> None:
    source = make()
    report = report_on(source)
    finding, pixels = report.flagged[0], np.arange(3 * 5 * 7, dtype=np.uint8).reshape(5, 7, 3)
    line = np.array([[1, 1], [9, 1.5], [5, 8], [1, 1]], np.float32)
    for made in (
        CaptureSeries([source], report).of_finding(finding, pixels),
        build_summary_capture([source], report, pixels),
        *([build_presentation_state(source, report, finding, [line])] if can_be_presented(source) else []),
    ):
        assert write_result(made) == as_pydicom_writes(made)


@pytest.mark.parametrize("title", RejectionTitle)
@pytest.mark.parametrize("make", [first, japanese])
def test_a_rejection_note_is_the_one_that_highdicom_builds(make: Callable[[], Dataset], title: RejectionTitle) -> None:
    source = make()
    source.RequestAttributesSequence = [order(RequestedProcedureID="RP1"), order(RequestedProcedureID="RP2")]
    report = report_on(source)
    capture = CaptureSeries([source], report).of_finding(report.flagged[0], np.zeros((64, 48, 3), np.uint8))
    rejected = [build_structured_report([source], report), capture]
    ours, theirs = (
        build(rejected, title, "Another patient's images.", CREATED_AT)
        for build in (build_rejection_note, highdicom_note)
    )
    assert write_result(ours) == as_pydicom_writes(theirs)


def test_only_plain_items_are_encoded_here_and_the_rest_is_left_to_pydicom() -> None:
    holder = Dataset()
    for item in (
        order(PatientName="Test^Radiograph"),
        order(TextValue="größer"),
        order(AccessionNumber="x", SelectorFLValue=[1.5, 2.0]),
        order(SelectorUSValue=[1, 2]),
    ):
        holder.ContentSequence = [order(CodeValue="1"), item]
        assert encode_element(holder["ContentSequence"]) is None
    longest = order(TextValue="x" * 70_001)
    holder.ContentSequence = [longest, Dataset(), order(CodeValue="", CodeMeaning="odd")]
    encoded = encode_element(holder["ContentSequence"])
    assert encoded is not None
    holder.SOPClassUID, holder.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3"
    assert encoded in write_result(holder)
    assert write_result(holder) == as_pydicom_writes(holder)


def as_pydicom_writes(dataset: Dataset) -> bytes:
    """Return the file with everything left to pydicom; the file meta information is ours."""
    meta = dcmread(BytesIO(write_result(dataset)), specific_tags=["SOPClassUID"]).file_meta
    plain, buffer = Dataset(dict(dataset.items())), BytesIO()
    plain.file_meta = FileMetaDataset(meta)
    dcmwrite(buffer, plain, enforce_file_format=True)
    return buffer.getvalue()
