"""Do lossless JPEG data fit the picture they were decoded to? (ISO/IEC 10918-1 annex H).

Most radiographs are sent in this coding, it has no checksum, and decoders go on in silence when they have lost their
place. But the decoded samples tell exactly how many bits they must have taken, and that can be counted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.jpeg_stream import JpegStream

ROWS_AT_A_TIME = 64
"""As many as stay in the processor's cache."""
SURPLUS_BITS = 15
"""A scan is padded to whole bytes, perhaps with one more; a decoder that lost its place is further off."""


def require_consistent(found: JpegStream, values: NDArray[np.generic]) -> None:
    """Raise unless the decoded `values` account for the bits of a lossless one-component stream.

    A decoder that meets damaged or missing data loses its place: it ends before the data do, or goes on beyond them.
    Damage that keeps every code length intact is not seen, nor is any in a lossy stream or with restart intervals.

    Parameters
    ----------
    values
        uint8 or uint16 [rows, columns] as decoded.

    Raises
    ------
    UndecodableError
    """
    if not found.lossless or found.components != 1 or found.scans != 1 or found.restart_interval:
        return
    lengths = found.code_lengths.get(found.table)
    if lengths is None or not 1 <= found.predictor <= 7:
        return
    surplus_bits = 8 * found.scan_bytes - _needed_bits(found, values, _bits_of_differences(lengths))
    if not 0 <= surplus_bits <= SURPLUS_BITS:
        raise UndecodableError(
            ReasonCode.UNDECODABLE, "the JPEG Lossless data do not fit the picture they decode to; they are damaged"
        )


def _bits_of_differences(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return uint8 [65536]: bits that each difference (modulo 65536) takes: its category's code and its own bits."""
    difference = np.abs(np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32))
    category = np.ceil(np.log2(difference + 1)).astype(np.int64)  # H.1.2.2
    own_bits = np.where(category == 16, 0, category)  # 32768 has category 16 and no further bits
    return np.asarray(lengths[category] + own_bits, dtype=np.uint8)


def _needed_bits(found: JpegStream, values: NDArray[np.generic], bits: NDArray[np.uint8]) -> int:
    """Return how many bits the differences of all samples from their prediction take (H.1.2.1); few rows at a time."""
    samples = values.astype(np.uint16, copy=False)
    if found.point_transform:
        samples = samples >> np.uint16(found.point_transform)
    middle = np.uint16(1 << max(found.precision - found.point_transform - 1, 0))
    total = int(bits[samples[:1, :1] - middle].sum()) + _sum(bits, samples[:1, 1:] - samples[:1, :-1])
    for row in range(1, len(samples), ROWS_AT_A_TIME):
        block = samples[row - 1 : row + ROWS_AT_A_TIME]
        total += _sum(bits, block[1:, :1] - block[:-1, :1])
        total += _sum(bits, block[1:, 1:] - _predicted(found.predictor, block))
    return total


def _sum(bits: NDArray[np.uint8], differences: NDArray[np.uint16]) -> int:
    return int(cv2.sumElems(cv2.LUT(np.ascontiguousarray(differences), bits))[0]) if differences.size else 0


def _predicted(predictor: int, samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return uint16 [rows - 1, columns - 1] after table H.1; a to the left, b above, c above to the left."""
    a, b, c = samples[1:, :-1], samples[:-1, 1:], samples[:-1, :-1]
    if predictor <= 3:
        return (a, b, c)[predictor - 1]
    wide_a, wide_b, wide_c = (part.astype(np.int32) for part in (a, b, c))
    if predictor == 4:
        return (wide_a + wide_b - wide_c).astype(np.uint16)
    if predictor == 5:
        return (wide_a + ((wide_b - wide_c) >> 1)).astype(np.uint16)
    if predictor == 6:
        return (wide_b + ((wide_a - wide_c) >> 1)).astype(np.uint16)
    return ((wide_a + wide_b) >> 1).astype(np.uint16)
