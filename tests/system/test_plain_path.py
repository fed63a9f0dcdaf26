"""Fast is no other truth: what the worker says of a file is what the plain way says, step by step in floating point.

The plain way is pydicom's ``pixel_array`` with whatever decoder it finds, pydicom's modality and VOI functions over the
whole frame in float64, torchvision's resize of a picture of 8 bits, and an eager torch network. A second plain way
rounds nowhere, not even to the 8 bits that the network was trained on: from it the worker's input may differ by what
its roundings are worth, and no more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
from factories import write_dicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from samples import SHARED, shared
from torchvision.transforms import InterpolationMode, functional

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.grey_scale import GreyScale
from dicom_io.pixels.radiograph import read_radiograph
from model.bundle import Bundle, load_bundle, read_weights
from model.classifier import Classifier
from model.densenet import network_with
from model.preprocess import GREY_MEAN, GREY_STD, INPUT_SIZE_PX, normalise, to_uint8_224
from training.data.pictures import read_grey

BUNDLE = Path(__file__).resolve().parents[2] / "model" / "bundles" / "nih-starter-densenet121"
PUBLIC_PICTURES = 200
MOST_LEVELS, MOST_MEAN_LEVELS = 1.25, 0.35
"""Of 255, of the network's input against the unrounded way: half a level for each of three roundings at most (window,
columns, rows), which average out over the pixels under the filter."""
ONE_LEVEL = 1
"""Of 255, of the network's input against the plain way: a value between two levels may go to either."""
MOST_RUNTIME_P = 1e-4
"""OpenVINO and torch on the very same tensor (performance.md)."""
MOST_P = 0.03
"""What a level's difference at some pixels may change in a probability."""
FILES = sorted(path.name for path in (SHARED / "data" / "dicom").glob("*.dcm"))
Judge = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(BUNDLE)


@pytest.fixture(scope="module")
def fast(bundle: Bundle) -> Judge:
    """Probabilities of the trained findings on OpenVINO, of a uint8 picture."""
    classifier = Classifier.load(bundle, "openvino")
    return lambda pixels: np.array([p for p in classifier.classify(pixels).probabilities if p is not None])


