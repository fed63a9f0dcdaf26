"""Pictures decoded at half resolution give nearly the network's input of whole ones, or are decoded whole."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from samples import public_sample, shared

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels import half_resolution
from dicom_io.pixels.decoding import decode_stored_values
from dicom_io.pixels.encapsulation import single_frame
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import Radiograph, read_radiograph
from model.preprocess import to_uint8_224

pytestmark = pytest.mark.either_database

MOST_MEAN_LEVELS, MOST_LEVELS = 0.1, 1.5
FAMILY = "1.2.840.10008.1.2.4."


def both(source: Path | Dataset) -> tuple[Radiograph, Radiograph]:
    return read_radiograph(source), read_radiograph(source, Decoding.FAST)


def differences(exact: Radiograph, fast: Radiograph) -> np.ndarray:
    """Return |difference| of the network's input, int [224, 224]."""
    return np.abs(to_uint8_224(exact.pixels).astype(int) - to_uint8_224(fast.pixels))


def recoded(dataset: Dataset, syntax: str, frame: bytes) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(FAMILY + syntax)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def wavelet(pixels: np.ndarray, **keywords: Any) -> Dataset:
    """Return a drawn radiograph as reversible JPEG 2000."""
    frame = _coded(pixels.tobytes(), pixels.dtype.str, pixels.shape, int(keywords.get("BitsStored", 12)))
    return recoded(chest_radiograph(pixels, **keywords), "90", frame)


