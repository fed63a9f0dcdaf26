"""Do JPEG data of 8 bits fit their picture? libjpeg-turbo notices damage while it decodes, and tells whoever asks.

The coding has no checksum. A decoder that lost its place meets codes that there are none of, ends before the data do or
misses some; libjpeg then fills the picture up, counts a warning and reports success. simplejpeg passes the first of
these warnings on, which no other binding at hand does.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.jpeg_sequential import require_used_up
from dicom_io.pixels.jpeg_stream import JpegStream

_DAMAGE = "Corrupt JPEG data"
"""So begin libjpeg's warnings about data; others are about an unknown JFIF revision and its like."""
_BYTES_BEFORE_EOI = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_SMALLEST = {"min_height": 1, "min_width": 1, "min_factor": 8.0}
"""An eighth of the size: the warnings are the same, and most of the arithmetic falls away."""


def require_undamaged(
    found: JpegStream, frame: bytes, values: NDArray[np.generic], decode: Callable[[bytes], NDArray[np.generic]]
) -> None:
    """Raise if the data of a stream with cosine transforms are damaged, as far as that can be seen.

    With 8 bits libjpeg-turbo's warnings tell, in any process with Huffman codes. It has no decoder that warns for 12
    bits: there the end of the data of a single scan tells (`require_used_up`).

    Parameters
    ----------
    frame, values
        The stream, and what `decode` made of it.

    Raises
    ------
    UndecodableError
    """
    if found.lossless:
        return
    warning = _first_warning(found, frame) if found.precision == 8 else ""
    if warning is None or _is_padding(warning, found, frame):
        return
    if warning.startswith(_DAMAGE):
        raise UndecodableError(ReasonCode.UNDECODABLE, "the JPEG data do not fit the picture; they are damaged")
    require_used_up(found, frame, values, decode)


def undamaged_grey(found: JpegStream, frame: bytes) -> NDArray[np.uint8] | None:
    """Return the samples of a grey stream of 8 bits with cosine transforms of which libjpeg-turbo warns of nothing.

    So it is decoded once where `require_undamaged` would look at it a second time.

    Returns
    -------
    NDArray[np.uint8] or None
        [rows, columns], to the last bit what imagecodecs makes of it, which has the same library. None for every other
        stream, and where there is a warning.
    """
    if found.lossless or found.precision != 8 or found.components != 1:
        return None
    try:
        return np.asarray(simplejpeg.decode_jpeg(frame, "GRAY", strict=True)[:, :, 0], np.uint8)
    except ValueError:
        return None


def _first_warning(found: JpegStream, frame: bytes) -> str | None:
    """Return what libjpeg-turbo finds wrong first, in its words; None where there is nothing."""
    try:
        simplejpeg.decode_jpeg(frame, "GRAY" if found.components == 1 else "RGB", strict=True, **_SMALLEST)
    except ValueError as error:
        return str(error)
    return None


def _is_padding(warning: str, found: JpegStream, frame: bytes) -> bool:
    """Say whether it is about zeros behind the data alone, which some devices write."""
    left_over = _BYTES_BEFORE_EOI.match(warning)
    if left_over is None:
        return False
    data = frame[found.scan_start : found.scan_end]
    return int(left_over[1]) <= len(data) - len(data.rstrip(b"\0"))
