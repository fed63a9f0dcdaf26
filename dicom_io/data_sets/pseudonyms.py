"""Copies of instances for research: what the picture needs and nothing that says who it is (PS3.15 annex E).

The other way round than most: an allow list names what is kept, so that a private tag or a text nobody thought of
cannot slip through. Identifiers become keyed hashes: the same key gives the same pseudonym in every export, so that a
patient stays one patient, and without the key nobody can compute which one. Pixels are unchanged; text burned into them
stays (the Clean Pixel Data Option is not done).
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_io.data_sets.header import text

SHORTEST_KEY_BYTES = 16
OLDEST_AGE_YEARS = 90
"""Ages above are rare enough to tell who it is; they are given as this one."""
METHOD = "Allow list of attributes, keyed pseudonyms, pixels unchanged"

_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
KEPT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            # SOP Common (PS3.3 C.12.1), General Series and Image, DX Anatomy and Positioning: its kind
            "SOPClassUID",
            "Modality",
            "ImageType",
            "ConversionType",
            "PresentationIntentType",
            "BodyPartExamined",
            "ViewPosition",
            "PatientOrientation",
            "BurnedInAnnotation",
            "PatientSex",
            # Image Pixel (C.7.6.3) and spacing
            "SamplesPerPixel",
            "PhotometricInterpretation",
            "PlanarConfiguration",
            "NumberOfFrames",
            "Rows",
            "Columns",
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
            "PixelPaddingValue",
            "PixelPaddingRangeLimit",
            "ImagerPixelSpacing",
            "PixelSpacing",
            "LossyImageCompression",
            "PixelData",
            "ExtendedOffsetTable",
            "ExtendedOffsetTableLengths",
            # palettes (C.7.9)
            *(
                f"{segmented}{colour}PaletteColorLookupTable{part}"
                for colour in ("Red", "Green", "Blue")
                for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
            ),
            # grey scale: C.11.1, C.11.2, C.11.6
            "RescaleIntercept",
            "RescaleSlope",
            "RescaleType",
            "WindowCenter",
            "WindowWidth",
            "VOILUTFunction",
            "PresentationLUTShape",
        ),
        (),
    ),
    "ModalityLUTSequence": ("LUTDescriptor", "LUTData", "ModalityLUTType"),
    "VOILUTSequence": ("LUTDescriptor", "LUTData"),
    "AnatomicRegionSequence": _CODE,
    "ViewCodeSequence": _CODE,
}
"""Keywords that a copy keeps; for sequences what each item keeps."""


class Pseudonyms:
    """Stand-ins for identifiers.

    Parameters
    ----------
    key
        Secret bytes, at least 16; whoever has them can tell which pseudonym is whose.

    Raises
    ------
    ValueError
        The key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes; at least {SHORTEST_KEY_BYTES} are needed")
        self._key = key

    def patient(self, patient_id: str, issuer: str) -> str:
        """Return 16 hexadecimal digits for a Patient ID and its issuer; empty for an empty ID."""
        return self._digest("patient", issuer, patient_id).hex()[:16] if patient_id else ""

    def uid(self, original: str) -> str:
        """Return a UID of the form 2.25.<number of a UUID> (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=5).int}"

    def _digest(self, *words: str) -> bytes:
        return hmac.new(self._key, "\0".join(words).encode(), hashlib.sha256).digest()


def pseudonymised(dataset: Dataset, pseudonyms: Pseudonyms, age_years: int | None) -> Dataset:
    """Return a copy of an instance with its file meta that holds what ``KEPT`` names, pseudonyms and nothing else.

    Parameters
    ----------
    dataset
        As read, with pixel data and file meta.
    age_years
        At the time of the study; None where unknown.
    """
    copy = Dataset()
    for keyword, of_item in KEPT.items():
        if keyword in dataset:
            element = dataset[keyword]
            if of_item:
                setattr(copy, keyword, Sequence([_item(item, of_item) for item in element.value or []]))
            else:
                copy.add(element)
    copy.PatientName = ""
    copy.PatientID = pseudonyms.patient(text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))
    if age_years is not None:
        copy.PatientAge = f"{min(age_years, OLDEST_AGE_YEARS):03d}Y"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(copy, keyword, pseudonyms.uid(text(dataset, keyword)))
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = METHOD
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = UID(text(dataset, "SOPClassUID"))
    copy.file_meta.MediaStorageSOPInstanceUID = UID(copy.SOPInstanceUID)
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return copy


def _item(item: Dataset, keywords: tuple[str, ...]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        if keyword in item:
            kept.add(item[keyword])
    return kept