@lru_cache(maxsize=4)  # half a second each, and most tests want the same picture
def _coded(samples: bytes, kind: str, shape: tuple[int, int], bits: int) -> bytes:
    pixels = np.frombuffer(samples, kind).reshape(shape)
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=bits))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return a drawn chest with the noise of a detector, a tenth above the shortest side, which is set low for it."""
    monkeypatch.setattr(half_resolution, "SHORTEST_SIDE_PX", 660)
    noise = np.random.default_rng(1).normal(0, 12, (726, 770))
    return np.clip(drawn_chest(726, 770) * 0.9 + 200 + noise, 0, 4095).astype(np.uint16)


@pytest.mark.parametrize("name", ["RG1_J2KR", "RG1_J2KI"])
def test_a_real_radiograph_is_nearly_the_same(name: str) -> None:
    exact, fast = both(public_sample(f"{name}.dcm"))
    assert fast.half_resolution and not exact.half_resolution
    assert fast.pixels.shape == exact.pixels.shape and fast.pixels.dtype == np.uint8
    assert (fast.rows, fast.columns, fast.coding) == (exact.rows, exact.columns, exact.coding)
    difference = differences(exact, fast)
    assert difference.mean() <= MOST_MEAN_LEVELS and difference.max() <= MOST_LEVELS


def test_a_real_radiograph_in_htj2k_is_nearly_the_same() -> None:
    dataset = pydicom.dcmread(public_sample("RG1_UNCR.dcm"))
    exact, fast = both(recoded(dataset, "201", imagecodecs.htj2k_encode(decode_stored_values(dataset))))
    assert fast.half_resolution and fast.coding == "HTJ2K"
    difference = differences(exact, fast)
    assert difference.mean() <= MOST_MEAN_LEVELS and difference.max() <= MOST_LEVELS


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("90", "00000100_000"),
        ("201", "00000003_005"),
        pytest.param("90", "00000003_005", marks=pytest.mark.slow),
        pytest.param("201", "00000100_000", marks=pytest.mark.slow),
    ],
)
def test_pictures_as_large_as_a_detectors_are_nearly_the_same(name: str, syntax: str) -> None:
    """Anatomy within the limits everywhere; letters and the edge of the film only in the mean."""
    png = cv2.imread(str(shared(f"data/nih_png/{name}.png")), cv2.IMREAD_GRAYSCALE)
    assert png is not None
    levels = cv2.resize(png, (2048, 2500), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 12, levels.shape)
    pixels = np.clip(levels / 255 * 4095 + noise, 0, 4095).astype(np.uint16)
    dataset = wavelet(pixels) if syntax == "90" else recoded(
        chest_radiograph(pixels), "201", imagecodecs.htj2k_encode(pixels)
    )  # fmt: skip
    exact, fast = both(dataset)
    assert fast.half_resolution
    difference = differences(exact, fast)
    assert difference.mean() <= MOST_MEAN_LEVELS
    assert difference[34:190, 34:190].max() <= MOST_LEVELS
    assert (difference > MOST_LEVELS).mean() < 0.001


def test_every_other_fixture_and_real_file_is_decoded_whole() -> None:
    folders = ("data/examples/inputs", "data/examples/transfer_syntaxes", "data/dicom")
    paths = [path for folder in folders for path in sorted(shared(folder).glob("*.dcm"))]
    halved = []
    for path in paths:
        try:
            exact, fast = both(path)
        except UndecodableError as error:
            assert error.reason_code is ReasonCode.UNSUPPORTED_PIXELS and path.stem == "cr_highbit15"
            continue
        difference = differences(exact, fast)
        assert difference.mean() <= MOST_MEAN_LEVELS and difference.max() <= MOST_LEVELS, path.name
        if fast.half_resolution:
            halved.append(path.stem)
        else:
            np.testing.assert_array_equal(fast.pixels, exact.pixels)
    assert halved == ["nema_wg04_rg1_cr_chest_pa_j2k_lossy_mono1_15bit"]


def test_no_shift_and_no_brightness_is_added(large: np.ndarray) -> None:
    """Away from edges the enlarged picture lies where the whole one does."""
    ramp = np.add.outer(np.arange(726), np.arange(770)).astype(np.uint16)
    exact, fast = both(wavelet(ramp))
    assert fast.half_resolution
    assert np.abs(exact.pixels[:-2, :-2].astype(int) - fast.pixels[:-2, :-2]).max() <= 1
    exact, fast = both(wavelet(large))
    assert abs(exact.pixels.mean() - fast.pixels.mean()) < 0.05  # the 5/3 wavelet rounds samples down


@pytest.mark.parametrize(
    "keywords",
    [
        {"PixelPaddingValue": 0},
        {"WindowCenter": None, "WindowWidth": None},
        {"PixelRepresentation": 1},
        {"BitsStored": 16, "HighBit": 15},
    ],
)
def test_where_smoothing_before_the_grey_scale_matters_all_is_decoded(
    keywords: dict[str, Any], large: np.ndarray
) -> None:
    exact, fast = both(wavelet(large, **keywords))
    assert not fast.half_resolution
    np.testing.assert_array_equal(fast.pixels, exact.pixels)


def test_a_table_that_goes_up_and_down_is_applied_to_all_samples(large: np.ndarray) -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = np.abs(np.arange(-2048, 2048) * 2).clip(0, 4095).astype("<u2").tobytes()
    exact, fast = both(wavelet(large, VOILUTSequence=[item]))
    assert not fast.half_resolution
    np.testing.assert_array_equal(fast.pixels, exact.pixels)


def test_small_pictures_and_streams_of_one_resolution_are_decoded_whole(large: np.ndarray) -> None:
    assert not read_radiograph(wavelet(large[: half_resolution.SHORTEST_SIDE_PX - 1]), Decoding.FAST).half_resolution
    frame = imagecodecs.jpeg2k_encode(large, level=0, codecformat="j2k", bitspersample=12, resolutions=1)
    dataset = recoded(chest_radiograph(large), "90", frame)
    assert not read_radiograph(dataset, Decoding.FAST).half_resolution


@pytest.mark.parametrize("label", ["50", "70", "80", "90"])
def test_other_codings_under_any_label_are_decoded_whole(label: str, large: np.ndarray) -> None:
    dataset = recoded(chest_radiograph(large), label, imagecodecs.jpegls_encode(large))
    fast = read_radiograph(dataset, Decoding.FAST)
    assert (fast.half_resolution, fast.coding) == (False, "JPEG-LS")


@pytest.mark.parametrize("encode", [imagecodecs.htj2k_encode, imagecodecs.jpeg2k_encode])
def test_a_picture_of_more_bits_than_it_says_is_refused_either_way(encode: Any, large: np.ndarray) -> None:
    options = {"level": 0, "codecformat": "j2k", "bitspersample": 12} if encode is imagecodecs.jpeg2k_encode else {}
    dataset = recoded(chest_radiograph(large, BitsStored=10, HighBit=9), "90", encode(large, **options))
    for decoding in Decoding:
        with pytest.raises(UndecodableError) as caught:
            read_radiograph(dataset, decoding)
        assert caught.value.reason_code is ReasonCode.UNSUPPORTED_PIXELS


def test_letters_above_the_stored_bits_leave_no_trace_either_way(large: np.ndarray) -> None:
    lettered = large.copy()
    lettered[100:300, 100:900:3] |= 0x1000
    frame = imagecodecs.jpeg2k_encode(lettered, level=0, reversible=True, codecformat="j2k", bitspersample=13)
    exact, fast = both(recoded(chest_radiograph(large), "90", frame))
    np.testing.assert_array_equal(exact.pixels, read_radiograph(chest_radiograph(large)).pixels)
    np.testing.assert_array_equal(fast.pixels, exact.pixels)


def test_what_is_cut_short_is_refused_either_way(large: np.ndarray) -> None:
    dataset = wavelet(large)
    stream = single_frame(dataset.PixelData)
    dataset.PixelData = encapsulate([stream[: len(stream) // 2]])
    for decoding in Decoding:
        with pytest.raises(UndecodableError) as caught:
            read_radiograph(dataset, decoding)
        assert caught.value.reason_code is ReasonCode.UNDECODABLE


def test_a_picture_of_half_the_samples_has_another_identity(large: np.ndarray) -> None:
    """Results name what was analysed: with the other decoding it is another picture."""
    exact, fast = both(wavelet(large))
    assert exact.pixel_sha256 != fast.pixel_sha256
    assert read_radiograph(wavelet(large), Decoding.FAST).pixel_sha256 == fast.pixel_sha256


def test_undershoot_beside_a_bright_edge_stays_dark() -> None:
    """The codec writes negative samples as if they had no sign; shown so they would be white."""
    pixels = np.full((1800, 1800), 2, np.uint16)
    pixels[:, 901:] = 4000
    for dataset in (wavelet(pixels), recoded(chest_radiograph(pixels), "201", imagecodecs.htj2k_encode(pixels))):
        exact, fast = both(dataset)
        assert fast.half_resolution
        assert fast.pixels[:, :890].max() <= exact.pixels[:, :890].max() + 1
        assert fast.pixels[:, :900].max() < 128


@pytest.mark.slow
def test_a_picture_as_large_as_any_is_read_without_a_warning() -> None:
    pixels = np.zeros((9_500, 10_000), np.uint16)
    pixels[4000:5000] = 3000
    fast = read_radiograph(wavelet(pixels), Decoding.FAST)
    assert fast.half_resolution and fast.pixels[4500, 5000] > fast.pixels[0, 0]
