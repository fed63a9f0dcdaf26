"""Our own plain elements as bytes, Explicit VR Little Endian (PS3.5 7.1.2 and 7.5).

pydicom writes any data set there is and asks a hundred questions of every element: 8 ms for a report of six hundred.
Ours hold hardly anything but ASCII, numbers and pixels, which take a tenth of that; an element that is anything else,
or a sequence with anything else in it, is left to pydicom. Tests hold the bytes equal to pydicom's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.valuerep import IS, DSfloat

_SHORT_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "SH", "ST", "TM", "UI"}
_LONG_TEXTS = {"UC", "UR", "UT"}
_BYTES = {"OB", "OW"}
_LARGEST_SHORT = 0xFFFF
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)


class _NotPlain(Exception):
    """An element that pydicom is to write."""


def encode_element(element: DataElement | RawDataElement) -> bytes | None:
    """Return an element with its head, or None where it holds anything but plain ASCII and numbers."""
    try:
        return _element(element)
    except _NotPlain:
        return None


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
    elif representation == "US" and type(element.value) is int and 0 <= element.value <= _LARGEST_SHORT:
        return struct.pack("<HH2sHH", tag >> 16, tag & 0xFFFF, b"US", 2, element.value)
    elif representation in _BYTES and type(element.value) is bytes and not element.is_undefined_length:
        content = element.value + b"\0" * (len(element.value) % 2)
    else:
        raise _NotPlain
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, representation.encode(), 0, len(content)) + content


def _text(value: object, padding: bytes) -> bytes:
    if isinstance(value, str | DSfloat | IS):
        written = str(getattr(value, "original_string", value))
    elif isinstance(value, MultiValue) and all(type(part) is str for part in value):
        written = "\\".join(value)
    elif value is None:
        written = ""
    else:
        raise _NotPlain
    if not written.isascii():
        raise _NotPlain
    content = written.encode("ascii")
    return content + padding if len(content) % 2 else content
