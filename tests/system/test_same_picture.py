"""One picture, as a PNG for training and as DICOM from the PACS, must be one tensor."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from PIL import Image
from samples import public_sample, shared

from dicom_io.data_sets.stamp import radiograph_from_pixels
from dicom_io.pixels.encapsulation import single_frame
from dicom_io.pixels.radiograph import read_radiograph
from model.preprocess import normalise, to_uint8_224
from training.data.pictures import read_grey
from training.phantoms.dataset import write_phantom_dataset


def training_tensor(png: Path) -> np.ndarray:
    return normalise(to_uint8_224(read_grey(png))[None])


def served_tensor(source: Path | pydicom.Dataset) -> np.ndarray:
    return normalise(to_uint8_224(read_radiograph(source).pixels)[None])


def assert_one_tensor(png: Path, source: Path | pydicom.Dataset) -> None:
    trained, served = training_tensor(png), served_tensor(source)
    assert served.shape == (1, 1, 224, 224) and served.dtype == np.float32
    np.testing.assert_array_equal(served, trained)


def test_the_rsna_radiograph_is_the_tensor_of_its_picture_file(tmp_path: Path) -> None:
    """A ChestX-ray14 picture that the RSNA wrapped into DICOM: JPEG of 8 bits, no window."""
    path = shared("data/dicom/rsna_nih_cr_chest_pa_jpegbaseline_mono2_8bit.dcm")
    with Image.open(BytesIO(single_frame(pydicom.dcmread(path).PixelData))) as picture:  # Pillow decodes on its own
        picture.save(tmp_path / "picture.png")
    assert_one_tensor(tmp_path / "picture.png", path)


@pytest.mark.parametrize("name", ["00000100_000.png", "00000003_005.png", "00001524_000.png"])  # RGBA and grey
def test_nih_originals_wrapped_into_dicom_are_their_own_tensors(name: str, tmp_path: Path) -> None:
    png = shared(f"data/nih_png/{name}")
    phantom = radiograph_from_pixels(
        read_grey(png), study_datetime=datetime(2026, 3, 2), patient_id="", patient_name=""
    )
    assert_one_tensor(png, phantom)
    del phantom.WindowCenter, phantom.WindowWidth
    assert_one_tensor(png, phantom)
    phantom.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # a digitiser's: colour, no window
    phantom.SamplesPerPixel, phantom.PhotometricInterpretation, phantom.PlanarConfiguration = 3, "RGB", 1
    phantom.PixelData = np.stack([read_grey(png)] * 3).tobytes()
    assert_one_tensor(png, phantom)


def test_a_12_bit_monochrome1_phantom_is_the_tensor_of_its_exported_picture(tmp_path: Path) -> None:
    """What a viewer exports of a radiograph (window, polarity, 8 bits) is what training would read of it."""
    values = drawn_chest(500, 410)
    dataset = chest_radiograph(
        4095 - values, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=None, WindowCenter="2048",
        WindowWidth="4096",
    )  # fmt: skip
    exported = np.rint(values / 4095 * 255).astype(
        np.uint8
    )  # the LINEAR window 2048/4096 is x / 4095 (PS3.3 C.11.2.1.2)
    Image.fromarray(exported).save(tmp_path / "picture.png")
    assert_one_tensor(tmp_path / "picture.png", write_dicom(dataset, tmp_path / "picture.dcm"))


@pytest.fixture(scope="module")
def phantom_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_dataset(folder, images=8, seed=5, workers=1)
    return min((folder / "images").glob("*.png"))


LOSSLESS = {
    "1.2.840.10008.1.2.4.70": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=8),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=0, reversible=True, codecformat="j2k"
    ),
    "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_encode,
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("syntax", [None, *LOSSLESS])
def test_a_phantom_of_the_training_set_is_one_tensor_in_every_coding(
    syntax: str | None, inverted: bool, phantom_png: Path, tmp_path: Path
) -> None:
    pixels = read_grey(phantom_png)
    phantom = radiograph_from_pixels(
        255 - pixels if inverted else pixels, study_datetime=datetime(2026, 3, 2), patient_id="", patient_name=""
    )
    if inverted:
        phantom.PhotometricInterpretation, phantom.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    if syntax is not None:
        phantom.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        phantom.PixelData = pydicom.encaps.encapsulate([LOSSLESS[syntax](255 - pixels if inverted else pixels)])
        phantom["PixelData"].is_undefined_length = True
    assert_one_tensor(phantom_png, write_dicom(phantom, tmp_path / "phantom.dcm"))


def test_training_reads_dicom_by_the_very_function_of_the_worker() -> None:
    sample = public_sample("RG3_J2KI.dcm")
    np.testing.assert_array_equal(normalise(to_uint8_224(read_grey(sample))[None]), served_tensor(sample))
