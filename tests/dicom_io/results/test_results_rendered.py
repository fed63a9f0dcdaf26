"""What dcmtk makes of our results: its text and web page of the report, its picture of every capture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from reports import FLAGGED, report_on
from result_kinds import SOURCES, pictures, reports, write
from validators import dsrdump, need

from dicom_io.results.structured_report import build_structured_report


@pytest.mark.parametrize("name", SOURCES)
def test_dcmtk_shows_every_form_of_report_and_its_headline(name: str, tmp_path: Path) -> None:
    need(shutil.which("dsr2html") is not None, "dsr2html (Debian package dcmtk)")
    source = SOURCES[name]()
    for form, report in reports(source).items():
        path = write(tmp_path, form, build_structured_report([source], report))
        web_page = tmp_path / "report.html"
        shown = subprocess.run(["dsr2html", str(path), str(web_page)], capture_output=True, check=False)
        assert shown.returncode == 0, shown.stderr
        for text in (dsrdump(path), web_page.read_bytes().decode(errors="replace")):
            assert "Imaging Measurement Report" in text
            assert ("All algorithms succeeded; without findings" in text) == (form == "negative")
            assert ("Pneumothorax 91 %" in text) == (form != "negative")


@pytest.mark.parametrize("name", ["RG1", "Japanese"])
def test_dcmtk_renders_every_capture_as_it_was_painted(name: str, tmp_path: Path) -> None:
    need(shutil.which("dcm2pnm") is not None, "dcm2pnm (Debian package dcmtk)")
    source = SOURCES[name]()
    captures = [(what, made) for what, made in pictures(source) if what != "state"]
    assert len(captures) == len(report_on(source, findings=FLAGGED).flagged) + 1
    for what, made in captures:
        path = write(tmp_path, what, made)
        subprocess.run(["dcm2pnm", str(path), str(tmp_path / "picture.ppm")], check=True, capture_output=True)
        with Image.open(tmp_path / "picture.ppm") as picture:
            assert np.array_equal(np.asarray(picture), dcmread(path).pixel_array)
