"""One real chest radiograph in every coding a PACS sends."""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate

from dicom_io.pixels.decoding import decode_stored_values

_BITS = 15
_FAMILY = "1.2.840.10008.1.2.4."
_Encoder = Callable[[np.ndarray], bytes]
_ENCODERS: dict[str, tuple[str, _Encoder]] = {
    "HTJ2K": ("201", imagecodecs.htj2k_encode),
    "JPEG Lossless": (  # first-order prediction, all that this transfer syntax allows (PS3.5 8.2.3)
        "70",
        lambda values: imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=_BITS),
    ),
    "JPEG-LS": ("80", imagecodecs.jpegls_encode),
    "JPEG 2000": (
        "90",
        lambda values: imagecodecs.jpeg2k_encode(
            values, level=0, reversible=True, codecformat="j2k", bitspersample=_BITS
        ),
    ),
}


def write_codings(folder: Path) -> dict[str, Path]:
    """Write the files; return them by coding. JPEG has 8 bits, the lossy JPEG 2000 is the public file itself."""
    store = Path(str(importlib.resources.files("data_store"))) / "data"
    source = store / "RG1_UNCR.dcm"
    paths = {name: folder / f"{name.replace(' ', '_')}.dcm" for name in ("LE", "RLE", *_ENCODERS, "JPEG")}
    shutil.copy(source, paths["LE"])
    dataset = pydicom.dcmread(source)
    values = decode_stored_values(dataset)
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.save_as(paths["RLE"])
    for name, (syntax, encode) in _ENCODERS.items():
        _write(source, _FAMILY + syntax, encode(values), paths[name])
    eight = (values >> (_BITS - 8)).astype(np.uint8)
    _write(source, _FAMILY + "50", imagecodecs.jpeg8_encode(eight, level=90), paths["JPEG"], bits=8)
    return paths | {"JPEG 2000 lossy": store / "RG1_J2KI.dcm"}


def _write(source: Path, syntax: str, frame: bytes, target: Path, bits: int = _BITS) -> None:
    dataset = pydicom.dcmread(source)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    if bits == 8:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.WindowCenter, dataset.WindowWidth = (str(15000 / 128), str(30000 / 128))
    dataset.save_as(target)
