"""JPEG 2000 and HTJ2K at half resolution: a quarter of the work, nearly the same input for the network.

A wavelet code stream holds its picture at half resolution, which is decoded without the rest. Its samples are the
picture smoothed and taken at every second place; put back in place and enlarged, they make nearly the same 224 px
picture as all samples do. Letters and collimation edges differ a little more than anatomy.
"""

from __future__ import annotations

import warnings
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_io.pixels.grey_scale import GreyScale
from dicom_io.pixels.jpeg2000_stream import Jpeg2000Stream, code_stream, read_jpeg2000
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sample_bits import OVERSHOOT
from dicom_io.pixels.sign import may_be_torn

SHORTEST_SIDE_PX = 1792
"""Shorter pictures are decoded whole: half of this is four samples for each of the network's 224 px."""
_LAYOUT_BITS = range(9, 16)
"""BitsStored; with 16, an undershoot of the wavelet could not be told from a bright sample."""
_DECODER_ERRORS = (RuntimeError, ValueError, TypeError, OSError, MemoryError)
_HALF = np.array([[0.5, 0, 0], [0, 0.5, 0]])
"""Sample k at half resolution stands at sample 2 k of the whole picture."""


def half_resolution_codes(frame: bytes, layout: PixelLayout) -> tuple[NDArray[np.uint16], Jpeg2000Stream] | None:
    """Decode stored values at half resolution; None where only the whole picture will do.

    Returns
    -------
    codes
        uint16 [ceil(rows / 2), ceil(columns / 2)].

    Raises
    ------
    UndecodableError
        As for the whole picture, if the stream is cut short or does not hold what `layout` says.
    """
    if layout.samples_per_pixel != 1 or layout.signed or layout.lowest_bit or layout.bits_stored not in _LAYOUT_BITS:
        return None
    if min(layout.rows, layout.columns) < SHORTEST_SIDE_PX:
        return None
    stream = read_jpeg2000(frame, layout)
    if stream.signed or not stream.at_origin or not stream.decompositions or stream.precision <= 8:
        return None
    try:
        codes = _decode(code_stream(frame), stream)
    except _DECODER_ERRORS:  # whether the stream is at fault, decoding it as a whole tells
        return None
    if codes.shape != ((layout.rows + 1) // 2, (layout.columns + 1) // 2):
        return None
    largest = np.uint16((1 << layout.bits_stored) - 1)
    if stream.precision > layout.bits_stored and codes.max() > largest + largest // OVERSHOOT:
        return None  # an overlay, or a picture that goes on there: only whole samples tell which
    if may_be_torn(codes, layout):
        return None
    return np.minimum(codes, largest), stream


def _decode(frame: bytes, stream: Jpeg2000Stream) -> NDArray[np.uint16]:
    if stream.high_throughput:
        values = imagecodecs.htj2k_decode(frame, skipres=1).view(np.int16)
        return np.maximum(values, 0).view(np.uint16)  # undershoot was written as if it had no sign
    with (
        warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),  # its size was checked
        Image.open(BytesIO(frame), formats=("JPEG2000",)) as picture,
    ):
        picture.reduce = 1  # type: ignore[method-assign,assignment] # Pillow's way of asking for fewer resolutions
        values = np.asarray(picture)
    return values.astype(np.uint16) >> np.uint16(16 - stream.precision)  # Pillow moves samples up to bit 15


def suits(scale: GreyScale) -> bool:
    """Say whether smoothing before the grey scale is nearly the same as after it.

    It is not where padding stands among the samples, where the window is made of percentiles of all samples, or where
    the grey scale goes up and down.
    """
    steps = np.diff(scale.table.astype(np.int16))
    return scale.padding is None and not scale.voi_fallback and (bool((steps >= 0).all()) or bool((steps <= 0).all()))


def enlarged(levels: NDArray[np.uint8], layout: PixelLayout, stream: Jpeg2000Stream) -> NDArray[np.uint8]:
    """Return grey levels of half resolution at full size, uint8 [rows, columns].

    The low-pass filter of the 5/3 wavelet lifts fine detail, which linear interpolation takes back; that of the 9/7
    wavelet does not, so that its samples are interpolated with cubic polynomials.
    """
    kernel = cv2.INTER_LINEAR if stream.reversible else cv2.INTER_CUBIC
    size = (layout.columns, layout.rows)
    return np.asarray(
        cv2.warpAffine(levels, _HALF, size, flags=kernel | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE),
        dtype=np.uint8,
    )
