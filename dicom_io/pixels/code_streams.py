"""JPEG, JPEG Lossless, JPEG-LS, JPEG 2000, HTJ2K and JPEG XL code streams to samples (PS3.5 8.2, A.4).

imagecodecs decodes: it is exact, several times faster than the plugins of pydicom, and holds under damage; simplejpeg
where its warnings are wanted. GDCM is not used because some damaged streams make it end the whole process, nor
pydicom's own look into JPEG 2000 streams, because some keep it busy for ever.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.colour import as_rgb
from dicom_io.pixels.jpeg2000_stream import Jpeg2000Stream, code_stream, read_jpeg2000
from dicom_io.pixels.jpeg_damage import require_undamaged, undamaged_grey
from dicom_io.pixels.jpeg_lossless import require_consistent
from dicom_io.pixels.jpeg_stream import JPEG_LS, START, JpegStream, read_jpeg
from dicom_io.pixels.jpegxl_stream import is_jpegxl, read_jpegxl
from dicom_io.pixels.pixel_layout import XYB, PixelLayout
from dicom_io.pixels.sample_bits import require_announced, unsigned, with_sign_of_stream, without_overshoot

_CODEC_ERRORS = (RuntimeError, ValueError, TypeError, MemoryError)
"""The codecs' own errors are RuntimeErrors; wrong sizes end in the others."""
JPEG_XL = "JPEG XL"
_WORD_BITS = (8, 16)
"""Of the words that samples are decoded to."""
_MOST_JPEG_OVERHEAD_BYTES = 1 << 20
"""Of a JPEG out of JPEG XL, beside twice its picture: what it holds further is written with few bytes."""


def decode_code_stream(frame: bytes, layout: PixelLayout) -> tuple[NDArray[np.generic], str]:
    """Decode one frame as what it is, whatever transfer syntax it was labelled with.

    Returns
    -------
    values
        Unsigned bits of the samples, [rows, columns], or [rows, columns, 3] RGB.
    coding
        ``JPEG``, ``JPEG Lossless``, ``JPEG-LS``, ``JPEG 2000``, ``HTJ2K`` or ``JPEG XL``.

    Raises
    ------
    UndecodableError
        The stream is of another kind, cut short, damaged, or does not hold what `layout` says.
    """
    try:
        if is_jpegxl(frame):
            return _jpegxl(frame, layout), JPEG_XL
        return _jpeg(frame, layout) if frame.startswith(START) else _jpeg2000(frame, layout)
    except _CODEC_ERRORS as error:
        raise UndecodableError(
            ReasonCode.UNDECODABLE, f"no decoder reads this code stream ({type(error).__name__})"
        ) from None


def _jpeg(frame: bytes, layout: PixelLayout) -> tuple[NDArray[np.generic], str]:
    stream = read_jpeg(frame)
    require_announced(stream.rows, stream.columns, stream.components, stream.precision, layout)
    if stream.process == JPEG_LS:
        values = unsigned(np.squeeze(imagecodecs.jpegls_decode(frame)))
        values = without_overshoot(values, layout) if stream.lossy else values
        return _rgb(with_sign_of_stream(values, stream.precision, layout), stream, layout), "JPEG-LS"
    undamaged = undamaged_grey(stream, frame)
    values = _looked_through(stream, frame, layout) if undamaged is None else undamaged
    values = without_overshoot(values, layout) if stream.lossy else values
    coding = "JPEG Lossless" if stream.lossless else "JPEG"
    return _rgb(with_sign_of_stream(values, stream.precision, layout), stream, layout), coding


def _looked_through(stream: JpegStream, frame: bytes, layout: PixelLayout) -> NDArray[np.generic]:
    decode = _jpeg_grey if stream.components == 1 else _jpeg_colours
    values = decode(frame)
    if values.shape == layout.shape:
        require_consistent(stream, values)
        require_undamaged(stream, frame, values, decode)
    return values


def _jpeg_grey(frame: bytes) -> NDArray[np.generic]:
    return unsigned(np.squeeze(imagecodecs.jpeg8_decode(frame)))


def _jpeg_colours(frame: bytes) -> NDArray[np.generic]:
    """Return the three components as they are: the same space in and out is no conversion."""
    return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB"))


def _rgb(values: NDArray[np.generic], stream: JpegStream, layout: PixelLayout) -> NDArray[np.generic]:
    if values.ndim == 2:
        return values
    luma_first = layout.photometric_interpretation != "RGB" if stream.luma_first is None else stream.luma_first
    return as_rgb(values, luma_first=luma_first)


def _jpegxl(frame: bytes, layout: PixelLayout) -> NDArray[np.generic]:
    stream = read_jpegxl(frame, layout)
    if stream.holds_jpeg:  # libjxl's samples of it differ from those of the JPEG in rounding, and it sees less damage
        room = bytearray(2 * layout.decoded_bytes + _MOST_JPEG_OVERHEAD_BYTES)
        values, _ = _jpeg(bytes(imagecodecs.jpegxl_decode_jpeg(frame, numthreads=1, out=room)), layout)
        return values
    if stream.components == 3 and layout.photometric_interpretation not in ("RGB", XYB):
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS, f"{layout.photometric_interpretation} samples in JPEG XL, which holds RGB"
        )
    if stream.perceptual and layout.signed:
        raise UndecodableError(ReasonCode.UNSUPPORTED_PIXELS, "values with a sign in lossy JPEG XL, which knows none")
    values = imagecodecs.jpegxl_decode(frame, index=0, numthreads=1)
    values = without_overshoot(values, layout) if stream.perceptual else values
    return (
        as_rgb(values, luma_first=False) if values.ndim == 3 else with_sign_of_stream(values, stream.precision, layout)
    )


def _jpeg2000(frame: bytes, layout: PixelLayout) -> tuple[NDArray[np.generic], str]:
    stream = read_jpeg2000(frame, layout)
    values = unsigned(np.squeeze(_jpeg2000_samples(code_stream(frame), stream)))
    values = values if stream.reversible else without_overshoot(values, layout, signed_stream=stream.signed)
    if values.ndim == 2:
        return with_sign_of_stream(values, stream.precision, layout), stream.coding
    # RCT and ICT are parts of the coding and already undone
    return as_rgb(values, luma_first=layout.photometric_interpretation == "YBR_FULL"), stream.coding


def _jpeg2000_samples(frame: bytes, stream: Jpeg2000Stream) -> NDArray[np.generic]:
    # OpenJPH lets lossy samples turn over where their words have no room for more
    if stream.high_throughput and (stream.reversible or stream.precision not in _WORD_BITS):
        try:
            return np.asarray(imagecodecs.htj2k_decode(frame))
        except _CODEC_ERRORS:  # OpenJPEG reads some profiles that OpenJPH does not
            pass
    return np.asarray(imagecodecs.jpeg2k_decode(frame))
