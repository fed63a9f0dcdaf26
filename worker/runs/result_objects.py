"""The DICOM objects of one analysis: the report, a capture per flagged finding, and what else a destination wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.pictures.attention import contours, smooth
from dicom_io.pictures.overlay import Film, caption_of, draw_overlay
from dicom_io.pictures.summary_picture import Panel, draw_summary
from dicom_io.results.presentation_state import build_presentation_state, can_be_presented
from dicom_io.results.reporting import Report, ReportedFinding
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture
from dicom_io.results.structured_report import build_structured_report
from worker.rows.states import ResultKind
from worker.runs.analysis import Analysis
from worker.runs.kept_results import Line
from worker.sending.shipment import shipped_anywhere
from worker.settings.config import Settings


@dataclass(frozen=True)
class ResultObject:
    """One object, not yet written."""

    kind: ResultKind
    finding: str | None
    """The label a picture or a line is about; None for what is about the whole study."""
    dataset: Dataset
    source: Dataset
    """Header of the image whose patient, study and orders the object must carry."""


def result_objects(analysis: Analysis, report: Report, settings: Settings) -> Iterator[ResultObject]:
    """Yield the objects of one analysis, the report first.

    The captures per finding are made whoever wants them, for the study page shows them; the summary and the
    presentation states only where a destination takes them.

    Raises
    ------
    InvalidReportError
        No valid object can be made from this study.
    """
    headers = [picture.header for picture in analysis.pictures]
    zone, serial_number = ZoneInfo(settings.time_zone), settings.device_serial_number
    document = build_structured_report(
        headers,
        report,
        include_negatives=settings.include_negatives,
        site_zone=zone,
        device_serial_number=serial_number,
    )
    yield ResultObject(ResultKind.STRUCTURED_REPORT, None, document, headers[0])
    films = [Film(picture.radiograph.pixels) for picture in analysis.pictures]
    shown = sorted({finding.source_index for finding in report.flagged})
    series = {
        index: CaptureSeries([headers[index]], report, site_zone=zone, device_serial_number=serial_number)
        for index in shown
    }
    for finding in report.flagged:
        overlay = _overlay(finding, films[finding.source_index], analysis, report)
        capture = series[finding.source_index].of_finding(finding, overlay)
        yield ResultObject(ResultKind.SECONDARY_CAPTURE, finding.label, capture, headers[finding.source_index])
    if report.flagged and shipped_anywhere(settings.destinations, ResultKind.SUMMARY_CAPTURE):
        picture = _summary(analysis, report)
        if picture is not None:
            capture = build_summary_capture(
                headers, report, picture, site_zone=zone, device_serial_number=serial_number
            )
            yield ResultObject(ResultKind.SUMMARY_CAPTURE, None, capture, headers[shown[0]])
    if shipped_anywhere(settings.destinations, ResultKind.PRESENTATION_STATE):
        yield from _presentation_states(analysis, report, settings)


def _overlay(finding: ReportedFinding, film: Film, analysis: Analysis, report: Report) -> NDArray[np.uint8]:
    if finding.label in analysis.kept.overlays:
        return analysis.kept.overlays[finding.label]
    return draw_overlay(film, analysis.saliency[finding.label], caption_of(report, finding))


def _summary(analysis: Analysis, report: Report) -> NDArray[np.uint8] | None:
    """Draw the summary; the earlier run's where this one only repeats it, if that run made one."""
    if analysis.kept.overlays:
        return analysis.kept.summary
    return draw_summary(
        report,
        [
            Panel(
                finding,
                analysis.pictures[finding.source_index].radiograph.pixels,
                analysis.saliency[finding.label],
            )
            for finding in report.flagged
        ],
    )


def _presentation_states(analysis: Analysis, report: Report, settings: Settings) -> Iterator[ResultObject]:
    for finding in report.flagged:
        picture = analysis.pictures[finding.source_index]
        lines = _lines(finding, analysis)
        grey_scale = picture.radiograph.grey_scale
        if lines is None or grey_scale is None or grey_scale.voi_passed_over or not can_be_presented(picture.header):
            continue
        state = build_presentation_state(
            picture.header,
            report,
            finding,
            lines,
            site_zone=ZoneInfo(settings.time_zone),
            device_serial_number=settings.device_serial_number,
        )
        yield ResultObject(ResultKind.PRESENTATION_STATE, finding.label, state, picture.header)


def _lines(finding: ReportedFinding, analysis: Analysis) -> list[Line] | None:
    """Return the lines around the attention; None where this run repeats an earlier one that drew none."""
    if analysis.kept.overlays:
        kept = analysis.kept.lines.get(finding.label)
        return None if kept is None else list(kept)
    picture = analysis.pictures[finding.source_index]
    rows, columns = picture.radiograph.pixels.shape
    return contours(smooth(analysis.saliency[finding.label]), rows, columns)
