"""The line around the model's attention as a layer over the original image: a Grayscale Softcopy Presentation State.

A reader switches it on and off on the radiograph itself, at full resolution (PS3.3 A.33.1). A presentation state also
dictates how the image is shown, so it repeats the image's own grey scale; an image that states none gets no
presentation state, for ours would have to invent one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_io.data_sets.character_set import settle_character_set
from dicom_io.data_sets.elements import integer, numbers
from dicom_io.data_sets.header import text
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER
from dicom_io.pixels.pixel_layout import MONOCHROME
from dicom_io.results.codes import display_name
from dicom_io.results.displayed_grey_scale import add_grey_scale, states_grey_scale
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.orders import copy_request_attributes
from dicom_io.results.origin import add_origin, result_uid
from dicom_io.results.reporting import (
    DEMONSTRATION_NOTICE,
    NO_MEDICAL_DEVICE,
    InvalidReportError,
    Report,
    ReportedFinding,
)

SERIES_NUMBER = 9003
SERIES_DESCRIPTION = "AI CXR attention lines"
LAYER = "AI ATTENTION"
_LINE_NOT_EXTENT = "line = model attention, not lesion extent"
_ORANGE_CIELAB = (51415, 38197, 45650)
"""L* 78.5, a* 20.6, b* 49.6 (sRGB 255, 178, 102) as 16-bit numbers: 0..100 and -128..127 over 0..65535
(PS3.3 C.10.7.1.1)."""
_TEXT_CORNERS = ([0.01, 0.01], [0.99, 0.11])
"""Of the box for the words, as parts of the displayed area: its upper edge, above most lungs."""


def build_presentation_state(
    source: Dataset,
    report: Report,
    finding: ReportedFinding,
    lines: Sequence[NDArray[np.float32]],
    *,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> Dataset:
    """Return the presentation state of `finding`; the same arguments give the same bytes.

    Parameters
    ----------
    source
        Header of the image the finding scored highest on, ``report.images[finding.source_index]``.
    finding
        One of ``report.flagged``.
    lines
        Closed lines [n, 2] of (column, row) in pixels of the source, as `dicom_io.pictures.attention.contours` gives
        them; without any the state holds the words alone.

    Raises
    ------
    InvalidReportError
        The finding is not flagged in this report, the header is of another image, or the image states no grey scale
        (ask `can_be_presented` first).
    """
    _check(source, report, finding)
    state = Dataset()
    state.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    state.SOPInstanceUID = result_uid(source.StudyInstanceUID, report, "presentation_state", finding.label)
    copy_patient_and_study(source, state)
    copy_request_attributes(source, state)
    add_origin(state, source, report, site_zone=site_zone, device_serial_number=device_serial_number)
    _add_series(state, source, report, finding)
    _add_reference(state, source)
    _add_annotation(state, source, report, finding, lines)
    _add_displayed_area(state, source)
    add_grey_scale(source, state)
    settle_character_set(state, source)
    return state


def can_be_presented(source: Dataset) -> bool:
    """Say whether a presentation state can be made: a monochrome image that states how it is to be shown."""
    return text(source, "PhotometricInterpretation").upper() in MONOCHROME and states_grey_scale(source)


def shown_as(source: Dataset) -> Dataset:
    """Return what a presentation state repeats of how the image is to be shown; empty where none can be made of it."""
    state = Dataset()
    if can_be_presented(source):
        _add_displayed_area(state, source)
        add_grey_scale(source, state)
    return state


def lines_of(state: Dataset) -> list[NDArray[np.float32]]:
    """Return the lines of a state of ours, each float32 [n, 2] of (column, row) in pixels of its image."""
    (annotation,) = state.GraphicAnnotationSequence
    return [
        np.asarray(graphic.GraphicData, np.float32).reshape(-1, 2)
        for graphic in annotation.get("GraphicObjectSequence") or ()
    ]


def _check(source: Dataset, report: Report, finding: ReportedFinding) -> None:
    if finding not in report.flagged:
        raise InvalidReportError(f"{finding.label} is not a flagged finding of this report; it gets no lines")
    if source.SOPInstanceUID != report.images[finding.source_index].sop_instance_uid:
        raise InvalidReportError(f"source is not the image {finding.label} was found on")
    if not can_be_presented(source):
        raise InvalidReportError("source does not state its grey scale; a presentation state would invent one")


def _add_series(state: Dataset, source: Dataset, report: Report, finding: ReportedFinding) -> None:
    """Add the series and what lists of presentation states show (PS3.3 C.11.10)."""
    state.Modality = "PR"
    state.SeriesInstanceUID = result_uid(source.StudyInstanceUID, report, "presentation_state", "series")
    state.SeriesNumber = SERIES_NUMBER
    state.SeriesDescription = SERIES_DESCRIPTION
    state.BodyPartExamined = "CHEST"
    state.InstanceNumber = 1 + report.flagged.index(finding)
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    del state.ContentDate, state.ContentTime
    state.ContentLabel = f"AI {finding.label.upper()}"[:16].rstrip()
    state.ContentDescription = f"{display_name(finding.label)} {finding.percent} %: attention, not extent"
    state.ContentCreatorName = ""


def _add_reference(state: Dataset, source: Dataset) -> None:
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedImageSequence = [_image(source)]
    state.ReferencedSeriesSequence = [series]


def _image(source: Dataset) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = source.SOPClassUID
    image.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return image


def _add_annotation(
    state: Dataset, source: Dataset, report: Report, finding: ReportedFinding, lines: Sequence[NDArray[np.float32]]
) -> None:
    """Add the lines and the words in a layer of their own (PS3.3 C.10.5, C.10.7)."""
    annotation = Dataset()
    annotation.ReferencedImageSequence = [_image(source)]
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = [_words(report, finding)]
    if lines:
        annotation.GraphicObjectSequence = [_polyline(line) for line in lines]
    state.GraphicAnnotationSequence = [annotation]
    layer = Dataset()
    layer.GraphicLayer = LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(_ORANGE_CIELAB)
    layer.GraphicLayerDescription = _LINE_NOT_EXTENT
    state.GraphicLayerSequence = [layer]


def _words(report: Report, finding: ReportedFinding) -> Dataset:
    notice = f"{DEMONSTRATION_NOTICE}\r\n{NO_MEDICAL_DEVICE}" if report.demonstration else NO_MEDICAL_DEVICE
    words = Dataset()
    words.UnformattedTextValue = (
        f"AI: {display_name(finding.label)} {finding.percent} %\r\n{notice}\r\n"
        f"{_LINE_NOT_EXTENT}\r\n{report.algorithm.name} {report.algorithm.version}"
    )
    words.BoundingBoxAnnotationUnits = "DISPLAY"
    words.BoundingBoxTopLeftHandCorner, words.BoundingBoxBottomRightHandCorner = _TEXT_CORNERS
    words.BoundingBoxTextHorizontalJustification = "LEFT"
    return words


def _polyline(line: NDArray[np.float32]) -> Dataset:
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(line)
    graphic.GraphicData = [float(value) for value in line.ravel()]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    return graphic


def _add_displayed_area(state: Dataset, source: Dataset) -> None:
    """Show the whole image as large as it fits (PS3.3 C.10.4); pixels that are not square stay so."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [integer(source, "Columns", None), integer(source, "Rows", None)]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelAspectRatio = _aspect_ratio(source)
    state.DisplayedAreaSelectionSequence = [area]


def _aspect_ratio(source: Dataset) -> list[int]:
    """Return height and width of a pixel as whole numbers; 1 and 1 where nothing that can be read says otherwise."""
    for keyword, scale in (("PixelSpacing", 1000), ("ImagerPixelSpacing", 1000), ("PixelAspectRatio", 1)):
        ratio = [round(scale * value) for value in numbers(source, keyword)]
        if len(ratio) == 2 and min(ratio) > 0:
            return ratio
    return [1, 1]
