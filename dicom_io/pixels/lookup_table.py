"""Tables of a Modality LUT or VOI LUT Sequence, and of palettes, as senders really write them.

PS3.3 C.11.1.1.1, C.11.2.1.1 and C.7.6.3.1.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import numbers
from dicom_io.data_sets.header import PARSE_ERRORS

_BYTE, _WORD = 0xFF, 0xFFFF
MAXIMUM_ENTRIES = 65_536


@dataclass(frozen=True)
class LookupTable:
    """A usable table."""

    entries: NDArray[np.int64]
    """int64 [1..65536], 0..65535."""
    first: int
    """Input that maps to the first entry, as written: 0..65535; a negative one stands here as its complement."""
    bits: int
    """Bits per entry as the descriptor says, not to be trusted."""

    def output(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the entries for these inputs; below the first and above the last entry those two are repeated.

        Parameters
        ----------
        values
            Every input there can be, float64, finite, any shape; they say whether a large `first` is a negative one.
        """
        inputs = np.rint(values)
        index = np.clip(inputs - self._first_among(inputs), 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[index], dtype=np.float64)

    def _first_among(self, inputs: NDArray[np.float64]) -> int:
        """Return the input of the first entry, with a sign where more of the inputs then find an entry of their own.

        The descriptor's representation tells nothing: PS3.3 lets it follow the pixels', though slope and intercept may
        give values without a sign one, and senders write either.
        """
        as_negative = self.first - (_WORD + 1)
        if self.first <= _WORD // 2 or self._covered(inputs, self.first) >= self._covered(inputs, as_negative):
            return self.first
        return as_negative

    def _covered(self, inputs: NDArray[np.float64], first: int) -> int:
        return int(np.count_nonzero((inputs >= first) & (inputs < first + len(self.entries))))

    @property
    def largest_output(self) -> int:
        """Return what stands for white: by the descriptor's bits if the entries agree, else by the entries."""
        largest, announced = int(self.entries.max()), (1 << self.bits) - 1
        if announced // 2 <= largest <= announced:
            return max(announced, 1)
        return max((1 << largest.bit_length()) - 1, 1)


def read_lookup_table(
    item: Dataset, descriptor_keyword: str = "LUTDescriptor", data_keyword: str = "LUTData"
) -> LookupTable | None:
    """Return the table of an item, or None when descriptor or data are missing or cannot be used.

    Fewer entries than announced are used as far as they go; entries of 8 bits packed two to a word are unpacked.
    """
    descriptor = numbers(item, descriptor_keyword)
    if len(descriptor) != 3:
        return None
    announced, first, bits = (int(part) & _WORD for part in descriptor)
    entries = _entries(item, data_keyword, announced or MAXIMUM_ENTRIES, bits)
    return None if entries is None or bits > 16 else LookupTable(entries, first, bits)


def _entries(item: Dataset, keyword: str, announced: int, bits: int) -> NDArray[np.int64] | None:
    try:
        data = item.get(keyword)
        if isinstance(data, bytes):  # OW: in the byte order of the data set
            order = ">" if item.original_encoding[1] is False else "<"
            words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype(np.int64)
        else:
            words = np.atleast_1d(np.asarray([] if data is None else data)).astype(np.int64).ravel() & _WORD
    except PARSE_ERRORS:
        return None
    if bits <= 8 and words.size == (announced + 1) // 2 and words.max(initial=0) > _BYTE:
        words = words.astype("<u2").view(np.uint8).astype(np.int64)
    words = words[:announced]
    return words if words.size else None
