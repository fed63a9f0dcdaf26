"""A finished object as the bytes of a file."""

from __future__ import annotations

from io import BytesIO

from pydicom import DataElement, Dataset, dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_io.item_encoding import encode_sequence
from dicom_io.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def write_result(dataset: Dataset) -> bytes:
    """Return `dataset` as a DICOM Part 10 file, Explicit VR Little Endian (PS3.10 chapter 7).

    The file meta information is written anew from the product's identity, so equal data sets give equal bytes.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    # without the file meta and preamble of whoever built it
    plain = Dataset({tag: _encoded(dataset[tag]) for tag in dataset.keys()})  # noqa: SIM118  # items() gives raw ones
    plain.file_meta = meta
    # what is encoded already is written as it is only where pydicom has no other encoding in mind
    declared = plain.get("SpecificCharacterSet")
    plain.set_original_encoding(False, True, convert_encodings(declared) if declared else default_encoding)
    buffer = BytesIO()
    dcmwrite(buffer, plain, enforce_file_format=True)
    return buffer.getvalue()


def _encoded(element: DataElement) -> DataElement | RawDataElement:
    return (encode_sequence(element) or element) if element.VR == "SQ" else element
