"""Pixel data as their bytes are, where these contradict the transfer syntax beyond doubt (PS3.5 A.4).

Gateways compress a picture, unpack it or put it into fragments and leave the transfer syntax as it was, or change that
alone. A code stream, run lengths and fragments say what they are; samples have the length of the picture.
"""

from __future__ import annotations

from dicom_io.data_sets.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_FAMILY,
    NATIVE,
    RLE_LOSSLESS,
)
from dicom_io.foundation.reasons import UndecodableError
from dicom_io.pixels.encapsulation import begins_with_item, is_code_stream, single_frame
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.run_lengths import are_run_lengths
from dicom_io.pixels.uncompressed import is_size_of_samples


def frame_in(stored: bytes | memoryview, layout: PixelLayout, syntax: str, *, undefined_length: bool) -> bytes | None:
    """Return the frame that stands in fragments, or a code stream that stands alone; None where samples do.

    Parameters
    ----------
    undefined_length
        Whether Pixel Data end with a delimiter, as only fragments do.

    Raises
    ------
    UndecodableError
        The fragments cannot be read (`single_frame`), or nothing of this is there.
    """
    if undefined_length:
        return single_frame(bytes(stored))
    is_native = syntax in NATIVE
    stands_alone = is_native or (_is_compressed(syntax) and not begins_with_item(stored))
    if stands_alone and is_size_of_samples(len(stored), layout):
        return None
    if not is_native:
        return bytes(stored) if is_code_stream(stored) else single_frame(bytes(stored))
    if begins_with_item(stored):
        try:
            frame = single_frame(bytes(stored))
        except UndecodableError:  # samples that begin as an item does
            return None
        return None if coding_of(frame, layout, syntax) in NATIVE else frame
    return bytes(stored) if is_code_stream(stored) and len(stored) < layout.decoded_bytes else None


def _is_compressed(syntax: str) -> bool:
    """Say whether the standard has samples of this syntax in fragments; of private ones nobody knows their order."""
    return syntax in (ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME, RLE_LOSSLESS) or syntax.startswith(JPEG_FAMILY)


def coding_of(frame: bytes, layout: PixelLayout, syntax: str) -> str:
    """Return the transfer syntax of a frame, `JPEG_FAMILY` for all code streams; the stated one where nothing tells."""
    if is_code_stream(frame):
        return JPEG_FAMILY
    is_size_of = is_size_of_samples(len(frame), layout)
    if are_run_lengths(frame, layout) and not (is_size_of and syntax == ENCAPSULATED_UNCOMPRESSED):
        return RLE_LOSSLESS
    if is_size_of and syntax != DEFLATED_IMAGE_FRAME and (syntax in NATIVE or _is_compressed(syntax)):
        return ENCAPSULATED_UNCOMPRESSED
    return JPEG_FAMILY if syntax.startswith(JPEG_FAMILY) else syntax
