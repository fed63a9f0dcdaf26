"""A few pixels that stand for all: what must be known of a picture roughly need not be asked of every pixel."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Value = TypeVar("_Value", bound=np.generic)
PIXELS = 1 << 12
"""At least so many are taken of a picture that has them, and four times as many at most, unless it is but a strip."""


def some_rows(values: NDArray[_Value], rows: int) -> NDArray[_Value]:
    """Return so many rows or a few more, evenly taken and each of them whole, for checks to which neighbours count.

    Parameters
    ----------
    values
        [rows, columns].
    """
    return values[:: max(1, len(values) // rows)]


def evenly_taken(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return every n-th pixel of every n-th row.

    Parameters
    ----------
    values
        [pixels], [rows, columns] or [rows, columns, samples].

    Returns
    -------
    [pixels], or [pixels, samples].
    """
    axes = min(values.ndim, 2)
    pixels = int(np.prod(values.shape[:axes]))
    step = max(1, int((pixels / PIXELS) ** (1 / axes)))
    return values[(slice(None, None, step),) * axes].reshape(-1, *values.shape[axes:])
