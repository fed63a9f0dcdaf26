"""Values of elements as numbers and items, whatever a sender wrote into them (PS3.5 6.2)."""

from __future__ import annotations

import math

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_io.data_sets.header import PARSE_ERRORS, is_absent

MAXIMUM_ITEMS = 64
"""Items of a sequence that are looked at; code and LUT sequences have one to three."""


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the finite values of a numeric element; empty when absent, empty or unreadable.

    Bytes of an unknown or ambiguous representation are read as little-endian 16-bit words, as the pixel attributes are.
    """
    if is_absent(dataset, keyword):
        return ()
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, str):
            parts: list[object] = [part for part in (value or "").split("\\") if part.strip()]
        elif isinstance(value, bytes):
            parts = list(np.frombuffer(value, "<u2"))
        elif isinstance(value, (list, tuple, MultiValue)):
            parts = list(value)
        else:
            parts = [value]
        found = tuple(float(part) for part in parts)  # type: ignore[arg-type] # TypeError is caught
    except PARSE_ERRORS:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def integer(dataset: Dataset, keyword: str, default: int | None) -> int | None:
    """Return the first value of an integer element; `default` when it is absent or empty, None when unreadable."""
    if is_absent(dataset, keyword):
        return default
    found = numbers(dataset, keyword)
    if found:
        return int(found[0]) if found[0] == int(found[0]) else None
    try:
        empty = dataset.get(keyword) in (None, "", b"")
    except PARSE_ERRORS:
        return None
    return default if empty else None


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, at most `MAXIMUM_ITEMS`; none when it is absent, empty or unreadable."""
    if is_absent(dataset, keyword):
        return []
    try:
        value = dataset.get(keyword)
        return list(value[:MAXIMUM_ITEMS]) if isinstance(value, Sequence) else []
    except PARSE_ERRORS:
        return []
