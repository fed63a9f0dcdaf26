"""Test and demonstration inputs: fresh identities for existing files, and radiographs made from pictures."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from dicom_io.foundation.concepts import Code
from dicom_io.foundation.content_items import code_item
from dicom_io.foundation.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_UTF_8 = "ISO_IR 192"
_DATED = ("Study", "Series", "Acquisition", "Content")
_VIEW_CODES = {
    "PA": Code("272479007", "SCT", "postero-anterior"),
    "AP": Code("399348003", "SCT", "antero-posterior"),
}
_CHEST = Code("816094009", "SCT", "Chest")

SYNTHETIC_COMMENT = "Synthetic chest phantom: a drawing, not a patient. NOT FOR DIAGNOSTIC USE."


def fresh_uid() -> str:
    """Return a UID nobody has used: ``2.25.`` and a random UUID (PS3.5 B.2)."""
    return str(generate_uid(prefix=None))


def stamp_copy(
    path: Path,
    out_path: Path,
    *,
    fresh_uids: bool = True,
    study_datetime: datetime | None = None,
    study_instance_uid: str | None = None,
    patient_id: str | None = None,
    patient_name: str | None = None,
    accession_number: str | None = None,
    study_description: str | None = None,
) -> Dataset:
    """Write a copy of a DICOM file under another identity; the pixel data and the transfer syntax stay as they are.

    Parameters
    ----------
    path, out_path
        File to read and file to write.
    fresh_uids
        Draw new Study, Series and SOP Instance UIDs. References to other objects are left alone.
    study_datetime
        Becomes the study, series, acquisition and content date and time; None keeps the file's own.
    study_instance_uid
        Study to put the copy into, for a study of several images; wins over `fresh_uids`.
    patient_id, patient_name, accession_number, study_description
        Replaced where given; ``""`` writes an empty value.

    Returns
    -------
    Dataset
        What was written.

    Raises
    ------
    OSError
        A file cannot be read or written.
    pydicom.errors.InvalidDicomError
        `path` is not a DICOM Part 10 file.
    """
    dataset = dcmread(path)
    replaced = {
        "PatientID": patient_id,
        "PatientName": patient_name,
        "AccessionNumber": accession_number,
        "StudyDescription": study_description,
        "StudyInstanceUID": study_instance_uid,
    }
    if fresh_uids:
        dataset.SeriesInstanceUID = fresh_uid()
        dataset.SOPInstanceUID = fresh_uid()
        dataset.StudyInstanceUID = fresh_uid()
    _replace_texts(dataset, {keyword: value for keyword, value in replaced.items() if value is not None})
    if study_datetime is not None:
        _set_dates(dataset, study_datetime)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    dataset.save_as(out_path, enforce_file_format=True)
    return dataset


def _replace_texts(dataset: Dataset, texts: dict[str, str]) -> None:
    if not all(text.isascii() for text in texts.values()):
        dataset.decode()  # every text, before the character set changes under it
        dataset.SpecificCharacterSet = _UTF_8
    for keyword, text in texts.items():
        setattr(dataset, keyword, text)


def _set_dates(dataset: Dataset, moment: datetime) -> None:
    for prefix in _DATED:
        setattr(dataset, f"{prefix}Date", f"{moment:%Y%m%d}")
        setattr(dataset, f"{prefix}Time", f"{moment:%H%M%S}")
    if "AcquisitionDateTime" in dataset:
        dataset.AcquisitionDateTime = f"{moment:%Y%m%d%H%M%S}"


def radiograph_from_pixels(
    pixels: NDArray[np.uint8],
    *,
    study_datetime: datetime,
    patient_id: str,
    patient_name: str,
    view: Literal["PA", "AP"] = "PA",
    patient_sex: str = "O",
    patient_age_years: int = 56,
    accession_number: str = "",
    study_description: str = "XR CHEST 1 VIEW",
    comment: str = SYNTHETIC_COMMENT,
    study_instance_uid: str | None = None,
    instance_number: int = 1,
) -> Dataset:
    """Return a Digital X-Ray Image (For Presentation) of a grey picture, as a digital modality would send it.

    Parameters
    ----------
    pixels
        uint8 [H, W], bones bright; becomes the pixel data unchanged (MONOCHROME2, identity window).
    study_datetime
        Date and time of study, series, acquisition and content, in local time.
    view
        Becomes View Position and View Code Sequence.
    patient_age_years
        0..999; also places the birth date on 1 January of that many years ago.
    comment
        Written to Image Comments, and says that nobody was X-rayed.
    study_instance_uid
        Study the image joins; None draws a new one.

    Returns
    -------
    Dataset
        Complete with file meta information (Explicit VR Little Endian); ``save_as(path, enforce_file_format=True)``.

    Raises
    ------
    ValueError
        `pixels` is not a two-dimensional uint8 array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"pixels must be uint8 [H, W], are {pixels.dtype} with shape {pixels.shape}")
    dataset = _new_radiograph(study_instance_uid or fresh_uid())
    _set_dates(dataset, study_datetime)
    dataset.PatientName = patient_name
    dataset.PatientID = patient_id
    dataset.PatientSex = patient_sex
    _set_age(dataset, study_datetime.year, patient_age_years)
    dataset.AccessionNumber = accession_number
    dataset.StudyDescription = study_description
    dataset.InstanceNumber = instance_number
    dataset.ImageComments = comment
    _add_chest_projection(dataset, view)
    _add_pixels(dataset, pixels)
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _new_radiograph(study_instance_uid: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = _UTF_8
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = fresh_uid()
    dataset.StudyInstanceUID = study_instance_uid
    dataset.SeriesInstanceUID = fresh_uid()
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = ""
    return dataset


def _set_age(dataset: Dataset, year: int, age_years: int) -> None:
    dataset.PatientAge = f"{age_years:03d}Y"
    dataset.PatientBirthDate = f"{year - age_years:04d}0101"


def _add_chest_projection(dataset: Dataset, view: Literal["PA", "AP"]) -> None:
    """Add the DX series, positioning, anatomy and detector modules (PS3.3 A.26)."""
    dataset.Modality = "DX"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = f"CHEST {view}"
    dataset.Manufacturer = "Chest phantom"
    dataset.ManufacturerModelName = "Drawing"
    dataset.BodyPartExamined = "CHEST"
    dataset.AnatomicRegionSequence = [code_item(_CHEST)]
    dataset.ViewPosition = view
    view_item = code_item(_VIEW_CODES[view])
    view_item.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view_item]
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageLaterality = "U"
    dataset.PositionerType = "NONE"
    dataset.DetectorType = "DIRECT"
    dataset.ImagerPixelSpacing = [0.4, 0.4]
    dataset.AcquisitionContextSequence = []


def _add_pixels(dataset: Dataset, pixels: NDArray[np.uint8]) -> None:
    """Add the picture with a window that changes nothing: 128/256 LINEAR maps 0..255 onto itself (PS3.3 C.11.2)."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter = 128
    dataset.WindowWidth = 256
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    dataset["PixelData"].VR = "OB"


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
