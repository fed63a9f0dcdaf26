"""Mean and deviation of the grey levels of many pictures, exactly."""

from __future__ import annotations

import numpy as np

from training.data.cache import PictureCache

_CHUNK = 256


def grey_levels(cache: PictureCache, names: tuple[str, ...]) -> tuple[float, float]:
    """Return mean and standard deviation over every pixel of the pictures, levels in 0..1.

    Counted by level, so that the result does not depend on the order or on rounding.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(names), _CHUNK):
        counts += np.bincount(cache.gather(names[start : start + _CHUNK]).ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = float((counts * levels).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))
