"""The heat-map picture of one flagged finding: a single-frame RGB Secondary Capture (PS3.3 A.8.1)."""

from __future__ import annotations

from datetime import UTC, tzinfo

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io.codes import CLASS_ACTIVATION, SOURCE_IMAGE, display_name
from dicom_io.identity import copy_patient_and_study
from dicom_io.orders import copy_request_attributes
from dicom_io.origin import add_origin, code_item, result_uid
from dicom_io.product import DEVICE_SERIAL_NUMBER, MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.reporting import (
    DEMONSTRATION_NOTICE,
    NOT_FOR_DIAGNOSTIC_USE,
    InvalidReportError,
    Report,
    ReportedFinding,
)

SERIES_NUMBER = 9002
MAXIMUM_SIDE_PX = 1024


def series_description(report: Report) -> str:
    """Return ``AI CXR <priority> <most urgent flagged finding> <percent>%``, at most 64 characters.

    Worklists and routing rules filter on the beginning. One series holds the pictures of all findings of a run.
    """
    top = report.flagged[0]
    return f"AI CXR {report.priority} {display_name(top.label)} {top.percent}%"


def build_secondary_capture(
    source: Dataset,
    report: Report,
    finding: ReportedFinding,
    pixels_rgb: NDArray[np.uint8],
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> Dataset:
    """Return the picture of `finding` as a DICOM object; the same arguments give the same bytes.

    Parameters
    ----------
    source
        Header of the image the finding scored highest on, ``report.images[finding.source_index]``.
    finding
        One of ``report.flagged``.
    pixels_rgb
        uint8 [h, w, 3] as `dicom_io.overlay.draw_overlay` returns, neither side over 1024 pixels.

    Raises
    ------
    InvalidReportError
        The finding is not flagged in this report, the header is of another image, or the pixels are not of that
        form.
    """
    _check(source, report, finding, pixels_rgb)
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = result_uid(source.StudyInstanceUID, report, "secondary_capture", finding.label)
    copy_patient_and_study(source, dataset)
    copy_request_attributes(source, dataset)
    add_origin(dataset, source, report, site_zone=site_zone, device_serial_number=device_serial_number)
    _add_series(dataset, source, report, finding, device_serial_number)
    _add_derivation(dataset, source, report, finding)
    _add_pixels(dataset, source, pixels_rgb)
    return dataset


def _check(source: Dataset, report: Report, finding: ReportedFinding, pixels_rgb: NDArray[np.uint8]) -> None:
    if finding not in report.flagged:
        raise InvalidReportError(f"{finding.label} is not a flagged finding of this report; it gets no picture")
    if source.SOPInstanceUID != report.images[finding.source_index].sop_instance_uid:
        raise InvalidReportError(f"source is not the image {finding.label} was found on")
    if pixels_rgb.dtype != np.uint8 or pixels_rgb.ndim != 3 or pixels_rgb.shape[2] != 3:
        raise InvalidReportError(f"pixels_rgb must be uint8 [h, w, 3], are {pixels_rgb.dtype} {pixels_rgb.shape}")
    if max(pixels_rgb.shape) > MAXIMUM_SIDE_PX:
        raise InvalidReportError(f"pixels_rgb must not exceed {MAXIMUM_SIDE_PX} px, are {pixels_rgb.shape[:2]}")


def _add_series(
    dataset: Dataset, source: Dataset, report: Report, finding: ReportedFinding, device_serial_number: str
) -> None:
    """Add the series and capture device modules; modality OT keeps it out of hanging protocols for radiographs."""
    dataset.SeriesInstanceUID = result_uid(source.StudyInstanceUID, report, "secondary_capture", "series")
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = series_description(report)
    dataset.Modality = "OT"
    dataset.InstanceNumber = 1 + report.flagged.index(finding)
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientOrientation = source.get("PatientOrientation") or ""
    dataset.ConversionType = "WSD"
    dataset.SecondaryCaptureDeviceID = device_serial_number
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MANUFACTURER_MODEL_NAME
    dataset.SecondaryCaptureDeviceSoftwareVersions = report.algorithm.version


def _add_derivation(dataset: Dataset, source: Dataset, report: Report, finding: ReportedFinding) -> None:
    """Say what the picture is made from and how, and that it is no diagnostic image."""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", "CAM"]
    dataset.ContentQualification = "RESEARCH"
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    dataset.SourceImageSequence = [reference]
    dataset.DerivationCodeSequence = [code_item(CLASS_ACTIVATION)]
    dataset.DerivationDescription = (
        f"Class activation map for {display_name(finding.label)} of {report.algorithm.name} "
        f"{report.algorithm.version}, blended over the source image; not for diagnostic use"
    )
    notice = DEMONSTRATION_NOTICE if report.demonstration else f"AI OVERLAY - {NOT_FOR_DIAGNOSTIC_USE}"
    dataset.ImageComments = f"{display_name(finding.label)} {finding.percent}%. {notice}"


def _add_pixels(dataset: Dataset, source: Dataset, pixels_rgb: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels_rgb.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    # text that identifies the patient may be in the source's pixels; we paint none ourselves
    dataset.BurnedInAnnotation = "NO" if source.get("BurnedInAnnotation") == "NO" else "YES"
    dataset.LossyImageCompression = "00"
    if source.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in source:
                setattr(dataset, keyword, source[keyword].value)
    dataset.PixelData = pixels_rgb.tobytes() + b"\0" * (pixels_rgb.size % 2)
    dataset["PixelData"].VR = "OB"
