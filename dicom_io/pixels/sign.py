"""Pixel Representation held against the samples (PS3.3 C.7.6.3.1): with the wrong sign a picture is torn.

Read with a sign that they lack, the brighter half of the samples becomes darker than the darkest; read without the sign
that they have, all that lies below zero becomes white. Neighbours in the picture then lie a whole range apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout

_ROWS = 64
"""Looked at; each of them whole, because the neighbours count."""
_FEWEST_BITS = 9
"""With fewer, neighbours of zero are zero themselves."""
_NEAR = 32
"""Neighbours less than this part of the range apart are near each other."""
_FEWEST_JUMPS, _FEW = 16, 0.001
"""In all, and as a share of the neighbours: fewer may be the edges of letters. Radiographs that are read right have
none at all, wrong ones from 0.0012 to 0.026."""
_WIDE = 4
"""A step of more than this part of the range may have been one over all of it before the picture was smoothed."""
_MORE = 4
"""How many times as many neighbours must be near with the other sign."""


def require_sign(codes: NDArray[np.generic], layout: PixelLayout) -> None:
    """Refuse a picture that jumps over its whole range where it would go on with the other Pixel Representation.

    White beside black is no such jump, as of letters on a dark border.

    Parameters
    ----------
    codes
        uint8 or uint16 [rows, columns] without bits above BitsStored.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``
    """
    if layout.bits_stored < _FEWEST_BITS:
        return
    rows = _some_rows(codes).astype(np.int32)
    upper = rows >= 1 << (layout.bits_stored - 1)
    across = upper[:, 1:] != upper[:, :-1]
    if np.count_nonzero(across) < _FEWEST_JUMPS:
        return
    pairs = np.sort(np.stack([rows[:, 1:][across], rows[:, :-1][across]]), axis=0)
    codes_in_all = 1 << layout.bits_stored
    step, near = pairs[1] - pairs[0], codes_in_all // _NEAR
    near_without, near_with = step < near, codes_in_all - step < near
    stated, other = (near_with, near_without) if layout.signed else (near_without, near_with)
    lowest, highest = (codes_in_all // 2, codes_in_all // 2 - 1) if layout.signed else (0, codes_in_all - 1)
    jumps = np.count_nonzero(other & ~np.isin(pairs, (lowest, highest)).any(axis=0))
    if jumps >= max(_FEWEST_JUMPS, _FEW * across.size) and jumps > _MORE * np.count_nonzero(stated):
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS,
            f"PixelRepresentation {layout.signed:d}, and with it the picture jumps by {codes_in_all} in its middle",
        )


def may_be_torn(codes: NDArray[np.generic], layout: PixelLayout) -> bool:
    """Say whether a smoothed picture has so many wide steps that only the whole one tells whether it is torn.

    Parameters
    ----------
    codes
        uint16 [rows, columns].
    """
    steps = np.abs(np.diff(_some_rows(codes).astype(np.int32), axis=1))
    return bool(np.count_nonzero(steps > (1 << layout.bits_stored) // _WIDE) >= _FEW * steps.size)


def _some_rows(codes: NDArray[np.generic]) -> NDArray[np.generic]:
    return codes[:: max(1, len(codes) // _ROWS)]
