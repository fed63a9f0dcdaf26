"""DICOM's run-length coding, byte plane by byte plane, each of exactly the right length (PS3.5 annex G)."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout

_HEADER_BYTES = 64
_MOST_SEGMENTS = 15
_MOST_PADDING_BYTES = 1 << 16
"""Zeros behind a plane; two of them unpack to one more zero."""


def are_run_lengths(frame: bytes, layout: PixelLayout) -> bool:
    """Say whether a frame begins with the header of run lengths of this picture."""
    planes = layout.samples_per_pixel * layout.bits_allocated // 8
    if len(frame) < _HEADER_BYTES:
        return False
    count, first, *others = struct.unpack_from("<16I", frame)
    return (count, first) == (planes, _HEADER_BYTES) and not any(others[planes - 1 :])


def decode_run_lengths(frame: bytes, layout: PixelLayout) -> NDArray[np.generic]:
    """Return the samples of one frame, of shape `layout.shape`, in native byte order.

    The coding has no checksum, but damage nearly always changes how much a plane unpacks to, and that is known. Zeros
    that a sender put behind a plane are no damage.

    Raises
    ------
    UndecodableError
    """
    planes = [_plane(segment, layout) for segment in _segments(frame, layout)]
    if layout.samples_per_pixel == 3:
        return np.stack(planes, axis=-1)
    words = planes[0].astype(f"u{len(planes)}")  # the most significant byte comes first
    for plane in planes[1:]:
        words <<= 8
        words |= plane
    return words


def _segments(frame: bytes, layout: PixelLayout) -> list[bytes]:
    if len(frame) < _HEADER_BYTES:
        raise _damaged("the run lengths have no header")
    count, *offsets = struct.unpack_from("<16I", frame)
    expected = layout.samples_per_pixel * layout.bits_allocated // 8
    if count != expected or count > _MOST_SEGMENTS:
        raise _damaged(f"there are {count:.0f} planes of run lengths, the header says {expected}")
    starts = offsets[:count]
    ends = [*starts[1:], len(frame)]
    if any(not _HEADER_BYTES <= start < end <= len(frame) for start, end in zip(starts, ends, strict=True)):
        raise _damaged("the planes of run lengths are not where their header says")
    return [frame[start:end] for start, end in zip(starts, ends, strict=True)]


def _plane(segment: bytes, layout: PixelLayout) -> NDArray[np.uint8]:
    wanted = layout.rows * layout.columns
    padding = min(len(segment) - len(segment.rstrip(b"\0")), _MOST_PADDING_BYTES)
    try:
        unpacked = imagecodecs.packbits_decode(segment, out=wanted + padding // 2)  # not a byte more is written
    except (RuntimeError, ValueError):
        raise _damaged("a plane of run lengths ends within a run or holds more than the picture") from None
    if len(unpacked) < wanted:
        raise _damaged(f"a plane of run lengths holds {len(unpacked)} bytes, the picture has {wanted} pixels")
    return np.frombuffer(unpacked, np.uint8, wanted).reshape(layout.rows, layout.columns)


def _damaged(what: str) -> UndecodableError:
    return UndecodableError(ReasonCode.UNDECODABLE, f"{what}; they are damaged or cut short")
