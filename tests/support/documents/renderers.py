"""dcmtk's own rendering of a DICOM file, to compare ours with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels import apply_modality_lut

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.pixels.radiograph import Radiograph
from dicom_io.pixels.voi import FALLBACK_PERCENTILES

_FAMILY = "1.2.840.10008.1.2.4."
_JPEG = tuple(_FAMILY + syntax for syntax in ("50", "51", "57", "70"))
_JPEG_LS = tuple(_FAMILY + syntax for syntax in ("80", "81"))
TOOLS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")


def installed() -> bool:
    """Say whether dcmtk is on this machine."""
    return all(shutil.which(tool) for tool in TOOLS)


def rendered(path: Path, radiograph: Radiograph, folder: Path) -> tuple[str, NDArray[np.uint8]]:
    """Return the tool and its grey levels, uint8 [rows, columns], with the VOI that ours were made with.

    Overlays are left out, as ours are. JPEG 2000, which no tool of dcmtk reads, is unpacked by GDCM first.
    """
    dataset = read_dicom_file(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    tool = "dcmj2pnm" if syntax in _JPEG else "dcml2pnm" if syntax in _JPEG_LS else "dcm2pnm"
    source = path
    if tool == "dcm2pnm" and syntax.startswith(_FAMILY):
        source = uncompressed_twin(path, folder)
    target = folder / "rendered.pnm"
    command = [tool, "-O", *_voi_options(dataset, radiograph), str(source), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(target) as picture:
        return tool, np.asarray(picture.convert("L"))


def uncompressed_twin(path: Path, folder: Path) -> Path:
    """Write an uncompressed copy that GDCM has decoded, which the worker never uses."""
    dataset = pydicom.dcmread(path)
    dataset.decompress(decoding_plugin="gdcm", generate_instance_uid=False)
    dataset.save_as(folder / "twin.dcm", enforce_file_format=True)
    return folder / "twin.dcm"


def _voi_options(dataset: pydicom.Dataset, radiograph: Radiograph) -> list[str]:
    scale = radiograph.grey_scale
    if scale is None or scale.voi.startswith("all"):
        return []
    if scale.voi.startswith("LUT"):
        return ["+Wl", "1"]
    if scale.voi.startswith("window"):
        return ["+Wi", "1"]
    low, high = np.percentile(apply_modality_lut(dataset.pixel_array, dataset), FALLBACK_PERCENTILES)
    return ["+Ww", str((low + high) / 2 + 0.5), str(high - low + 1)]  # PS3.3 C.11.2.1.2: low is c - 0.5 - (w - 1) / 2
