"""Does a sequential JPEG stream end where its picture ends? (ISO/IEC 10918-1 annex F).

The coding has no checksum, and decoders that lost their place go on in silence: they end before the data do, leaving
the rest unread, or use them up and fill the picture with grey. So the end of the data is changed, and a decoder that
ended where it should have shows it: what it needs, it misses, and what it does not need, it does not notice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.jpeg_stream import JpegStream

_HUFFMAN_SEQUENTIAL = (0xC0, 0xC1)
_LAST_BYTES = 12
_OTHERS = tuple(bytes(number * step % 251 + 1 for number in range(250)) for step in (37, 101, 176, 5))
"""Each would be drawn wherever a decoder took it for data, if it is not as black as what it replaces; no markers."""


def require_used_up(
    found: JpegStream,
    frame: bytes,
    values: NDArray[np.generic],
    decode: Callable[[bytes], NDArray[np.generic]],
) -> None:
    """Raise unless the decoder took all entropy-coded data of a sequential stream of one scan, and no more.

    Parameters
    ----------
    frame, values
        The stream, and what `decode` made of it.

    Raises
    ------
    UndecodableError
    """
    if found.process not in _HUFFMAN_SEQUENTIAL or found.scans != 1:
        return
    head, tail = frame[: found.scan_start], frame[found.scan_end :]
    data = frame[found.scan_start : found.scan_end].rstrip(b"\xff")  # fill bytes, which begin the next marker
    last = max(0, len(data.rstrip(b"\0")) - _LAST_BYTES)

    def differs(changed: bytes) -> bool:
        return not np.array_equal(decode(head + changed + tail), values)

    in_want = differs(data + _OTHERS[0])
    needed = in_want or any(differs(data[:last].rstrip(b"\xff") + other) for other in _OTHERS)
    if in_want or not (needed or _ends_without_detail(values, found.precision)):
        raise UndecodableError(ReasonCode.UNDECODABLE, "the JPEG data do not fit the picture; they are damaged")


def _ends_without_detail(values: NDArray[np.generic], precision: int) -> bool:
    """Say whether the end is as grey as what is drawn without data, or all is flat: then any data may give the same."""
    is_flat = bool(np.all(values.max(axis=(0, 1)) == values.min(axis=(0, 1))))
    return is_flat or bool(np.all(values[-1] == 1 << (precision - 1)))
