"""Every kind of result, from every kind of source, before the independent validators of the shared tools.

``validate_results.sh`` runs dciodvfy, dcentvfy, dsrdump and PixelMed; ``sr_asserts.py`` looks where none of them does.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from reports import report_on
from result_kinds import SOURCES, pictures, reports, write
from slow_cases import mostly_slow
from validators import PIXELMED_JAR, need

from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.results.report_class import REPORT_CLASSES, report_in_class
from dicom_io.results.structured_report import build_structured_report
from training.phantoms.picture import draw_phantom


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
