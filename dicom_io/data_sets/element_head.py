"""The head of an encoded element: tag, value representation, length (PS3.5 7.1); the standard's way, and others'.

Some systems write representations that are none (``??``), that later editions may bring, or ``UN`` with a length of 16
bits. How such a head is to be read is taken from what follows it, and only where there is one way in which the next
element can begin there.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM_GROUP = 0xFFFE
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_LENGTH_REPRESENTATIONS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"),
)
SHORT_LENGTH_REPRESENTATIONS = frozenset(
    (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"),
        *(b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_HEAD = {True: struct.Struct("<HH2sH"), False: struct.Struct(">HH2sH")}
"""Tag, and representation and length where those are stated in short; by whether it is little endian."""
_LENGTH = {True: struct.Struct("<I"), False: struct.Struct(">I")}
_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 12
_SHORT, _LONG, _IMPLICIT = "short", "long", "implicit"
_LOOKED_AHEAD = 64
"""Odd elements in a row after which nobody doubts any more how they are written."""
_UNKNOWN_SHORT, _UNKNOWN_LONG = b"LO", b"UN"
"""What an odd element of a tag that PS3.6 does not know is read as."""


class NotADataSetError(Exception):
    """The bytes do not begin as a DICOM data set does, or an element can be read in more than one way."""


class TruncatedDataSetError(Exception):
    """The bytes end inside an element, or a sequence is never closed."""


class Element(NamedTuple):  # made by the dozen while a sender waits: a frozen dataclass takes six times as long
    """The head of one element."""

    tag: int
    representation: bytes
    """Empty where it is not stated: implicit VR, items and delimiters. Of an odd one what it is to be read as."""
    length_bytes: int
    value_at: int
    """Byte at which its value begins."""
    odd: bool = False
    """Whether another representation is written than this one."""


def read_element(encoded: bytes | memoryview, position: int, implicit: bool, little_endian: bool) -> Element:
    """Return the head of the element at this place.

    Raises
    ------
    TruncatedDataSetError
        The bytes end in it.
    NotADataSetError
        It can be read in more than one way.
    """
    group, number, representation, length_bytes = _HEAD[little_endian].unpack_from(encoded, position)
    tag = group << 16 | number
    if not implicit and group != ITEM_GROUP:
        if representation in SHORT_LENGTH_REPRESENTATIONS:
            return Element(tag, representation, length_bytes, position + _HEAD_BYTES)
        is_long = representation in LONG_LENGTH_REPRESENTATIONS
        if is_long:  # two bytes of zero, then the length; of UN they may be the length of 16 bits of an empty value
            is_odd = length_bytes != 0
            is_odd = is_odd or (representation == b"UN" and not _fits(_LONG, encoded, position, little_endian))
        else:
            is_odd = _is_written(representation)
        if is_odd and (meant := _odd_element(encoded, position, little_endian)):
            return meant
        if is_long:
            return _read(_LONG, encoded, position, little_endian)
    # implicit VR, items and delimiters, and the implicit elements some senders mix into explicit data sets
    return _read(_IMPLICIT, encoded, position, little_endian)


def _is_written(representation: bytes) -> bool:
    """Say whether these may be two characters that somebody wrote for a representation, and not half of a length."""
    return all(0x20 <= character < 0x7F for character in representation)


def _read(how: str, encoded: bytes | memoryview, position: int, little_endian: bool) -> Element:
    group, number, representation, length_bytes = _HEAD[little_endian].unpack_from(encoded, position)
    tag = group << 16 | number
    if how == _SHORT:
        return Element(tag, representation, length_bytes, position + _HEAD_BYTES)
    if how == _IMPLICIT:
        (length_bytes,) = _LENGTH[little_endian].unpack_from(encoded, position + 4)
        return Element(tag, b"", length_bytes, position + _HEAD_BYTES)
    if len(encoded) - position < _LONG_HEAD_BYTES:
        raise TruncatedDataSetError(f"data set of {len(encoded)} bytes ends in the head of an element")
    (length_bytes,) = _LENGTH[little_endian].unpack_from(encoded, position + _HEAD_BYTES)
    return Element(tag, representation, length_bytes, position + _LONG_HEAD_BYTES)


def _odd_element(encoded: bytes | memoryview, position: int, little_endian: bool) -> Element | None:
    """Return an element with an odd head; None where it is no element, or is to be read as if nothing were odd.

    Raises
    ------
    NotADataSetError
        It can be read in more than one way.
    """
    ways = [how for how in (_SHORT, _LONG, _IMPLICIT) if _fits(how, encoded, position, little_endian)]
    if len(ways) > 1:
        raise NotADataSetError(f"the element at byte {position} can be read in more than one way")
    if not ways or ways == [_IMPLICIT]:
        return None
    element = _read(ways[0], encoded, position, little_endian)
    known = LONG_LENGTH_REPRESENTATIONS if ways == [_LONG] else SHORT_LENGTH_REPRESENTATIONS
    if element.representation in known:
        return None
    declared = _declared(element.tag)
    substitute = declared if declared in known else _UNKNOWN_LONG if ways == [_LONG] else _UNKNOWN_SHORT
    return element._replace(representation=substitute, odd=True)


def _fits(how: str, encoded: bytes | memoryview, position: int, little_endian: bool) -> bool:
    """Say whether another element can begin, or the data set or item end, where an element read so ends.

    Elements as odd as this one may come in between; whoever writes them writes them all alike.
    """
    for _ in range(_LOOKED_AHEAD):
        if len(encoded) - position < (_LONG_HEAD_BYTES if how == _LONG else _HEAD_BYTES):
            return False
        element = _read(how, encoded, position, little_endian)
        position = element.value_at + element.length_bytes
        if element.length_bytes == UNDEFINED_LENGTH or position > len(encoded):
            return False
        if len(encoded) - position < _HEAD_BYTES:
            return not any(encoded[position:])
        group, number, representation, length_bytes = _HEAD[little_endian].unpack_from(encoded, position)
        tag = group << 16 | number
        if group == ITEM_GROUP:
            return tag in (ITEM_END, SEQUENCE_END) and not any(encoded[position + 4 : position + _HEAD_BYTES])
        if tag <= element.tag:
            return False
        if representation in SHORT_LENGTH_REPRESENTATIONS:
            return True
        if representation in LONG_LENGTH_REPRESENTATIONS and (how == _LONG or not length_bytes):
            return True
        if how != _IMPLICIT and not _is_written(representation):
            return False
    return True


@lru_cache(maxsize=4096)  # what a sender writes there is its own affair: it must not fill the memory
def _declared(tag: int) -> bytes:
    """Return the representation that PS3.6 gives a tag; nothing of one that it does not know."""
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b""
