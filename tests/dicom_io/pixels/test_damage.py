"""Copies of real files, cut short or with a part lost or overwritten: none may be analysed as if it were whole."""

from __future__ import annotations

import random
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from factories import chest_radiograph
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate
from samples import public_sample, shared

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.decoding import decode_stored_values
from dicom_io.pixels.encapsulation import single_frame
from dicom_io.pixels.radiograph import read_radiograph

SHARED_FILES = [
    "dcmjs_dx_elbow_jpegll_14bit", "fodicom_cr_teeth_modalitylut_jpegll_mono1", "gdcm_cr_mono1_10_chest_evle",
    "highdicom_fuji_dx_chest_evle_mono1_8bit_small", "nema_wg04_RG3_J2KI", "nema_wg04_RG3_J2KR", "nema_wg04_RG3_JLSL",
    "nema_wg04_RG3_JLSN", "nema_wg04_RG3_JPLL", "nema_wg04_RG3_JPLY", "nema_wg04_RG3_RLE", "nema_wg04_RG3_UNC",
    "nema_wg04_rg1_cr_chest_pa_j2k_lossy_mono1_15bit", "nema_wg04_rg1_cr_chest_pa_jpegls_near_mono1_15bit",
    "rsna_nih_cr_chest_pa_jpegbaseline_mono2_8bit", "txrv_fake_mono1_relabel_of_rsna",
]  # fmt: skip
PUBLIC_FILES = ["RG1_J2KI", "RG1_J2KR", "RG1_UNCR", "RG3_J2KR", "JPEG-LL", "JPGLosslessP14SV1_1s_1f_8b", "OBXXXX1A_rle"]
LOST_BYTES = 200


def real_file(name: str) -> Path:
    return public_sample(f"{name}.dcm") if name in PUBLIC_FILES else shared(f"data/dicom/{name}.dcm")


def refusal(source: Path | pydicom.Dataset) -> ReasonCode | None:
    try:
        read_radiograph(source)
    except UndecodableError as error:
        return error.reason_code
    return None


@pytest.mark.parametrize("name", SHARED_FILES + PUBLIC_FILES)
def test_a_real_file_cut_short_is_undecodable(name: str, tmp_path: Path) -> None:
    raw = real_file(name).read_bytes()
    path = tmp_path / "cut.dcm"
    for part in (0.02, 0.3, 0.6, 0.95, 0.999):
        path.write_bytes(raw[: int(len(raw) * part)])
        assert refusal(path) is ReasonCode.UNDECODABLE, part


