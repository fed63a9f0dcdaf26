"""Compressed or not: pixel data to stored values, bounded before anything is decoded (PS3.5 8.2 and annex A.4).

The bytes say what they are, so a wrong transfer syntax does no harm where that is beyond doubt (`announced`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_io.data_sets.encoded import IMPLICIT_VR_LITTLE_ENDIAN
from dicom_io.data_sets.header import PARSE_ERRORS, text
from dicom_io.data_sets.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPEG_FAMILY,
    NATIVE,
    RLE_LOSSLESS,
)
from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.announced import coding_of, frame_in
from dicom_io.pixels.byte_order import in_right_order
from dicom_io.pixels.code_streams import JPEG_XL, decode_code_stream
from dicom_io.pixels.colour import as_rgb
from dicom_io.pixels.high_bit import at_the_bottom, require_lowest_bit
from dicom_io.pixels.jpeg_stream import START as JPEG_START
from dicom_io.pixels.jpegxl_stream import is_jpegxl
from dicom_io.pixels.padding import padding_above
from dicom_io.pixels.pixel_layout import XYB, PixelLayout, read_layout
from dicom_io.pixels.run_lengths import decode_run_lengths
from dicom_io.pixels.sample_bits import require_stored_bits, unsigned, without_high_bits
from dicom_io.pixels.sign import require_sign
from dicom_io.pixels.uncompressed import inflated, read_samples

__all__ = ["UndecodableError", "decode_frame", "decode_stored_values"]

_WORDS = ("uncompressed", "deflated", "RLE")
"""Codings in which the bytes of a sample may have changed places; code streams know samples only."""
_DECODER_ERRORS = (*PARSE_ERRORS, RuntimeError, MemoryError)
"""imagecodecs raises RuntimeError; wrong sizes end in ValueError or MemoryError."""


@dataclass(frozen=True)
class Frame:
    """One decoded image."""

    values: NDArray[np.generic]
    """[rows, columns] uint8 or uint16 for one sample per pixel, bits above BitsStored cleared, two's complement where
    signed; [rows, columns, 3] uint8 RGB for three."""
    layout: PixelLayout
    coding: str
    """What was decoded, for people: ``uncompressed``, ``deflated``, ``RLE``, ``JPEG``, ``JPEG Lossless`` ..."""
    outside: NDArray[np.bool_] | None = None
    """[rows, columns]: where padding stood that `values` have no room for; None: nowhere."""


def decode_stored_values(dataset: Dataset) -> NDArray[np.generic]:
    """Return the stored values of a single-frame image, [H, W] or, in colour, [H, W, 3]; see `Frame.values`.

    Raises
    ------
    UndecodableError
        See `decode_frame`.
    """
    return decode_frame(dataset).values


def decode_frame(dataset: Dataset) -> Frame:
    """Decode a single-frame image.

    Parameters
    ----------
    dataset
        With file meta information; without a transfer syntax there, Implicit VR Little Endian is meant.

    Raises
    ------
    UndecodableError
        No pixel data, a layout that is not read (see `read_layout`), a code stream that is cut short, damaged or of
        another size than the header says, or nothing decodes it.
    """
    if not _pixel_data(dataset):
        raise UndecodableError(ReasonCode.NO_PIXELS, "there is no Pixel Data element")
    layout = read_layout(dataset)
    syntax = _transfer_syntax(dataset)
    try:
        values, coding = _decode(dataset, layout, syntax)
    except UndecodableError:
        raise
    except _DECODER_ERRORS:
        raise UndecodableError(ReasonCode.UNDECODABLE, f"no decoder reads these pixel data ({syntax.name})") from None
    if values.shape != layout.shape:
        raise UndecodableError(ReasonCode.UNDECODABLE, f"pixel data are {values.shape}, the header says {layout.shape}")
    if layout.photometric_interpretation == XYB and coding != JPEG_XL:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"colours in XYB that are {coding}")
    if layout.samples_per_pixel == 3:
        return Frame(values.astype(np.uint8), layout, coding)
    words = in_right_order(unsigned(values), layout) if coding in _WORDS else unsigned(values)
    samples, layout = at_the_bottom(words, layout)
    outside = padding_above(samples, layout, dataset)
    require_stored_bits(samples, layout, outside)
    codes = without_high_bits(samples, layout.bits_stored)
    require_sign(codes, layout)
    return Frame(codes, layout, coding, outside)


def jpeg2000_frame(dataset: Dataset) -> tuple[bytes, PixelLayout] | None:
    """Return the frame of an image in the JPEG family that is not JPEG, JPEG-LS or JPEG XL; None for every other image.

    Raises
    ------
    UndecodableError
        There is no frame in the encapsulated pixel data, or the layout is not read (see `read_layout`).
    """
    syntax = _transfer_syntax(dataset)
    if not syntax.startswith(JPEG_FAMILY) or not _pixel_data(dataset):
        return None
    layout = read_layout(dataset)
    frame = _frame(dataset, layout, syntax)
    if frame is None or coding_of(frame, layout, syntax) != JPEG_FAMILY:
        return None
    return None if frame.startswith(JPEG_START) or is_jpegxl(frame) else (frame, layout)


def _transfer_syntax(dataset: Dataset) -> UID:
    return UID(text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID") or IMPLICIT_VR_LITTLE_ENDIAN)


def _pixel_data(dataset: Dataset) -> bytes | memoryview:
    try:
        value = dataset["PixelData"].value
    except PARSE_ERRORS:
        return b""
    return value if isinstance(value, bytes | memoryview) else b""


def _frame(dataset: Dataset, layout: PixelLayout, syntax: UID) -> bytes | None:
    undefined_length = dataset["PixelData"].is_undefined_length
    return frame_in(_pixel_data(dataset), layout, syntax, undefined_length=undefined_length)


def _decode(dataset: Dataset, layout: PixelLayout, syntax: UID) -> tuple[NDArray[np.generic], str]:
    frame = _frame(dataset, layout, syntax)
    if frame is None:
        order = syntax if syntax in NATIVE else EXPLICIT_VR_LITTLE_ENDIAN
        return read_samples(_pixel_data(dataset), dataset, layout, order), "uncompressed"
    coding = coding_of(frame, layout, syntax)
    if coding == ENCAPSULATED_UNCOMPRESSED:
        return read_samples(frame, dataset, layout, EXPLICIT_VR_LITTLE_ENDIAN), "uncompressed"
    if coding == DEFLATED_IMAGE_FRAME:
        return read_samples(inflated(frame, layout), dataset, layout, EXPLICIT_VR_LITTLE_ENDIAN), "deflated"
    if coding == RLE_LOSSLESS:
        return _run_lengths(frame, layout), "RLE"
    if coding in NATIVE:
        raise UndecodableError(ReasonCode.UNDECODABLE, "fragments of no known coding under an uncompressed syntax")
    if coding != JPEG_FAMILY:
        raise UndecodableError(ReasonCode.UNDECODABLE, f"no decoder reads this transfer syntax ({syntax.name})")
    require_lowest_bit(layout)
    return decode_code_stream(frame, layout)


def _run_lengths(frame: bytes, layout: PixelLayout) -> NDArray[np.generic]:
    values = decode_run_lengths(frame, layout)
    if layout.samples_per_pixel == 1:
        return values
    return as_rgb(values, luma_first=layout.photometric_interpretation.startswith("YBR_FULL"))
