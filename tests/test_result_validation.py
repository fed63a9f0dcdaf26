"""Every kind of result, from every kind of source, before the independent validators of the shared tools.

``validate_results.sh`` runs dciodvfy, dcentvfy, dsrdump and PixelMed; ``sr_asserts.py`` looks where none of them does.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from reports import FLAGGED, QUIET, report_on, source_radiograph
from slow_cases import mostly_slow
from validators import PIXELMED_JAR, need

from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.pictures.attention import contours, smooth
from dicom_io.pictures.overlay import Film, caption_of, draw_overlay
from dicom_io.pictures.summary_picture import Panel, draw_summary
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.results.presentation_state import build_presentation_state, can_be_presented
from dicom_io.results.report_class import REPORT_CLASSES, report_in_class
from dicom_io.results.reporting import Predecessor, Report
from dicom_io.results.result_file import write_result
from dicom_io.results.secondary_capture import CaptureSeries, build_summary_capture
from dicom_io.results.structured_report import build_structured_report
from training.phantoms.picture import draw_phantom

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
"""The phantom, which comes with a report of every form, has a test of its own."""


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


def stored_source(source: Dataset, folder: Path) -> Path:
    path = folder / "source.dcm"
    source.save_as(path, enforce_file_format=True)
    return path


def judge(shared: Path, source: Path, *results: Path) -> None:
    """Run the validators; the test fails with their words when one of them finds an error."""
    need(PIXELMED_JAR.exists(), "PixelMed (Debian package libpixelmed-java)")
    script = shared / "tools" / "validate_results.sh"
    judged = subprocess.run(
        ["bash", str(script), "-s", str(source), *map(str, results)], capture_output=True, timeout=1800, check=False
    )
    assert judged.returncode == 0, judged.stdout.decode(errors="replace")[-4000:]


@pytest.mark.parametrize("name", mostly_slow(SOURCES, "without type 2", "Japanese"))
def test_the_assertions_no_validator_makes_hold_for_every_source_and_class(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = shared / "tools" / "sr_asserts.py"
    source = SOURCES[name]()
    source_path = stored_source(source, tmp_path)
    for form, report in reports(source).items():
        for sop_class_uid in REPORT_CLASSES:
            document = build_structured_report([source], report, sop_class_uid=sop_class_uid)
            path = write(tmp_path, f"{form} {sop_class_uid}", document)
            monkeypatch.setattr(sys, "argv", [script.name, str(path), str(source_path)])
            with warnings.catch_warnings(action="ignore"), pytest.raises(SystemExit):
                runpy.run_path(str(script), run_name="__main__")
            assert capsys.readouterr().out.strip() == "ok"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SOURCES)
def test_every_validator_accepts_the_results_of_every_source(name: str, shared: Path, tmp_path: Path) -> None:
    source = SOURCES[name]()
    document = build_structured_report([source], report_on(source))
    results = [write(tmp_path, f"report {uid}", report_in_class(document, uid)) for uid in REPORT_CLASSES]
    results += [write(tmp_path, what, made) for what, made in pictures(source)]
    judge(shared, stored_source(source, tmp_path), *results)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sop_class_uid", REPORT_CLASSES)
def test_every_validator_accepts_every_form_of_report_on_a_phantom(
    sop_class_uid: str, shared: Path, tmp_path: Path
) -> None:
    drawn = draw_phantom(("Pneumothorax", "Effusion"), False, np.random.default_rng(7))
    source = radiograph_from_pixels(
        drawn.pixels, study_datetime=datetime(2026, 3, 29, 1, 30), patient_id="PH-1", patient_name="Phantom^Drawn"
    )
    forms = {
        name: build_structured_report([source], report, sop_class_uid=sop_class_uid)
        for name, report in reports(source).items()
    }
    forms["with negatives"] = build_structured_report(
        [source], report_on(source), sop_class_uid=sop_class_uid, include_negatives=True
    )
    results = [write(tmp_path, name, document) for name, document in forms.items()]
    results += [write(tmp_path, what, made) for what, made in pictures(source)]
    judge(shared, stored_source(source, tmp_path), *results)