@pytest.fixture(scope="module")
def plain(bundle: Bundle) -> Judge:
    """Probabilities of the trained findings on torch, of float32 [1, 1, 224, 224]."""
    import torch

    torch.set_num_threads(1)  # two of them wait for each other where others compute as well
    network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture, bundle.preparation)

    def judge(tensor: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = network(torch.from_numpy(tensor))[0].numpy()[0]
        return np.asarray(bundle.calibration.probabilities(logits))[np.array(bundle.trained)]

    return judge


def plain_levels(dataset: pydicom.Dataset, grey_scale: GreyScale | None) -> np.ndarray:
    """Return float64 [rows, columns] in 0..255, bones bright; raises RuntimeError where no plugin decodes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
        if grey_scale is not None and grey_scale.voi.startswith("percentiles"):  # no window: the worker chooses one
            low, high = np.percentile(values, (0.5, 99.5))
            levels = (values - low) / (high - low) * 255
        else:
            levels = apply_voi_lut(values, dataset) if "WindowCenter" in dataset else values
            levels = levels / (2 ** int(dataset.BitsStored) - 1) * 255
    levels = np.clip(levels, 0, 255)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def plain_input(levels: np.ndarray) -> np.ndarray:
    """Return uint8 [224, 224] as torchvision makes it of a picture, the way published training scripts do."""
    picture = Image.fromarray(np.rint(levels).astype(np.uint8))
    return np.array(functional.resize(picture, [INPUT_SIZE_PX, INPUT_SIZE_PX], InterpolationMode.BILINEAR))


def unrounded_input(levels: np.ndarray) -> np.ndarray:
    """Return levels [224, 224], float32."""
    picture = Image.fromarray(levels.astype(np.float32))
    return np.array(picture.resize((INPUT_SIZE_PX, INPUT_SIZE_PX), Image.Resampling.BILINEAR))


def tensor_of(levels: np.ndarray) -> np.ndarray:
    return ((levels / 255.0 - GREY_MEAN) / GREY_STD).astype(np.float32)[None, None]


def public_files(folder: Path) -> Iterator[Path]:
    """Write the first pictures of the public set as DICOM files, each in the transfer syntax whose turn it is."""
    syntaxes = (None, pydicom.uid.RLELossless, pydicom.uid.JPEGLSLossless, pydicom.uid.JPEG2000Lossless)
    pictures = sorted(shared("data/nih256/images").glob("*.jpg"))[:PUBLIC_PICTURES]
    assert len(pictures) == PUBLIC_PICTURES
    for number, picture in enumerate(pictures):
        dataset = radiograph_from_pixels(
            read_grey(picture), study_datetime=datetime(2026, 3, 2), patient_id="", patient_name=""
        )
        if (syntax := syntaxes[number % len(syntaxes)]) is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        yield write_dicom(dataset, folder / f"{number}.dcm")


class Difference(NamedTuple):
    """Between the worker's way and a plain one; levels of 255, of the network's input."""

    levels: float
    p: float
    unrounded_levels: float
    unrounded_mean_levels: float
    unrounded_p: float


def compare(path: Path, fast: Judge, plain: Judge, decoding: Decoding) -> Difference:
    """Return the largest differences of one file's input and probabilities."""
    ours = read_radiograph(read_dicom_file(path), decoding)
    levels = plain_levels(pydicom.dcmread(path), ours.grey_scale)
    there, unrounded = plain_input(levels), unrounded_input(levels)
    here, said = to_uint8_224(ours.pixels), fast(ours.pixels)
    assert np.abs(said - plain(normalise(here[None]))).max() <= MOST_RUNTIME_P, path.name
    off = np.abs(here - unrounded)
    return Difference(
        levels=float(np.abs(here.astype(int) - there).max()),
        p=float(np.abs(said - plain(tensor_of(there))).max()),
        unrounded_levels=float(off.max()),
        unrounded_mean_levels=float(off.mean()),
        unrounded_p=float(np.abs(said - plain(tensor_of(unrounded))).max()),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("decoding", list(Decoding))
def test_every_shared_file_is_judged_as_the_plain_way_judges_it(
    fast: Judge, plain: Judge, decoding: Decoding, capsys: pytest.CaptureFixture[str]
) -> None:
    assert FILES or not SHARED.is_dir()
    undecoded, found = [], {}
    for name in FILES:
        path = shared(f"data/dicom/{name}")
        try:
            found[name] = compare(path, fast, plain, decoding)
        except RuntimeError:  # of pydicom: none of its plugins decodes it
            undecoded.append(name)
    with capsys.disabled():
        print(f"\n{decoding}: {len(found)} files, {largest(found.values())}")
    assert undecoded == [name for name in FILES if name == "nema_wg04_RG3_JPLY.dcm"], "12 bit JPEG has only our decoder"
    assert {name: difference for name, difference in found.items() if difference.p > MOST_P} == {}
    assert {name: difference for name, difference in found.items() if difference.levels > ONE_LEVEL} == {}
    assert {name: difference for name, difference in found.items() if not within_roundings(difference)} == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_public_pictures_are_judged_as_the_plain_way_judges_them(
    fast: Judge, plain: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [compare(path, fast, plain, Decoding.EXACT) for path in public_files(tmp_path)]
    with capsys.disabled():
        print(f"\n{len(found)} public pictures, {largest(found)}")
    assert all(difference.levels == 0 for difference in found), "8 bits without a window: nothing to round but once"
    assert max(difference.p for difference in found) <= MOST_RUNTIME_P
    assert all(within_roundings(difference) for difference in found)


def within_roundings(difference: Difference) -> bool:
    return difference.unrounded_levels <= MOST_LEVELS and difference.unrounded_mean_levels <= MOST_MEAN_LEVELS


def largest(found: Collection[Difference]) -> str:
    figures = np.array(list(found))
    return "; ".join(
        f"{name} max {of.max():.5f} median {np.median(of):.5f}"
        for name, of in zip(Difference._fields, figures.T, strict=True)
    )
