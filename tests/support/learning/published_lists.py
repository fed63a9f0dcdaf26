"""The real lists of ChestX-ray14, which take seconds to read, once for a process."""

from __future__ import annotations

from functools import lru_cache

from samples import shared

from training.data.chestxray14 import read_layout
from training.data.radiographs import LabelledRadiographs


@lru_cache(maxsize=1)
def published_radiographs() -> LabelledRadiographs:
    """Return all 112,120 rows as they were published; nobody changes them."""
    return read_layout(shared("data/nih_metadata"))
