"""Sequences of our own plain items as bytes, Explicit VR Little Endian (PS3.5 7.1.2 and 7.5).

pydicom writes any data set there is and asks a hundred questions of every element: 8 ms for a report of six hundred.
Ours hold nothing but ASCII, decimal strings and doubles, which take a tenth of that; where anything else stands in a
sequence, the whole of it is left to pydicom. Tests hold the bytes equal to pydicom's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import DSfloat

_SHORT_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UI"}
_LONG_TEXTS = {"UC", "UR", "UT"}
_LARGEST_SHORT = 0xFFFF
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)


class _NotPlain(Exception):
    """An element that pydicom is to write."""


def encode_sequence(element: DataElement) -> RawDataElement | None:
    """Return a sequence with its items encoded, or None where they hold anything but plain ASCII and numbers."""
    try:
        content = _items(element.value)
    except _NotPlain:
        return None
    return RawDataElement(element.tag, "SQ", len(content), content, 0, False, True)


def _items(items: Iterable[Dataset]) -> bytes:
    encoded = []
    for item in items:
        content = b"".join([_element(element) for _tag, element in sorted(item.items())])
        encoded += [_ITEM, len(content).to_bytes(4, "little"), content]
    return b"".join(encoded)


def _element(element: DataElement | RawDataElement) -> bytes:
    if not isinstance(element, DataElement):
        raise _NotPlain
    representation, tag = str(element.VR), element.tag
    if representation in _SHORT_TEXTS:
        content = _text(element.value, b"\0" if representation == "UI" else b" ")
        if len(content) > _LARGEST_SHORT:
            raise _NotPlain
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, representation.encode(), len(content)) + content
    if representation == "SQ":
        content = _items(element.value)
    elif representation in _LONG_TEXTS:
        content = _text(element.value, b" ")
    elif representation == "FD" and isinstance(element.value, float):
        return struct.pack("<HH2sHd", tag >> 16, tag & 0xFFFF, b"FD", 8, element.value)
    else:
        raise _NotPlain
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, representation.encode(), 0, len(content)) + content


def _text(value: object, padding: bytes) -> bytes:
    if not isinstance(value, str | DSfloat):
        raise _NotPlain
    written = str(value)
    if not written.isascii():
        raise _NotPlain
    content = written.encode("ascii")
    return content + padding if len(content) % 2 else content
