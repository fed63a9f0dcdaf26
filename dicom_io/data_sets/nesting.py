"""How many items an encoded data set has and how deep they are nested, before anybody decodes it.

pydicom copies what an item holds once for each level above it, and takes long over an empty item: 60 kB of sequences
within sequences took 6 GB of memory.
"""

from __future__ import annotations

from dicom_io.data_sets.element_head import UNDEFINED_LENGTH, NotADataSetError, TruncatedDataSetError, read_element
from dicom_io.data_sets.encoded import encoding_of

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_FIRST_OF_ITEM = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
ITEM_HEAD_BYTES = 8
_MAY_BE_SEQUENCE = (b"SQ", b"UN", b"")


class TooManyItemsError(ValueError):
    """A data set has more items, or deeper nested ones, than it may."""


def require_few_items(encoded: bytes, transfer_syntax_uid: str, *, most_items: int, deepest: int) -> None:
    """Refuse a data set with more than `most_items` items in all, or items nested in more than `deepest` others.

    Bytes that are no data set are not refused here; whoever decodes them finds out.

    Raises
    ------
    TooManyItemsError
        It has more.
    """
    implicit, little_endian = encoding_of(transfer_syntax_uid)
    ends: list[int] = []  # of the sequences and items around this place; the end of all where theirs is not stated
    position = items = 0
    while len(encoded) - position >= ITEM_HEAD_BYTES:
        while ends and ends[-1] <= position:
            ends.pop()
        try:
            element = read_element(encoded, position, implicit, little_endian)
        except (TruncatedDataSetError, NotADataSetError):
            return
        position = element.value_at
        if element.tag in (_ITEM_END, _SEQUENCE_END):
            if ends:
                ends.pop()
            continue
        stated = element.length_bytes != UNDEFINED_LENGTH
        end = position + element.length_bytes if stated else len(encoded)
        items += element.tag == _ITEM
        if element.tag == _ITEM or _is_sequence(encoded, element.representation, position, stated, little_endian):
            ends.append(end)
        else:
            position = end
        if items > most_items or len(ends) > 2 * deepest:
            raise TooManyItemsError(f"more than {most_items} items, or items nested deeper than {deepest}")


def _is_sequence(encoded: bytes, representation: bytes, position: int, stated: bool, little_endian: bool) -> bool:
    if representation not in _MAY_BE_SEQUENCE:
        return False
    return not stated or encoded[position : position + 4] == _FIRST_OF_ITEM[little_endian]
