"""Every real file as dcmtk renders it; the table in docs/pixels.md says what differs and why, and must be true."""

from __future__ import annotations

import importlib.resources
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from renderers import installed, rendered
from samples import SHARED, public_sample, shared

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.radiograph import read_radiograph

TABLE = Path(__file__).resolve().parents[3] / "docs/pixels.md"
MOST_MEAN_LEVELS = 1.5
DIFFERENCES = {"none": {0}, "rounds down": {0, 1}, "slope": {-1, 0}, "colours": {-1, 0, 1}, "wraps": {0, 1}}
"""Ours less dcmtk's."""
PUBLIC_FOLDER = Path(str(importlib.resources.files("data_store"))) / "data"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    file: str
    tool: str
    voi: str
    mean: str
    maximum: str
    difference: str


def rows() -> list[Row]:
    lines = TABLE.read_text().split("| File |")[1].splitlines()[2:]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def real_file(name: str) -> Path:
    public = PUBLIC_FOLDER / f"{name}.dcm"
    return public if public.is_file() else shared(f"data/dicom/{name}.dcm")


@pytest.fixture(autouse=True)
def dcmtk() -> None:
    if not installed():
        assert "CXR_REQUIRE_SERVICES" not in os.environ, "dcmtk is not installed"
        pytest.skip("dcmtk is not installed")


def test_every_real_file_is_in_the_table() -> None:
    listed = [row.file for row in rows()]
    assert len(listed) == len(set(listed))
    assert {path.stem for path in PUBLIC_FOLDER.glob("*.dcm")} <= set(listed)
    if SHARED.is_dir():
        assert {path.stem for path in shared("data/dicom").glob("*.dcm")} <= set(listed)


@pytest.mark.parametrize("row", [row for row in rows() if row.maximum != "-"], ids=lambda row: row.file)
def test_a_picture_is_the_one_dcmtk_renders(row: Row, tmp_path: Path) -> None:
    path = real_file(row.file)
    radiograph = read_radiograph(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own about odd files
        tool, theirs = rendered(path, radiograph, tmp_path)
    difference = radiograph.pixels.astype(int) - theirs
    mean = np.abs(difference).mean()
    voi = radiograph.grey_scale.voi if radiograph.grey_scale else "luma of the colours"
    assert (tool, voi) == (row.tool, row.voi)
    assert mean <= MOST_MEAN_LEVELS
    assert f"{mean:.2f}" == row.mean and str(np.abs(difference).max()) == row.maximum
    if row.difference == "wraps":
        beyond = difference[np.abs(difference) > 1]
        assert 0 < beyond.size < 1e-5 * difference.size
        difference = difference[np.abs(difference) <= 1]
    assert set(np.unique(difference).tolist()) <= DIFFERENCES[row.difference]


@pytest.mark.parametrize("row", [row for row in rows() if row.tool == "-"], ids=lambda row: row.file)
def test_what_is_refused_is_refused_for_the_reason_in_the_table(row: Row) -> None:
    with pytest.raises(UndecodableError) as caught:
        read_radiograph(real_file(row.file))
    assert caught.value.reason_code is ReasonCode(row.difference)


GREY_SCALES = [
    "dx_mono2", "dx_mono1_inverse", "cr_mono1_noshape", "dx_sigmoid", "dx_linear_exact", "dx_padding",
    "cr_voilut_seq_over_window", "cr_signed_rescale", "cr_no_voi",
]  # fmt: skip


@pytest.mark.parametrize("name", GREY_SCALES)
def test_every_way_of_saying_a_grey_scale_is_as_dcmtk_renders_it(name: str, tmp_path: Path) -> None:
    path = shared(f"data/examples/inputs/{name}.dcm")
    radiograph = read_radiograph(path)
    _, theirs = rendered(path, radiograph, tmp_path)
    assert np.abs(radiograph.pixels.astype(int) - theirs).max() <= 1


def test_a_wrong_polarity_would_be_noticed(tmp_path: Path) -> None:
    path = public_sample("RG3_UNCR.dcm")
    radiograph = read_radiograph(path)
    _, theirs = rendered(path, radiograph, tmp_path)
    assert np.abs(255 - radiograph.pixels.astype(int) - theirs).mean() > 50
