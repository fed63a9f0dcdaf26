"""Small synthetic DICOM objects for tests: drawn pixels, made-up identities, no patient."""

from __future__ import annotations

import hashlib
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)


class UnknownKeywordError(Exception):
    """A test asked for an attribute that DICOM does not have."""


def drawn_chest(rows: int = 96, columns: int = 80, bits_stored: int = 12) -> NDArray[np.uint16]:
    """Return drawn stored values [rows, columns], bones bright: two dark lungs beside a bright mediastinum."""
    y, x = np.mgrid[0:rows, 0:columns]
    v, u = y / rows, x / columns
    lungs = sum(((u - centre) / 0.17) ** 2 + ((v - 0.48) / 0.34) ** 2 < 1 for centre in (0.28, 0.72))
    body = 0.75 + 0.2 * np.exp(-(((u - 0.5) / 0.1) ** 2))
    values = np.where(lungs, 0.25 + 0.05 * np.sin(40 * v), body)
    return np.asarray(np.rint(values * (2**bits_stored - 1)), dtype=np.uint16)


def chest_radiograph(pixels: NDArray[np.uint16] | None = None, **keywords: Any) -> Dataset:
    """Return a valid 12-bit frontal DX (or the SOP class asked for) of an adult, with fresh UIDs and today's date.

    Parameters
    ----------
    pixels
        Stored values [rows, columns]; None draws a chest.
    keywords
        DICOM keywords to set; None as value removes the attribute; ``TransferSyntaxUID`` goes to the file meta.

    Raises
    ------
    UnknownKeywordError
        A keyword is not in the DICOM dictionary.
    """
    unknown = sorted(keyword for keyword in keywords if tag_for_keyword(keyword) is None)
    if unknown:
        raise UnknownKeywordError(f"not DICOM keywords: {', '.join(unknown)}")
    pixels = drawn_chest() if pixels is None else pixels
    attributes = _identity() | _acquisition() | _pixel_module(pixels) | keywords
    transfer_syntax_uid = attributes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    dataset = Dataset()
    for keyword, value in attributes.items():
        if value is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tests set invalid values on purpose
                setattr(dataset, keyword, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax_uid)
    if "SOPClassUID" in dataset:
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    if "SOPInstanceUID" in dataset:
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def computed_radiograph(**keywords: Any) -> Dataset:
    """Return the same as a CR image, MONOCHROME1 as most CR is."""
    return chest_radiograph(
        **{
            "SOPClassUID": ComputedRadiographyImageStorage,
            "Modality": "CR",
            "PhotometricInterpretation": "MONOCHROME1",
            "PresentationLUTShape": None,
            "PresentationIntentType": None,
        }
        | keywords
    )


def write_dicom(dataset: Dataset, path: Path) -> Path:
    """Write a DICOM file in the transfer syntax of the data set's file meta and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(
        path,
        dataset,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax.is_little_endian,
    )
    return path


def sha256_of(path: Path) -> str:
    """Return the digest by which rows know a stored file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _identity() -> dict[str, Any]:
    today = f"{date.today():%Y%m%d}"
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": today,
        "StudyTime": "101500",
        "ContentDate": today,
        "ContentTime": "101500",
        "AccessionNumber": "A0001",
        "StudyID": "1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PatientName": "Phantom^Test",
        "PatientID": "PHANTOM-1",
        "PatientBirthDate": "19600101",
        "PatientSex": "O",
        "PatientAge": "060Y",
        "ReferringPhysicianName": "",
        "StudyDescription": "Chest PA",
    }


def _acquisition() -> dict[str, Any]:
    return {
        "Modality": "DX",
        "Manufacturer": "Test factory",
        "ManufacturerModelName": "Drawing board",
        "ImageType": ["ORIGINAL", "PRIMARY", ""],
        "PresentationIntentType": "FOR PRESENTATION",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "BurnedInAnnotation": "NO",
    }


def _pixel_module(pixels: NDArray[np.uint16]) -> dict[str, Any]:
    rows, columns = pixels.shape
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY",
        "LossyImageCompression": "00",
        "WindowCenter": "2048",
        "WindowWidth": "4096",
        "PixelData": pixels.astype("<u2").tobytes(),
    }
