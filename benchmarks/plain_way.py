"""From a stored file to a result as most scripts do it."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import generate_uid
from torch.nn import functional

from benchmarks.our_way import FINDING
from model.bundle import load_bundle, read_weights
from model.densenet import network_with
from model.preprocess import INPUT_SIZE_PX, normalise
from worker.settings.config import STARTER_BUNDLE


def plain_levels(dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    """Return uint8 [rows, columns] as most scripts make it: float64 over the whole frame."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float64)
    levels = values / (2 ** int(dataset.BitsStored) - 1) * 255
    levels = 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels
    return np.clip(levels, 0, 255).round().astype(np.uint8)


def plain_pixels(path: Path) -> NDArray[np.uint8]:
    """File to the network's input, uint8 [224, 224], the plain way."""
    picture = Image.fromarray(plain_levels(pydicom.dcmread(path)))
    return np.array(picture.resize((INPUT_SIZE_PX, INPUT_SIZE_PX), Image.Resampling.BILINEAR))


class PlainWay:
    """pydicom, Pillow, torch eager with Grad-CAM, highdicom's Secondary Capture; one thread, as the worker has."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        bundle = load_bundle(STARTER_BUNDLE)
        self.network = network_with(read_weights(bundle), bundle.input_channels, bundle.architecture)

    def analyse(self, path: Path) -> int:
        """Return the bytes of the picture."""
        return len(self.picture_of(pydicom.dcmread(path)))

    def picture_of(self, dataset: pydicom.Dataset) -> bytes:
        """Return the picture of one radiograph with its pixel data, as a DICOM file."""
        levels = plain_levels(dataset)
        picture = Image.fromarray(levels)
        small = np.array(picture.resize((INPUT_SIZE_PX, INPUT_SIZE_PX), Image.Resampling.BILINEAR))
        heat = self._grad_cam(normalise(small[None]))
        size = (1024 * levels.shape[1] // levels.shape[0], 1024)
        grey = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), np.float64)
        heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR), np.float64)
        overlay = np.stack([grey * (1 - heat / 2) + 127 * heat, grey * (1 - heat / 2), grey * (1 - heat / 2)], axis=-1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._capture(dataset, overlay.clip(0, 255).astype(np.uint8))

    def _capture(self, dataset: pydicom.Dataset, overlay: NDArray[np.uint8]) -> bytes:
        capture = highdicom.sc.SCImage.from_ref_dataset(
            ref_dataset=dataset, pixel_array=overlay, photometric_interpretation="RGB",
            bits_allocated=8, coordinate_system="PATIENT", series_instance_uid=generate_uid(), series_number=9002,
            sop_instance_uid=generate_uid(), instance_number=1, manufacturer="plain", patient_orientation=("L", "F"),
        )  # fmt: skip
        stream = BytesIO()
        capture.save_as(stream)
        return stream.getvalue()

    def _grad_cam(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 [224, 224], 0..1 (Selvaraju et al., ICCV 2017)."""
        x = torch.from_numpy(tensor).expand(-1, self.network.channels, -1, -1)
        features = functional.relu(self.network.features(x))
        features.retain_grad()
        self.network.classifier(features.mean((2, 3)))[0, FINDING].backward()
        assert features.grad is not None
        weights = features.grad.mean((2, 3), keepdim=True)
        heat = functional.relu((weights * features).sum(1, keepdim=True))
        heat = functional.interpolate(heat, size=(INPUT_SIZE_PX,) * 2, mode="bilinear")[0, 0]
        return (heat / heat.max().clamp(min=1e-8)).detach().numpy()
