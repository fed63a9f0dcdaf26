"""The heat-map picture as a DICOM object: valid, honest about what it is, and always the same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from reports import CREATED_AT, QUIET, report_on, source_radiograph
from validators import dcentvfy_errors, dciodvfy_errors

from dicom_io.results.reporting import DEMONSTRATION_NOTICE, InvalidReportError, ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture, series_description

PICTURE = np.arange(61 * 45 * 3, dtype=np.uint32).reshape(61, 45, 3).astype(np.uint8)  # an odd number of bytes


def picture_of(source: Dataset, rank: int = 0, **changes: Any) -> Dataset:
    """Return the picture of the finding at that rank of probability, written and read back."""
    report = report_on(source, **changes)
    return dcmread(BytesIO(write_result(CaptureSeries([source], report).of_finding(report.flagged[rank], PICTURE))))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PatientID": "", "PatientName": "", "PatientBirthDate": ""},
        {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"PatientOrientation": None, "BurnedInAnnotation": None},
    ],
    ids=["plain", "without identity", "japanese", "without orientation"],
)
def test_dicom3tools_finds_no_error_whatever_the_source(attributes: dict[str, Any], tmp_path: Path) -> None:
    source = source_radiograph(**attributes)
    source_path, path = tmp_path / "source.dcm", tmp_path / "picture.dcm"
    source.save_as(source_path, enforce_file_format=True)
    path.write_bytes(write_result(picture_of(source)))
    assert dciodvfy_errors(path) == []
    assert dcentvfy_errors(source_path, path) == []


def test_the_pixels_come_back_as_they_were() -> None:
    assert np.array_equal(picture_of(source_radiograph()).pixel_array, PICTURE)


def test_it_never_passes_for_an_original_image() -> None:
    picture = picture_of(source_radiograph())
    assert list(picture.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "CAM"]
    assert picture.ConversionType == "WSD"
    assert picture.ContentQualification == "RESEARCH"
    assert picture.DerivationCodeSequence[0].CodeValue == "130402"
    (reference,) = picture.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == "1.2.3.10"
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert "not for diagnostic use" in picture.DerivationDescription
    assert DEMONSTRATION_NOTICE in picture.ImageComments


def test_a_summary_of_two_images_says_what_holds_for_either() -> None:
    clean = source_radiograph(BurnedInAnnotation="NO", PatientOrientation=["L", "F"])
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"}
    stamped = source_radiograph("1.2.3.11", BurnedInAnnotation="YES", PatientOrientation=["F", "L"], **lossy)
    findings = (ReportedFinding("Effusion", 0.66, 0.5, 1), ReportedFinding("Pneumothorax", 0.91, 0.5, 0))
    report = report_on(clean, stamped, findings=findings)
    summary = build_summary_capture([clean, stamped], report, PICTURE)
    assert (summary.BurnedInAnnotation, summary.LossyImageCompression) == ("YES", "01")
    assert summary.LossyImageCompressionRatio == 10
    assert summary.PatientOrientation == ""
    assert len(summary.SourceImageSequence) == 2


def test_the_picture_of_a_pseudonym_says_so() -> None:
    removed = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"}
    picture = picture_of(source_radiograph(**removed))
    assert {keyword: picture.get(keyword) for keyword in removed} == removed


def test_a_worklist_can_filter_on_the_series() -> None:
    first, second = (picture_of(source_radiograph(), rank) for rank in (0, 1))
    assert first.SeriesDescription == second.SeriesDescription == "AI CXR STAT Pneumothorax 91%"
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert (first.Modality, first.SeriesNumber) == ("OT", 9002)
    assert [first.InstanceNumber, second.InstanceNumber] == [1, 2]
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert "Effusion 66%" in second.ImageComments


def test_nothing_invites_measuring_on_it() -> None:
    picture = picture_of(source_radiograph())
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "Laterality", "ImageLaterality"):
        assert keyword not in picture


def test_identity_in_the_pixels_is_denied_only_where_the_source_denies_it() -> None:
    assert picture_of(source_radiograph()).BurnedInAnnotation == "NO"
    assert picture_of(source_radiograph(BurnedInAnnotation="YES")).BurnedInAnnotation == "YES"
    assert picture_of(source_radiograph(BurnedInAnnotation=None)).BurnedInAnnotation == "YES"


def test_lossy_history_is_carried_on() -> None:
    lossy = source_radiograph(
        LossyImageCompression="01", LossyImageCompressionRatio=12.5, LossyImageCompressionMethod="ISO_15444_1"
    )
    picture = picture_of(lossy)
    assert (picture.LossyImageCompression, picture.LossyImageCompressionMethod) == ("01", "ISO_15444_1")
    assert picture.LossyImageCompressionRatio == 12.5
    assert picture_of(source_radiograph()).LossyImageCompression == "00"


def test_our_equipment_marks_it_as_our_own() -> None:
    picture = picture_of(source_radiograph())
    assert (picture.ManufacturerModelName, picture.DeviceSerialNumber) == ("cxr-triage-worker", "0001")
    assert picture.SoftwareVersions == "0.1.0+weights.3f9c1a7e"
    assert picture.SecondaryCaptureDeviceManufacturerModelName == "cxr-triage-worker"
    assert picture.ContentTime == f"{CREATED_AT:%H%M%S}"


def test_equal_input_gives_equal_bytes() -> None:
    first, second = (write_result(picture_of(source_radiograph())) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["Test^Radiograph", "Иванов^Иван", "Иванов^Иван\ufffd"])
def test_pictures_put_together_at_once_are_those_made_one_by_one(name: str) -> None:
    """The last name cannot be written in the source's character set: its elements are changed to become UTF-8."""
    order = Dataset()
    order.RequestedProcedureID, order.RequestedProcedureDescription = "RP1", "Рентген"
    source = source_radiograph(PatientName=name, RequestAttributesSequence=[order])
    source.SpecificCharacterSet = "ISO_IR 144"
    report = report_on(source)
    alone = [write_result(CaptureSeries([source], report).of_finding(finding, PICTURE)) for finding in report.flagged]
    series = CaptureSeries([source], report)
    made = [series.of_finding(finding, PICTURE) for finding in report.flagged]
    assert [write_result(capture) for capture in made] == alone  # written only when all of them stand
    assert {capture.SpecificCharacterSet for capture in made} == {"ISO_IR 192" if "\ufffd" in name else "ISO_IR 144"}


