"""The elements of a header as nearly all senders write it, taken apart in one pass (PS3.5 7.1.2).

pydicom asks of every element what only few are: deferred, of undefined length, without a representation. Measured: its
way takes twice as long, and the walk that shows the data set to be whole (`dicom_io.data_sets.encoded`) goes over the
same elements once more. Whatever is unusual in any way is left to both; a test holds the results equal.
"""

from __future__ import annotations

import struct
from collections.abc import MutableSequence
from functools import lru_cache

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_io.data_sets.element_head import (
    LONG_LENGTH_REPRESENTATIONS,
    SHORT_LENGTH_REPRESENTATIONS,
    UNDEFINED_LENGTH,
)
from dicom_io.data_sets.encoded import LAST_GROUP_OF_IDENTITY

LONGEST_HEAD_BYTES = 1 << 16
_HEAD, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<I")
_SHORT = {encoded: encoded.decode("ascii") for encoded in SHORT_LENGTH_REPRESENTATIONS}
_LONG = {encoded: encoded.decode("ascii") for encoded in LONG_LENGTH_REPRESENTATIONS}
_CHARACTER_SET = 0x00080005


def plain_header(encoded: bytes | memoryview, last_tag: int) -> tuple[Dataset, int] | None:
    """Return the elements up to `last_tag` of a data set in Explicit VR Little Endian, and the byte they end at.

    None where pydicom is to read it: elements out of order, of undefined length or without a known representation,
    bytes that end inside one, a header longer than `LONGEST_HEAD_BYTES`, or no data set at all.
    """
    head = bytes(encoded[:LONGEST_HEAD_BYTES])
    elements: dict[BaseTag, RawDataElement] = {}
    position, last = 0, 0xFFFF  # group 0000 has no place in a data set
    while position < len(encoded):
        if len(head) - position < _HEAD.size + _LENGTH.size:
            return None
        group, number, encoded_representation, length = _HEAD.unpack_from(head, position)
        tag = group << 16 | number
        if tag > last_tag:
            break
        value_at = position + _HEAD.size
        representation = _SHORT.get(encoded_representation)
        if representation is None:
            representation = None if length else _LONG.get(encoded_representation)  # there are two bytes of zero
            (length,) = _LENGTH.unpack_from(head, value_at)
            value_at += _LENGTH.size
        position = value_at + length
        if representation is None or length == UNDEFINED_LENGTH or position > len(head) or tag <= last:
            return None
        last, known = tag, interned_tag(tag)
        value = head[value_at:position] if length else empty_value_for_VR(representation, raw=True)
        elements[known] = RawDataElement(known, representation, length, value, value_at, False, True)  # type: ignore[arg-type] # as pydicom does
    if not elements or next(iter(elements)) >> 16 > LAST_GROUP_OF_IDENTITY:
        return None
    stated = elements.get(interned_tag(_CHARACTER_SET))
    encodings = _encodings(stated) if stated is None or stated.VR == "CS" else None
    if encodings is None:
        return None
    header = Dataset(elements)  # type: ignore[arg-type] # takes raw elements as well
    header.set_original_encoding(False, True, encodings if isinstance(encodings, str) else list(encodings))
    return header, position


@lru_cache(maxsize=64)  # what a sender writes there is its own affair: it must not fill the memory
def _encodings(character_set: RawDataElement | None) -> MutableSequence[str] | str | None:
    """Return Python's names of the character sets; None where pydicom cannot say."""
    if character_set is None:
        return default_encoding
    try:
        return convert_encodings(convert_raw_data_element(character_set).value)
    except (ValueError, LookupError):
        return None


@lru_cache(maxsize=4096)
def interned_tag(number: int) -> BaseTag:
    """Return the tag; mostly the same object for the same number, which is found in a dictionary without comparing."""
    return BaseTag(number)
