"""Every kind of result, from every kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from reports import FLAGGED, QUIET, report_on, source_radiograph

from dicom_io.pictures.attention import contours, smooth
from dicom_io.pictures.overlay import Film, caption_of, draw_overlay
from dicom_io.pictures.summary_picture import Panel, draw_summary
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.results.presentation_state import build_presentation_state, can_be_presented
from dicom_io.results.report_class import REPORT_CLASSES
from dicom_io.results.reporting import Predecessor, Report
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture

SPOT = np.zeros((7, 7), np.float32)
SPOT[4, 2] = 1.0


def rg1() -> Dataset:
    return dcmread(str(get_testdata_file("RG1_J2KI.dcm", download=False)))


def in_character_set(character_set: Any, name: str) -> Dataset:
    order = Dataset()
    order.RequestedProcedureID, order.ScheduledProcedureStepID = "RP1", "SPS1"
    order.RequestedProcedureDescription = name.rpartition("=")[2].replace("^", " ")
    source = source_radiograph(PatientName=name, RequestAttributesSequence=[order])
    source.SpecificCharacterSet = character_set
    return dcmread(BytesIO(write_result(source)))


def with_two_orders() -> Dataset:
    first, second = Dataset(), Dataset()
    for number, order in enumerate((first, second), start=1):
        order.RequestedProcedureID, order.ScheduledProcedureStepID = f"RP{number}", f"SPS{number}"
        order.AccessionNumber = f"ACC000{number}"
    return source_radiograph(RequestAttributesSequence=[first, second])


SOURCES: dict[str, Any] = {
    "RG1": rg1,
    "without type 2": lambda: source_radiograph(
        PatientName=None, PatientID=None, PatientBirthDate=None, PatientSex=None, AccessionNumber=None, StudyID=None,
        ReferringPhysicianName=None,
    ),
    "Cyrillic": lambda: in_character_set("ISO_IR 144", "Иванов^Иван"),
    "Japanese": lambda: in_character_set(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Chinese": lambda: in_character_set("GB18030", "Wang^XiaoDong=王^小东"),
    "two orders": with_two_orders,
}  # fmt: skip
"""But the phantom: a test draws it."""


def reports(source: Dataset) -> dict[str, Report]:
    before = Predecessor(REPORT_CLASSES[0], "2.25.1", "2.25.2")
    return {
        "positive": report_on(source),
        "negative": report_on(source, findings=QUIET),
        "superseding": report_on(source, predecessors=(before,), reissue_reason="an image was added"),
    }


def pictures(source: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Yield the captures, the summary and the presentation state of a positive report."""
    report = report_on(source, findings=FLAGGED)
    pixels = read_radiograph(source).pixels
    for finding in report.flagged:
        picture = draw_overlay(Film(pixels), SPOT, caption_of(report, finding))
        yield f"capture {finding.label}", CaptureSeries([source], report).of_finding(finding, picture)
    summary = draw_summary(report, [Panel(finding, pixels, SPOT) for finding in report.flagged])
    yield "summary", build_summary_capture([source], report, summary)
    if can_be_presented(source):
        lines = contours(smooth(SPOT), *pixels.shape)
        yield "state", build_presentation_state(source, report, report.flagged[0], lines)


def write(folder: Path, name: str, dataset: Dataset) -> Path:
    path = folder / f"{name.replace(' ', '_')}.dcm"
    path.write_bytes(write_result(dataset))
    return path
