"""Pixel Representation held against the samples (PS3.3 C.7.6.3.1): with the wrong sign a picture is torn.

Read with a sign that they lack, the brighter half of the samples becomes darker than the darkest; read without the sign
that they have, all that lies below zero becomes white. Neighbours in the picture then lie a whole range apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sampling import some_rows

_ROWS = 64
"""Looked at; each of them whole, because the neighbours count."""
_FEWEST_BITS = 9
"""With fewer, neighbours of zero are zero themselves."""
_NEAR = 32
"""Neighbours less than this part of the range apart are near each other."""
_FEWEST_JUMPS, _FEW = 16, 0.001
"""In all, and as a share of the neighbours: fewer may be the edges of letters. Radiographs that are read right have
none at all, wrong ones from 0.0012 to 0.026."""
_FEW_SMOOTHED = 0.002
"""The same of a picture of half the resolution: as many jumps among half as many neighbours in a row."""
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
    rows = some_rows(codes, _ROWS).astype(np.int32)
    upper = rows >= 1 << (layout.bits_stored - 1)
    across = upper[:, 1:] != upper[:, :-1]
    if np.count_nonzero(across) < _FEWEST_JUMPS:
        return
    right, left = rows[:, 1:][across], rows[:, :-1][across]
    lower, higher = np.minimum(right, left), np.maximum(right, left)
    codes_in_all = 1 << layout.bits_stored
    step, near = higher - lower, codes_in_all // _NEAR
    near_without, near_with = step < near, codes_in_all - step < near
    stated, other = (near_with, near_without) if layout.signed else (near_without, near_with)
    ends = (codes_in_all // 2 - 1, codes_in_all // 2) if layout.signed else (0, codes_in_all - 1)
    jumps = np.count_nonzero(other & (lower != ends[0]) & (higher != ends[1]))
    if jumps >= max(_FEWEST_JUMPS, _FEW * across.size) and jumps > _MORE * np.count_nonzero(stated):
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS,
            f"PixelRepresentation {layout.signed:d}, and with it the picture jumps by {codes_in_all} in its middle",
        )


def may_be_torn(codes: NDArray[np.generic], layout: PixelLayout) -> bool:
    """Say whether a smoothed picture without a sign jumps so often that only the whole one tells whether it is torn.

    Parameters
    ----------
    codes
        uint16 [rows, columns].
    """
    rows, half = some_rows(codes, _ROWS).astype(np.int32), 1 << (layout.bits_stored - 1)
    steps = np.abs(np.diff(rows, axis=1))
    across = (rows[:, 1:] >= half) != (rows[:, :-1] >= half)
    jumps = np.count_nonzero(steps > 3 * half // 2)
    return bool(
        jumps >= _FEW_SMOOTHED * steps.size and jumps > _MORE * np.count_nonzero(across & (steps < half // _NEAR))
    )
