"""Padding: values that are no part of the picture (PS3.3 C.7.5.1.1.2), also those that Bits Stored has no room for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import numbers
from dicom_io.pixels.pixel_layout import PixelLayout
from dicom_io.pixels.sampling import evenly_taken

_WORD_VALUES = 1 << 16
_ALL = 0.995
"""Share of the pixels above which padding leaves no picture."""


def stored_padding(layout: PixelLayout, dataset: Dataset) -> tuple[int, int] | None:
    """Return first and last stored value that is padding; one written with the wrong sign is what it must mean.

    A value beyond BitsStored is no stored value and so marks none; see `padding_above`.
    """
    ends = _ends(dataset)
    if ends is None:
        return None
    first, last = sorted(_as_stored(end, layout) for end in ends)
    return first, last


def hides_all(codes: NDArray[np.generic], padded: NDArray[np.bool_]) -> bool:
    """Say whether padding would leave next to nothing of a picture: then its value or range is wrong.

    Parameters
    ----------
    codes
        uint8 or uint16, any shape.
    padded
        bool, for each possible code.
    """
    return float(np.mean(padded[evenly_taken(codes)])) > _ALL


def padding_above(values: NDArray[np.generic], layout: PixelLayout, dataset: Dataset) -> NDArray[np.bool_] | None:
    """Return where padding stands whose value is beyond the stored ones, as devices write it around a picture.

    Parameters
    ----------
    values
        Unsigned, as allocated, with their upper bits.

    Returns
    -------
    bool [rows, columns] or None
        None: there is no such padding, or nothing else.
    """
    ends = _ends(dataset)
    if ends is None:
        return None
    word = np.dtype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
    first, last = np.sort(np.array([end % (1 << layout.bits_allocated) for end in ends], values.dtype).view(word))
    lowest = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
    if lowest <= first and last < lowest + (1 << layout.bits_stored):
        return None
    whole = values.view(word)
    marked = (whole >= first) & (whole <= last)
    return marked if marked.any() and not marked.all() else None


def _ends(dataset: Dataset) -> tuple[int, int] | None:
    value, limit = numbers(dataset, "PixelPaddingValue"), numbers(dataset, "PixelPaddingRangeLimit")
    if len(value) != 1:
        return None
    return int(value[0]), int(limit[0] if len(limit) == 1 else value[0])


def _as_stored(value: int, layout: PixelLayout) -> int:
    if not layout.signed:
        return value + _WORD_VALUES if value < 0 else value
    half = 1 << (layout.bits_stored - 1)
    if half <= value < 2 * half:
        return value - 2 * half
    return value - _WORD_VALUES if value >= _WORD_VALUES // 2 else value