def damaged_copies(name: str) -> dict[str, list[bytes]]:
    """Return the code stream with 200 bytes lost, zeroed and overwritten with noise, each at six places; of wavelet
    streams only the first: their blocks have no check of any kind (ISO/IEC 15444-1 annex D)."""
    stream = single_frame(pydicom.dcmread(real_file(name)).PixelData)
    draw = random.Random(name)
    places = [draw.randrange(len(stream) // 20 + 700, len(stream) - 300) for _ in range(6)]
    lost = [stream[:at] + stream[at + LOST_BYTES :] for at in places]
    if "J2K" in name or "j2k" in name:
        return {"lost": lost}
    return {
        "lost": lost,
        "zeroed": [stream[:at] + bytes(LOST_BYTES) + stream[at + LOST_BYTES :] for at in places],
        "noise": [stream[:at] + draw.randbytes(LOST_BYTES) + stream[at + LOST_BYTES :] for at in places],
    }


COMPRESSED = [name for name in SHARED_FILES + PUBLIC_FILES if not name.endswith(("evle", "small", "UNC", "UNCR"))]


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_real_code_stream_with_a_damaged_part_is_undecodable(name: str) -> None:
    dataset = pydicom.dcmread(real_file(name))
    found = {}
    for kind, streams in damaged_copies(name).items():
        for number, stream in enumerate(streams):
            dataset.PixelData = encapsulate([stream])
            found[kind, number] = refusal(dataset)
    assert set(found.values()) <= {None, ReasonCode.UNDECODABLE}
    missed = {case for case, reason in found.items() if reason is None}
    assert not {case for case in missed if case[0] == "lost"}
    assert len(missed) <= 1, missed


@pytest.mark.parametrize("name", [name for name in COMPRESSED if "J2K" in name or "j2k" in name])
def test_a_disk_block_of_noise_in_a_wavelet_stream_is_undecodable(name: str) -> None:
    """Noise holds codes that the coding never writes between its markers (ISO/IEC 15444-1 annex A.1)."""
    dataset = pydicom.dcmread(real_file(name))
    stream = single_frame(dataset.PixelData)
    draw = random.Random(name)
    for _ in range(4):
        at = draw.randrange(2000, len(stream) - 5000)
        dataset.PixelData = encapsulate([stream[:at] + draw.randbytes(4096) + stream[at + 4096 :]])
        assert refusal(dataset) is ReasonCode.UNDECODABLE


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 90), st.integers(8, 90), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 20, 90]),
    st.sampled_from([None, 0, 128, 255]), st.integers(10, 100), st.booleans(), st.booleans(), st.integers(0, 2),
)  # fmt: skip
def test_no_whole_jpeg_is_taken_for_a_damaged_one(
    rows, columns, seed, noise, border, quality, optimised, colour, restart_rows
):
    """Flat borders as collimation leaves them, any tables, restart markers, grey and colour."""
    pixels = np.random.default_rng(seed).normal(120, noise, (rows, columns)).clip(0, 255).astype(np.uint8)
    if border is not None:
        pixels[rows // 2 :] = border
    picture = Image.fromarray(np.dstack([pixels] * 3) if colour else pixels)
    written = BytesIO()
    picture.save(
        written, "JPEG", quality=quality, optimize=optimised, restart_marker_rows=restart_rows,
        subsampling=seed % 3,
    )  # fmt: skip
    decoded = decode_stored_values(jpeg(written.getvalue(), rows, columns, colour=colour))
    expected = np.asarray(Image.open(BytesIO(written.getvalue())))
    assert np.abs(decoded.astype(int) - expected).max() <= 2  # conversions of colour round differently


def jpeg(stream: bytes, rows: int, columns: int, *, colour: bool) -> pydicom.Dataset:
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    dataset = chest_radiograph(
        Rows=rows, Columns=columns, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=encapsulate([stream]),
        TransferSyntaxUID="1.2.840.10008.1.2.4.50", **(colours if colour else {}),
    )  # fmt: skip
    dataset["PixelData"].is_undefined_length = True
    return dataset


def run_lengths(pixels: np.ndarray, **keywords: object) -> pydicom.Dataset:
    dataset = chest_radiograph(pixels, **keywords)
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom")
    return dataset


@pytest.mark.parametrize("padding", [0, 1, 2, 64])
def test_zeros_behind_the_run_lengths_are_no_damage(padding: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (30, 20), dtype=np.uint16)
    pixels[20:] = 0  # collimated
    dataset = run_lengths(pixels)
    dataset.PixelData = encapsulate([single_frame(dataset.PixelData) + bytes(padding)])
    np.testing.assert_array_equal(decode_stored_values(dataset), pixels)


def test_colour_run_lengths_are_red_green_and_blue() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    dataset = chest_radiograph(
        Rows=9, Columns=7, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8,
        BitsStored=8, HighBit=7, PixelData=pixels.tobytes(),
    )  # fmt: skip
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom")
    np.testing.assert_array_equal(decode_stored_values(dataset), pixels)


@pytest.mark.parametrize(
    "header", [(3, 64, 70, 80), (2, 64, 64), (2, 80, 70), (2, 0, 70), (2, 64, 2**31), (2**32 - 1, 64), (0,)]
)
def test_a_header_of_run_lengths_that_cannot_be_is_undecodable(header: tuple[int, ...]) -> None:
    dataset = run_lengths(np.arange(600, dtype=np.uint16).reshape(30, 20))
    words = np.zeros(16, "<u4")
    words[: len(header)] = header
    dataset.PixelData = encapsulate([words.tobytes() + single_frame(dataset.PixelData)[64:]])
    assert refusal(dataset) is ReasonCode.UNDECODABLE


def test_run_lengths_that_unpack_without_end_are_refused_before_they_take_memory() -> None:
    dataset = run_lengths(np.arange(600, dtype=np.uint16).reshape(30, 20))
    runs = b"\x81\x00" * 500_000  # 64 MB of zeros for each plane
    header = np.array([2, 64, 64 + len(runs), *[0] * 13], "<u4").tobytes()
    dataset.PixelData = encapsulate([header + runs + runs])
    tracemalloc.start()
    try:
        assert refusal(dataset) is ReasonCode.UNDECODABLE
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
