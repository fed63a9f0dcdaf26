"""Our pictures as DICOM objects: single-frame RGB Secondary Captures (PS3.3 A.8.1), one per flagged finding.

A capture of the whole study with all its findings is made the same way, for sites that want one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io.data_sets.character_set import settle_character_set
from dicom_io.foundation.content_items import code_item
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER, MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.results.codes import CLASS_ACTIVATION, SOURCE_IMAGE, display_name
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.orders import copy_request_attributes
from dicom_io.results.origin import add_origin, result_uid
from dicom_io.results.reporting import (
    DEMONSTRATION_NOTICE,
    OVERLAY_NOTICE,
    InvalidReportError,
    Report,
    ReportedFinding,
)

SERIES_NUMBER = 9002
MAXIMUM_SIDE_PX = 1024
_LOSSY_KEYWORDS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class _Words:
    """What tells one capture of a series from another."""

    kind: tuple[str, ...]
    """For the UID."""
    image_type: str
    instance_number: int
    subject: str
    """Of the map, such as ``Effusion``."""
    comment: str


def series_description(report: Report) -> str:
    """Return ``AI CXR <priority> <most urgent flagged finding> <percent>%``, at most 64 characters.

    Worklists and routing rules filter on the beginning. One series holds the pictures of all findings of a run.
    """
    top = report.flagged[0]
    return f"AI CXR {report.priority} {display_name(top.label)} {top.percent}%"


class CaptureSeries:
    """The captures of one report that are drawn from the same images: what they say alike is put together once.

    Their data sets share those elements: who changes one in place changes it in all of them.

    Parameters
    ----------
    sources
        Headers of the images they are drawn from; for those of findings one, ``report.images[finding.source_index]``.
    """

    def __init__(
        self,
        sources: Sequence[Dataset],
        report: Report,
        *,
        site_zone: tzinfo = UTC,
        device_serial_number: str = DEVICE_SERIAL_NUMBER,
    ) -> None:
        source, common = sources[0], Dataset()
        common.SOPClassUID = SecondaryCaptureImageStorage
        copy_patient_and_study(source, common)
        copy_request_attributes(source, common)
        add_origin(common, source, report, site_zone=site_zone, device_serial_number=device_serial_number)
        _add_series(common, sources, report, device_serial_number)
        _add_history(common, sources)
        common.ContentQualification = "RESEARCH"
        common.SourceImageSequence = [_source_image(source) for source in sources]
        common.DerivationCodeSequence = [code_item(CLASS_ACTIVATION)]
        self._common, self._source, self._report = common, source, report

    def of_finding(self, finding: ReportedFinding, pixels_rgb: NDArray[np.uint8]) -> Dataset:
        """Return the picture of `finding` as a DICOM object; the same arguments give the same bytes.

        Parameters
        ----------
        finding
            One of ``report.flagged``.
        pixels_rgb
            uint8 [h, w, 3] as `dicom_io.pictures.overlay.draw_overlay` returns, neither side over 1024 pixels.

        Raises
        ------
        InvalidReportError
            The finding is not flagged in this report, the header is of another image, or the pixels are not of that
            form.
        """
        report = self._report
        if finding not in report.flagged:
            raise InvalidReportError(f"{finding.label} is not a flagged finding of this report; it gets no picture")
        if self._source.SOPInstanceUID != report.images[finding.source_index].sop_instance_uid:
            raise InvalidReportError(f"source is not the image {finding.label} was found on")
        name = display_name(finding.label)
        words = _Words(
            kind=("secondary_capture", finding.label),
            image_type="CAM",
            instance_number=1 + report.flagged.index(finding),
            subject=name,
            comment=f"{name} {finding.percent}%",
        )
        return self._capture(words, pixels_rgb)

    def _capture(self, words: _Words, pixels_rgb: NDArray[np.uint8]) -> Dataset:
        _check_pixels(pixels_rgb)
        dataset = Dataset(dict(self._common.items()))
        dataset.SOPInstanceUID = result_uid(self._source.StudyInstanceUID, self._report, *words.kind)
        dataset.InstanceNumber = words.instance_number
        _add_derivation(dataset, self._report, words)
        _add_pixels(dataset, pixels_rgb)
        settle_character_set(dataset, self._source)
        return dataset


def build_summary_capture(
    sources: Sequence[Dataset],
    report: Report,
    pixels_rgb: NDArray[np.uint8],
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> Dataset:
    """Return the picture of all flagged findings as the first object of the same series.

    Parameters
    ----------
    sources
        Headers of the analysed images, in the order of ``report.images``.
    pixels_rgb
        uint8 [h, w, 3] as `dicom_io.pictures.summary_picture.draw_summary` returns, neither side over 1024 pixels.

    Raises
    ------
    InvalidReportError
        Nothing is flagged, the headers are not those of the report's images, or the pixels are not of that form.
    """
    if not report.flagged:
        raise InvalidReportError("nothing is flagged in this report; there is nothing to sum up")
    if [source.SOPInstanceUID for source in sources] != [image.sop_instance_uid for image in report.images]:
        raise InvalidReportError("sources must be the headers of report.images, in the same order")
    shown = sorted({finding.source_index for finding in report.flagged})
    named = ", ".join(f"{display_name(finding.label)} {finding.percent}%" for finding in report.flagged)
    words = _Words(
        kind=("summary_capture",),
        image_type="CAM SUMMARY",
        instance_number=0,
        subject="all flagged findings",
        comment=named,
    )
    drawn_from = [sources[index] for index in shown]
    series = CaptureSeries(drawn_from, report, site_zone=site_zone, device_serial_number=device_serial_number)
    return series._capture(words, pixels_rgb)


def _check_pixels(pixels_rgb: NDArray[np.uint8]) -> None:
    if pixels_rgb.dtype != np.uint8 or pixels_rgb.ndim != 3 or pixels_rgb.shape[2] != 3:
        raise InvalidReportError(f"pixels_rgb must be uint8 [h, w, 3], are {pixels_rgb.dtype} {pixels_rgb.shape}")
    if max(pixels_rgb.shape) > MAXIMUM_SIDE_PX:
        raise InvalidReportError(f"pixels_rgb must not exceed {MAXIMUM_SIDE_PX} px, are {pixels_rgb.shape[:2]}")


def _add_series(dataset: Dataset, sources: Sequence[Dataset], report: Report, device_serial_number: str) -> None:
    """Add the series and capture device modules; modality OT keeps it out of hanging protocols for radiographs."""
    dataset.SeriesInstanceUID = result_uid(sources[0].StudyInstanceUID, report, "secondary_capture", "series")
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = series_description(report)
    dataset.Modality = "OT"
    dataset.BodyPartExamined = "CHEST"
    orientations = {str(source.get("PatientOrientation") or "") for source in sources}
    dataset.PatientOrientation = (sources[0].get("PatientOrientation") or "") if len(orientations) == 1 else ""
    dataset.ConversionType = "WSD"
    dataset.SecondaryCaptureDeviceID = device_serial_number
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MANUFACTURER_MODEL_NAME
    dataset.SecondaryCaptureDeviceSoftwareVersions = report.algorithm.version


def _add_derivation(dataset: Dataset, report: Report, words: _Words) -> None:
    """Say how the picture is made, and that it is no diagnostic image."""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", words.image_type]
    dataset.DerivationDescription = (
        f"Class activation map for {words.subject} of {report.algorithm.name} "
        f"{report.algorithm.version}, blended over the source image; not for diagnostic use"
    )
    demonstration = f" {DEMONSTRATION_NOTICE}." if report.demonstration else ""
    dataset.ImageComments = f"{words.comment}.{demonstration} {OVERLAY_NOTICE}"


def _source_image(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return reference


def _add_pixels(dataset: Dataset, pixels_rgb: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels_rgb.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels_rgb.tobytes() + b"\0" * (pixels_rgb.size % 2)
    dataset["PixelData"].VR = "OB"


def _add_history(dataset: Dataset, sources: Sequence[Dataset]) -> None:
    """Carry on what holds for the pixels we drew on: identifying text burned in, lossy compression.

    Text that identifies the patient may be in a source's pixels; we paint none ourselves.
    """
    clean = all(source.get("BurnedInAnnotation") == "NO" for source in sources)
    dataset.BurnedInAnnotation = "NO" if clean else "YES"
    dataset.LossyImageCompression = "00"
    lossy = next((source for source in sources if source.get("LossyImageCompression") == "01"), None)
    for keyword in _LOSSY_KEYWORDS:
        if lossy is not None and keyword in lossy:
            setattr(dataset, keyword, lossy[keyword].value)
