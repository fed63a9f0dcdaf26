"""Is an encoded data set whole? Walks the elements without decoding a single value (PS3.5 chapter 7 and A.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dicom_io.data_sets.element_head import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    NotADataSetError,
    TruncatedDataSetError,
    read_element,
)

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_GE_PRIVATE_IMPLICIT = "1.2.840.113619.5.2"
MAXIMUM_NESTING = 64
"""Sequences inside sequences; real objects stay below ten."""
MOST_ODD = 4096
"""Elements with another representation than they are to be read as; each costs some memory."""
LAST_GROUP_OF_IDENTITY = 0x0008
_TAG_BYTES = 4
_AFTER_FRAGMENT = (b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0")
"""Tags of an item and of a sequence's end, in the little endian that alone holds fragments (PS3.5 A.4)."""


class Span(NamedTuple):
    """One element of a data set itself, not of an item in it: bytes ``start`` to ``end`` hold it with its head."""

    tag: int
    start: int
    end: int


class Odd(NamedTuple):
    """An element with another value representation than it is to be read as."""

    written_at: int
    """Byte at which that stands."""
    representation: bytes
    """What it is to be read as; its length is written as that wants it."""


def with_known_representations(part: bytes | memoryview, odd: list[Odd], starts_at: int = 0) -> bytes | memoryview:
    """Return a part of a data set, from byte ``starts_at`` of it on, with the representations that are to be read."""
    inside = [each for each in odd if starts_at <= each.written_at < starts_at + len(part)]
    if not inside:
        return part
    changed = bytearray(part)
    for written_at, representation in inside:
        place = written_at - starts_at
        changed[place : place + len(representation)] = representation
    return bytes(changed)


def spans(
    encoded: bytes | memoryview, *, implicit: bool, little_endian: bool, first: int = 0, odd: list[Odd] | None = None
) -> Iterator[Span]:
    """Yield where each element stands, in the order of the bytes; the last one may reach beyond their end.

    What stands before byte `first` was looked at already. Up to seven zero bytes after the last element are tolerated
    (some senders pad their fragments).

    Parameters
    ----------
    odd
        Gets the elements, those of items included, that pydicom would not read as they are meant.

    Raises
    ------
    NotADataSetError
        The first element does not belong to groups 0001 to 0008, where SOP Class and Instance UID stand, or one can be
        read in more than one way, or more than `MOST_ODD` are odd.
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
        if element.odd and odd is not None:
            _note(odd, Odd(position + _TAG_BYTES, element.representation))
        position = element.value_at
        if element.tag in (ITEM_END, SEQUENCE_END):
            if len(syntax) == 1:
                raise TruncatedDataSetError(f"a sequence ends at byte {position} that never began")
            syntax.pop()
        elif element.length_bytes == UNDEFINED_LENGTH:
            if len(syntax) > 2 * MAXIMUM_NESTING:  # a sequence and its item count one each
                raise TruncatedDataSetError(f"sequences nested deeper than {MAXIMUM_NESTING} at byte {position}")
            syntax.append((True, True) if element.representation == b"UN" else syntax[-1])
        elif element.tag == ITEM:
            position = fragment_end(encoded, position, element.length_bytes)
        else:
            position += element.length_bytes
        if len(syntax) == 1:
            yield Span(tag, start, position)
    if position > len(encoded) or len(syntax) > 1 or any(encoded[position:]):
        raise TruncatedDataSetError(f"data set of {len(encoded)} bytes ends inside an element; it was cut short")


def fragment_end(encoded: bytes | memoryview, value_at: int, length_bytes: int) -> int:
    """Return the byte at which a fragment, or an item of stated length, ends.

    PS3.5 A.4 forbids fragments of odd length; some senders write them, and leave the byte behind them that makes them
    even out of the length. It counts as part of the fragment where an item or the end of the sequence begins after it.
    """
    end = value_at + length_bytes
    is_padded = bool(length_bytes % 2) and encoded[end : end + _TAG_BYTES] not in _AFTER_FRAGMENT
    return end + (is_padded and encoded[end + 1 : end + 1 + _TAG_BYTES] in _AFTER_FRAGMENT)


def _note(odd: list[Odd], found: Odd) -> None:
    if len(odd) == MOST_ODD:
        raise NotADataSetError(f"more than {MOST_ODD} elements have no known value representation")
    odd.append(found)


def encoding_of(transfer_syntax_uid: str) -> tuple[bool, bool]:
    """Return whether data sets of a transfer syntax, inflated, are in Implicit VR, and whether in little endian."""
    implicit = transfer_syntax_uid in (IMPLICIT_VR_LITTLE_ENDIAN, _GE_PRIVATE_IMPLICIT)
    return implicit, transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
