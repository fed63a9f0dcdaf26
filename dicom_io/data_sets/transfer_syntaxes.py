"""Transfer syntaxes by UID: how their pixel data are kept, and which the standard knows (PS3.5 A, PS3.6 A)."""

from __future__ import annotations

from pydicom.uid import UID, AllTransferSyntaxes

from dicom_io.data_sets.encoded import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
NATIVE = frozenset(
    {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, "1.2.840.10008.1.2.1.99"}
)
"""Samples stand in Pixel Data as they are; in all others in fragments (PS3.5 8.2)."""
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
JPEG_FAMILY = "1.2.840.10008.1.2.4."
"""Root of the code streams of ISO/IEC JTC 1/SC 29: JPEG, JPEG-LS, JPEG 2000, HTJ2K, JPEG XL, and video."""
_LATER = (
    ENCAPSULATED_UNCOMPRESSED,
    DEFLATED_IMAGE_FRAME,
    "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.4.111",
    "1.2.840.10008.1.2.4.112",
)
"""Those that pydicom's list lacks: also JPEG XL Lossless, JPEG XL JPEG Recompression and JPEG XL."""
KNOWN = tuple(dict.fromkeys((*AllTransferSyntaxes, *(UID(syntax) for syntax in _LATER))))
"""All of the standard's that a stored image may come in."""
