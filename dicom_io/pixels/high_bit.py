"""Samples that do not begin at the lowest bit of their words, moved there.

PS3.5 8.1.1 lets High Bit say where in a word a sample ends. PS3.3 C.7.6.3.1 has long wanted it to be Bits Stored - 1,
but old devices and converters put 12 bits to the top of 16, and others say so of samples that lie at the bottom. Read
in the wrong place a radiograph is nearly black, or noise. So High Bit is believed where the words bear it out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dicom_io.foundation.reasons import ReasonCode, UndecodableError
from dicom_io.pixels.pixel_layout import PixelLayout


def at_the_bottom(words: NDArray[np.generic], layout: PixelLayout) -> tuple[NDArray[np.generic], PixelLayout]:
    """Return samples moved to the lowest bit of their words, and the layout that they have there.

    What stands above them and is no overlay stays above them: it may be a part of the picture.

    Parameters
    ----------
    words
        Unsigned, as allocated, any shape.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``: something lies below the samples that is no overlay, or nothing where only samples that
        end at High Bit can have bits.
    """
    if layout.lowest_bit == 0:
        return words, layout
    whole = words & np.array(((1 << layout.bits_allocated) - 1) & ~layout.overlay_bits, words.dtype)
    below = np.array((1 << layout.lowest_bit) - 1, words.dtype)
    up_to_high_bit = np.array((2 << layout.high_bit) - 1, words.dtype)
    if (whole & below).any() or not ((whole & up_to_high_bit) >> layout.bits_stored).any():
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS,
            f"HighBit {layout.high_bit} with BitsStored {layout.bits_stored}, and the samples do not lie there",
        )
    return whole >> layout.lowest_bit, replace(layout, lowest_bit=0, overlay_bits=0)


def require_lowest_bit(layout: PixelLayout) -> None:
    """Refuse another High Bit of samples that a code stream gives, which begin at the lowest bit anyway.

    Raises
    ------
    UndecodableError
        ``unsupported_pixels``
    """
    if layout.lowest_bit:
        raise UndecodableError(
            ReasonCode.UNSUPPORTED_PIXELS,
            f"HighBit {layout.high_bit} with BitsStored {layout.bits_stored} of a code stream",
        )
