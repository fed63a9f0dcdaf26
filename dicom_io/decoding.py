"""Compressed or not: pixel data to stored values, bounded before anything is decoded (PS3.5 8.2 and annex A.4).

imagecodecs decodes first, because it is exact and several times faster; pydicom with its plugins is the fall-back.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_io.header import EXPLICIT_VR_BIG_ENDIAN, text
from dicom_io.reasons import ReasonCode

MAXIMUM_SIDE_PX = 16_384
MAXIMUM_PIXELS = 100_000_000
"""A 43 x 43 cm detector at 50 um has 74 million pixels; nothing that is a radiograph is larger."""
_JPEG = "1.2.840.10008.1.2.4."
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_J2K_START = b"\xff\x4f\xff\x51"


class UndecodableError(Exception):
    """The pixels of this instance cannot be had; `reason_code` says for which of our reasons."""

    def __init__(self, reason_code: ReasonCode, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


def decode_stored_values(dataset: Dataset) -> NDArray[np.generic]:
    """Return the stored values of a single-frame image.

    Returns
    -------
    [rows, columns] uint8 or uint16 for one sample per pixel: bits above BitsStored cleared, two's complement where
    PixelRepresentation is 1. [rows, columns, 3] uint8 RGB for three.

    Raises
    ------
    UndecodableError
        No pixel data, a layout that cannot be read safely (HighBit other than BitsStored - 1, which pydicom masks
        wrongly), too large, more than one frame, or nothing decodes it.
    """
    _require_readable_layout(dataset)
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    shape = (rows, columns) if samples == 1 else (rows, columns, samples)
    values = _decode(dataset, shape)
    if values.shape != shape:
        raise UndecodableError(ReasonCode.UNDECODABLE, f"pixel data are {values.shape}, the header says {shape}")
    if samples == 3:
        return values.astype(np.uint8)
    unsigned = values.astype(values.dtype.str.replace("i", "u"), copy=False)
    bits_stored = int(dataset.BitsStored)
    if bits_stored < unsigned.dtype.itemsize * 8:
        unsigned = unsigned & np.array((1 << bits_stored) - 1, unsigned.dtype)
    return unsigned


def _require_readable_layout(dataset: Dataset) -> None:
    try:
        rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
        samples, allocated = int(dataset.SamplesPerPixel), int(dataset.BitsAllocated)
        stored = int(dataset.get("BitsStored") or allocated)
        high_bit = int(dataset.get("HighBit", stored - 1))
        representation = int(dataset.get("PixelRepresentation") or 0)
    except (AttributeError, TypeError, ValueError):
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "image pixel attributes missing or unreadable") from None
    if "PixelData" not in dataset or not dataset["PixelData"].value:
        raise UndecodableError(ReasonCode.NO_PIXELS, "there is no Pixel Data element")
    if frames != 1:
        raise UndecodableError(ReasonCode.MULTI_FRAME, f"{frames} frames; only single-frame images are read")
    if not (0 < rows <= MAXIMUM_SIDE_PX and 0 < columns <= MAXIMUM_SIDE_PX and rows * columns <= MAXIMUM_PIXELS):
        raise UndecodableError(ReasonCode.TOO_LARGE, f"{rows} x {columns} pixels; at most {MAXIMUM_PIXELS}")
    if high_bit != stored - 1:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, f"HighBit {high_bit} with BitsStored {stored}")
    if (samples, allocated) not in ((1, 8), (1, 16), (3, 8)) or not 0 < stored <= allocated or representation > 1:
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, f"{samples} samples of {stored} in {allocated} bits are not supported"
        )


def _decode(dataset: Dataset, shape: tuple[int, ...]) -> NDArray[np.generic]:
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or "1.2.840.10008.1.2")
    try:
        if not syntax.is_encapsulated:
            return _native(dataset, syntax, shape)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        _require_announced_size(frame, syntax, shape)
        decoder = _fast_decoder(str(syntax))
        if decoder is None or len(shape) == 3:  # colour needs pydicom's colour space conversion
            return _pydicom(dataset, syntax)
        try:
            return decoder(frame, dataset, shape)
        except (RuntimeError, ValueError):
            return _pydicom(dataset, syntax)
    except UndecodableError:
        raise
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, KeyError, TypeError, EOFError, struct.error):
        raise UndecodableError(ReasonCode.UNDECODABLE, f"no decoder reads these pixel data ({syntax.name})") from None


def _native(dataset: Dataset, syntax: UID, shape: tuple[int, ...]) -> NDArray[np.generic]:
    if str(syntax) == EXPLICIT_VR_BIG_ENDIAN or len(shape) == 3:
        return _pydicom(dataset, syntax)
    kind = np.dtype("<u2" if int(dataset.BitsAllocated) == 16 else "u1")
    pixels = shape[0] * shape[1]
    if len(dataset.PixelData) < pixels * kind.itemsize:
        raise UndecodableError(ReasonCode.UNDECODABLE, "pixel data are shorter than rows x columns")
    return np.frombuffer(dataset.PixelData, kind, pixels).reshape(shape)


def _pydicom(dataset: Dataset, syntax: UID) -> NDArray[np.generic]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of (excess padding, odd bit depths), we check ourselves
        values, _ = get_decoder(syntax).as_array(dataset, index=0)
    return np.asarray(values)


def _fast_decoder(
    transfer_syntax_uid: str,
) -> Callable[[bytes, Dataset, tuple[int, ...]], NDArray[np.generic]] | None:
    if transfer_syntax_uid == "1.2.840.10008.1.2.5":
        return _decode_rle
    codec = {
        **dict.fromkeys(("50", "51", "57", "70"), imagecodecs.jpeg8_decode),
        **dict.fromkeys(("80", "81"), imagecodecs.jpegls_decode),
        **dict.fromkeys(("90", "91"), imagecodecs.jpeg2k_decode),
        **dict.fromkeys(("201", "202", "203"), imagecodecs.htj2k_decode),
    }.get(transfer_syntax_uid.removeprefix(_JPEG))
    return None if codec is None else lambda frame, dataset, shape: np.squeeze(codec(frame))


def _decode_rle(frame: bytes, dataset: Dataset, shape: tuple[int, ...]) -> NDArray[np.generic]:
    kind = np.dtype("<u2" if int(dataset.BitsAllocated) == 16 else "u1")
    decoded = imagecodecs.dicomrle_decode(frame, kind)
    return np.asarray(np.frombuffer(decoded, kind, shape[0] * shape[1]).reshape(shape))


def _require_announced_size(frame: bytes, syntax: UID, shape: tuple[int, ...]) -> None:
    """Refuse a code stream that would decode to another size than the header says, before memory is spent on it."""
    if not str(syntax).startswith(_JPEG):
        return
    start = frame.find(_J2K_START, 0, 4096)
    if frame[:3] == b"\xff\xd8\xff":
        rows, columns = _jpeg_size(frame)
    elif start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        rows, columns = bottom - top, right - left
    else:
        raise UndecodableError(ReasonCode.UNDECODABLE, "the frame is no JPEG or JPEG 2000 code stream")
    if (rows, columns) != shape[:2]:
        raise UndecodableError(
            ReasonCode.UNDECODABLE, f"the code stream is {rows} x {columns}, the header says {shape[0]} x {shape[1]}"
        )


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Return rows and columns from the frame header of a JPEG or JPEG-LS stream (ISO/IEC 10918-1 B.2.2)."""
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker in _JPEG_FRAME_MARKERS:
            return struct.unpack_from(">HH", frame, position + 5)
        position += 1 if marker == 0xFF else 2 + length
    raise UndecodableError(ReasonCode.UNDECODABLE, "the JPEG stream has no frame header")


def sample_bits(dataset: Dataset) -> int:
    """Return BitsStored, or BitsAllocated where it is missing."""
    return int(text(dataset, "BitsStored") or dataset.BitsAllocated)