def test_a_picture_that_cannot_be_is_refused() -> None:
    source = source_radiograph()
    report = report_on(source)
    finding = report.flagged[0]
    with pytest.raises(InvalidReportError, match="not a flagged finding"):
        CaptureSeries([source], report).of_finding(QUIET[0], PICTURE)
    with pytest.raises(InvalidReportError, match="not the image"):
        CaptureSeries([source_radiograph("1.2.3.99")], report).of_finding(finding, PICTURE)
    with pytest.raises(InvalidReportError, match=r"uint8 \[h, w, 3\]"):
        CaptureSeries([source], report).of_finding(finding, PICTURE[..., 0])
    with pytest.raises(InvalidReportError, match="1024"):
        CaptureSeries([source], report).of_finding(finding, np.zeros((1025, 10, 3), np.uint8))


def test_the_series_names_the_finding_that_made_it_urgent_not_the_surest_one() -> None:
    source = source_radiograph()
    urgent = ReportedFinding("Pneumothorax", 0.55, 0.5, rank=0.9)
    sure = ReportedFinding("Nodule", 0.999, 0.5, rank=0.2)
    report = report_on(source, findings=(sure, urgent))
    assert series_description(report) == "AI CXR STAT Pneumothorax 55%"
    assert sure.percent == "> 99"  # never "100 %"


def test_the_order_is_carried_in_the_series(tmp_path: Path) -> None:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP1", "SPS1"
    item.RequestedProcedureDescription = "Рентген"
    source = source_radiograph(RequestAttributesSequence=[item], PatientName="Иванов^Иван")
    source.SpecificCharacterSet = "ISO_IR 144"
    source = dcmread(BytesIO(write_result(source)))
    picture = picture_of(source)
    (carried,) = picture.RequestAttributesSequence
    assert (carried.RequestedProcedureID, carried.RequestedProcedureDescription) == ("RP1", "Рентген")
    path = tmp_path / "picture.dcm"
    path.write_bytes(write_result(picture))
    assert dciodvfy_errors(path) == []
