"""Is an encoded data set whole? Walks the elements without decoding a single value (PS3.5 chapter 7 and A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_GE_PRIVATE_IMPLICIT = "1.2.840.113619.5.2"
UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM_GROUP = 0xFFFE
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
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
MAXIMUM_NESTING = 64
"""Sequences inside sequences; real objects stay below ten."""
LAST_GROUP_OF_IDENTITY = 0x0008


class NotADataSetError(Exception):
    """The bytes do not begin as a DICOM data set does."""


class TruncatedDataSetError(Exception):
    """The bytes end inside an element, or a sequence is never closed."""


class Element(NamedTuple):  # made by the dozen while a sender waits: a frozen dataclass takes six times as long
    """The head of one element."""

    tag: int
    representation: bytes
    """Empty where it is not stated: implicit VR, items and delimiters."""
    length_bytes: int
    value_at: int
    """Byte at which its value begins."""


class Span(NamedTuple):
    """One element of a data set itself, not of an item in it: bytes ``start`` to ``end`` hold it with its head."""

    tag: int
    start: int
    end: int


def require_complete(encoded: bytes | memoryview, *, implicit: bool, little_endian: bool) -> None:
    """Raise unless `encoded` is a run of whole elements.

    Raises
    ------
    NotADataSetError, TruncatedDataSetError
        See `spans`.
    """
    for _span in spans(encoded, implicit=implicit, little_endian=little_endian):
        pass


def spans(encoded: bytes | memoryview, *, implicit: bool, little_endian: bool, first: int = 0) -> Iterator[Span]:
    """Yield where each element stands, in the order of the bytes; the last one may reach beyond their end.

    What stands before byte `first` was looked at already. Up to seven zero bytes after the last element are tolerated
    (some senders pad their fragments).

    Raises
    ------
    NotADataSetError
        The first element does not belong to groups 0001 to 0008, where SOP Class and Instance UID stand.
    TruncatedDataSetError
        At the end: an element reaches beyond it, nesting is never closed or deeper than `MAXIMUM_NESTING`.
    """
    syntax = [(implicit, little_endian)]  # innermost last; UN of undefined length holds Implicit VR Little Endian
    position = first
    tag = start = 0
    while len(encoded) - position >= 8:
        element = read_element(encoded, position, *syntax[-1])
        if position == 0 and not 0 < element.tag >> 16 <= LAST_GROUP_OF_IDENTITY:
            raise NotADataSetError(f"data set begins with element {element.tag:08X}; expected group 0008")
        if len(syntax) == 1:
            tag, start = element.tag, position
        position = element.value_at
        if element.tag in (_ITEM_END, _SEQUENCE_END):
            if len(syntax) == 1:
                raise TruncatedDataSetError(f"a sequence ends at byte {position} that never began")
            syntax.pop()
        elif element.length_bytes == UNDEFINED_LENGTH:
            if len(syntax) > MAXIMUM_NESTING:
                raise TruncatedDataSetError(f"sequences nested deeper than {MAXIMUM_NESTING} at byte {position}")
            syntax.append((True, True) if element.representation == b"UN" else syntax[-1])
        else:
            position += element.length_bytes
        if len(syntax) == 1:
            yield Span(tag, start, position)
    if position > len(encoded) or len(syntax) > 1 or any(encoded[position:]):
        raise TruncatedDataSetError(f"data set of {len(encoded)} bytes ends inside an element; it was cut short")


def encoding_of(transfer_syntax_uid: str) -> tuple[bool, bool]:
    """Return whether data sets of a transfer syntax, inflated, are in Implicit VR, and whether in little endian."""
    implicit = transfer_syntax_uid in (IMPLICIT_VR_LITTLE_ENDIAN, _GE_PRIVATE_IMPLICIT)
    return implicit, transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN


def read_element(encoded: bytes | memoryview, position: int, implicit: bool, little_endian: bool) -> Element:
    """Return the head of the element at this place.

    Raises
    ------
    TruncatedDataSetError
        The bytes end in it.
    """
    group, number, representation, length_bytes = _HEAD[little_endian].unpack_from(encoded, position)
    tag = group << 16 | number
    if not implicit and group != _ITEM_GROUP:
        if representation in SHORT_LENGTH_REPRESENTATIONS:
            return Element(tag, representation, length_bytes, position + 8)
        if representation in LONG_LENGTH_REPRESENTATIONS:
            if len(encoded) - position < 12:
                raise TruncatedDataSetError(f"data set of {len(encoded)} bytes ends in the head of an element")
            (length_bytes,) = _LENGTH[little_endian].unpack_from(encoded, position + 8)
            return Element(tag, representation, length_bytes, position + 12)
    # implicit VR, items and delimiters, and the implicit elements some senders mix into explicit data sets
    (length_bytes,) = _LENGTH[little_endian].unpack_from(encoded, position + 4)
    return Element(tag, b"", length_bytes, position + 8)
