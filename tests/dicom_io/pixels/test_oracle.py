"""The written-down pixel path (`pixel_oracle.py`), worked out over the whole frame, against our tables."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from factories import chest_radiograph
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from samples import public_sample, shared

from dicom_io.pixels.radiograph import read_radiograph

INPUTS = [
    "cr_mono1_noshape", "cr_no_voi", "cr_signed_rescale", "cr_voilut_seq_over_window", "cr_zero_width", "dx_15bit",
    "dx_linear_exact", "dx_mono1_inverse", "dx_mono2", "dx_overlay_in_high_bits", "dx_padding", "dx_sigmoid",
    "dx_two_windows",
]  # fmt: skip
SYNTAXES = ["be", "defl", "imp", "j2k", "jls", "jlsn", "p14", "rle", "sv1"]
LOSSLESS = ["be", "defl", "imp", "j2k", "jls", "p14", "rle", "sv1"]
FEW_VALUES = 60
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


def test_a_picture_that_ends_at_another_high_bit_is_as_the_oracle_says_of_it_moved_down(oracle: ModuleType) -> None:
    path = shared("data/examples/inputs/cr_highbit15.dcm")
    moved = pydicom.dcmread(path)
    words = np.frombuffer(moved.PixelData, "<u2")
    moved.PixelData, moved.HighBit = (words >> 4).tobytes(), 11
    assert np.abs(read_radiograph(path).pixels - oracle.to_u8(moved).astype(int)).max() <= 1


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


@st.composite
def valid_images(draw: st.DrawFn) -> Dataset:
    """Draw images whose header means one thing only: depth, sign, rescale, padding, VOI, polarity."""
    bits, signed = draw(st.integers(9, 16)), draw(st.booleans())
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)  # so few values that any window is the one to show them with
    codes = random.integers(0, 1 << bits, FEW_VALUES)[random.integers(0, FEW_VALUES, (12, 15))].astype(np.uint16)
    if draw(st.booleans()):
        codes |= np.uint16((0xFFFF << bits) & 0xFFFF)  # as overlays or sign bits stand there
    slope, intercept = draw(st.sampled_from([0.5, 1, 2, -1])), draw(st.integers(-2000, 2000))
    keywords: dict[str, Any] = {
        "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed), "RescaleSlope": str(slope),
        "RescaleIntercept": str(intercept), "WindowWidth": str(draw(st.integers(1, 70_000))),
        "WindowCenter": str(draw(st.integers(-40_000, 70_000))),
        "VOILUTFunction": draw(st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])),
        "PresentationLUTShape": draw(st.sampled_from([None, "IDENTITY", "INVERSE"])),
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
    }  # fmt: skip
    if draw(st.integers(0, 3)) == 0:
        keywords |= {"WindowWidth": None, "WindowCenter": None}  # percentiles
    dataset = chest_radiograph(codes, **keywords)
    low = -(1 << (bits - 1)) if signed else 0
    if draw(st.booleans()):
        value = draw(st.integers(low, low + (1 << bits) - 1))
        dataset.add_new("PixelPaddingValue", "SS" if signed else "US", value)
    if draw(st.booleans()) and not signed and slope > 0 and intercept >= 0:
        item = Dataset()
        count, entry_bits = draw(st.integers(1, 4096)), draw(st.integers(8, 16))
        entries = np.random.default_rng(seed + 1).integers(0, 1 << entry_bits, count)
        item.LUTDescriptor = [count, draw(st.integers(0, 30_000)), entry_bits]
        item.LUTData = entries.astype("<u2").tobytes()
        dataset.VOILUTSequence = [item]
    return dataset


@settings(max_examples=150, deadline=None)
@given(dataset=valid_images())
def test_any_valid_image_is_as_the_oracle_says(dataset: Dataset, oracle: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle.to_u8(dataset).astype(int)
    assert np.abs(read_radiograph(dataset).pixels - expected).max() <= 1
