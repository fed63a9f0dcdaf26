"""Samples of 16 bits whose bytes stand the wrong way round, as gateways leave them that change the order of the header.

Swapped, the low bits of a picture are its high ones, which is noise; right, neighbours are near each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_io.pixels.pixel_layout import MONOCHROME, PixelLayout
from dicom_io.pixels.sampling import some_rows

_ROWS = 32
_MANY, _FEW = 0.25, 0.001
"""Share of the words beyond the bits that they may have, of swapped ones and of right ones."""
_HIGHEST_BIT = 15
_ROUGH = 0.6
"""Mean step between neighbours in mean deviations; noise has more than 1, a radiograph a fifth at most."""
_SMOOTHER, _MUCH_SMOOTHER = 1.5, 4


def in_right_order(words: NDArray[np.generic], layout: PixelLayout) -> NDArray[np.generic]:
    """Return the words, with their bytes swapped where they are a picture only so; else themselves.

    That is where they fit Bits Stored only so, and are smoother; and without that, where they are noise otherwise.

    Parameters
    ----------
    words
        Unsigned, [rows, columns], as allocated.
    """
    has_neighbours = layout.bits_allocated == 16 and words.shape[1] > 1
    if not has_neighbours or layout.photometric_interpretation not in MONOCHROME:
        return words
    stated = some_rows(words, _ROWS)
    if _beyond(stated, layout) < _MANY:
        return words
    swapped = stated.byteswap()
    roughness, other = _roughness(stated, layout), _roughness(swapped, layout)
    fits = layout.high_bit < _HIGHEST_BIT and _beyond(swapped, layout) < _FEW
    is_swapped = roughness > _SMOOTHER * other if fits else roughness > max(_ROUGH, _MUCH_SMOOTHER * other)
    return words.byteswap() if is_swapped else words


def _beyond(words: NDArray[np.generic], layout: PixelLayout) -> float:
    """Return the share of the words above High Bit, or, where nothing is above it, in the upper half of their range."""
    codes, lowest_unused = words.astype(np.uint16), min(layout.high_bit + 1, _HIGHEST_BIT)
    beyond = codes >> lowest_unused != 0
    if layout.signed and layout.high_bit < _HIGHEST_BIT:  # negative ones may have ones there, or may not
        beyond &= (codes + np.uint16(1 << layout.high_bit)) >> lowest_unused != 0
    return np.count_nonzero(beyond) / codes.size


def _roughness(rows: NDArray[np.generic], layout: PixelLayout) -> float:
    values = rows.view("i2" if layout.signed else "u2").astype(np.float32)
    deviation = float(np.abs(values - values.mean()).mean())
    return float(np.abs(np.diff(values, axis=1)).mean()) / deviation if deviation else 0.0
