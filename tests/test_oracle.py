"""The written-down pixel path (`pixel_oracle.py`), worked out over the whole frame, against our tables."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from samples import public_sample, shared

from dicom_io.pixels import read_radiograph
from dicom_io.reasons import ReasonCode, UndecodableError

INPUTS = [
    "cr_mono1_noshape", "cr_no_voi", "cr_signed_rescale", "cr_voilut_seq_over_window", "cr_zero_width", "dx_15bit",
    "dx_linear_exact", "dx_mono1_inverse", "dx_mono2", "dx_overlay_in_high_bits", "dx_padding", "dx_sigmoid",
    "dx_two_windows",
]  # fmt: skip
SYNTAXES = ["be", "defl", "imp", "j2k", "jls", "jlsn", "p14", "rle", "sv1"]
LOSSLESS = ["be", "defl", "imp", "j2k", "jls", "p14", "rle", "sv1"]
PUBLIC = ["RG1_UNCR", "RG1_J2KI", "RG3_J2KR", "vlut_04", "mlut_18"]


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    specification = importlib.util.spec_from_file_location("pixel_oracle", shared("tools/pixel_oracle.py"))
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def assert_within_one_level(path: Path, oracle: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own about odd files
        expected = oracle.to_u8(pydicom.dcmread(path)).astype(int)
    assert np.abs(read_radiograph(path).pixels - expected).max() <= 1


@pytest.mark.parametrize("name", INPUTS)
def test_every_fixture_of_the_pixel_path_is_as_the_oracle_says(name: str, oracle: ModuleType) -> None:
    assert_within_one_level(shared(f"data/examples/inputs/{name}.dcm"), oracle)


def test_no_fixture_is_forgotten() -> None:
    names = {path.stem for path in shared("data/examples/inputs").glob("*.dcm")}
    assert names == {*INPUTS, "cr_highbit15"}


def test_a_high_bit_that_is_not_the_highest_stored_bit_is_refused(oracle: ModuleType) -> None:
    path = shared("data/examples/inputs/cr_highbit15.dcm")
    with pytest.raises(ValueError, match="HighBit"):
        oracle.to_u8(pydicom.dcmread(path))
    with pytest.raises(UndecodableError, match="HighBit 15") as caught:
        read_radiograph(path)
    assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("name", [*SYNTAXES, "base"])
def test_every_transfer_syntax_is_as_the_oracle_says(name: str, oracle: ModuleType) -> None:
    assert_within_one_level(shared(f"data/examples/transfer_syntaxes/{name}.dcm"), oracle)


@pytest.mark.parametrize("name", PUBLIC)
def test_real_files_are_as_the_oracle_says(name: str, oracle: ModuleType) -> None:
    assert_within_one_level(public_sample(f"{name}.dcm"), oracle)


def test_lossless_encodings_of_one_picture_are_one_picture() -> None:
    radiographs = {name: read_radiograph(shared(f"data/examples/transfer_syntaxes/{name}.dcm")) for name in LOSSLESS}
    assert len({radiograph.pixel_sha256 for radiograph in radiographs.values()}) == 1
    assert len({radiograph.pixels.tobytes() for radiograph in radiographs.values()}) == 1


def test_real_files_decode_to_the_values_of_the_manifest() -> None:
    lines = shared("data/dicom_manifest.csv").read_text().splitlines()[1:]
    checked = 0
    for line in lines:
        name, expected = line.split(",", 1)[0], line.rsplit(",", 1)[1]
        if expected:
            assert read_radiograph(shared(f"data/dicom/{name}")).pixel_sha256 == expected, name
            checked += 1
    assert checked == 15  # nothing but imagecodecs reads the 12-bit extended one
