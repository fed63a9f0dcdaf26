"""Reads what peers negotiate as PS3.8 wants it read, and as devices write it; import it before any association.

pynetdicom 3.0.4 aborts over every sub-item of the user information that it does not know, or finds odd, though nobody
here reads it, over a title that ends as a text of C does, is blank or not ASCII, and over a protocol version with a bit
beside the lowest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_items import UserInformationItem

USUAL_PDU_BYTES = 16_384
"""For a peer that does not say what it takes at a time, as it should (PS3.8 D.1): what every system takes."""
_MAXIMUM_LENGTH, _ROLE_SELECTION = 0x51, 0x54
"""Sub-items of the user information that are read here (PS3.7 D.3.3, PS3.8 D.1)."""
BLANK_TITLE = "(blank)"
"""Stands for a title of nothing but spaces, which PS3.8 9.3.2 does not allow and pynetdicom does not read."""
_LENGTH_ITEM = struct.Struct(">BxHI")
_VERSION = slice(6, 8)
_TITLES = (slice(10, 26), slice(26, 42))
"""Called and calling AE title (PS3.8 9.3.2)."""
_generate_items, _decode_request = UserInformationItem._generate_items, A_ASSOCIATE_RQ.decode


def _items_that_are_read(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Leave out what later editions and other services add; a receiver goes by what it knows."""
    has_length = False
    for kind, item in _generate_items(encoded):
        if kind in (_MAXIMUM_LENGTH, _ROLE_SELECTION):
            has_length = has_length or kind == _MAXIMUM_LENGTH
            yield kind, _even(item) if kind == _MAXIMUM_LENGTH else item
    if not has_length:
        yield _MAXIMUM_LENGTH, _LENGTH_ITEM.pack(_MAXIMUM_LENGTH, 4, USUAL_PDU_BYTES)


def _even(maximum_length: bytes) -> bytes:
    """Return the item with an even length, as fragments must have (PS3.7 F): some archives end over an odd one."""
    if len(maximum_length) != _LENGTH_ITEM.size:
        return maximum_length
    *head, length = _LENGTH_ITEM.unpack(maximum_length)
    return _LENGTH_ITEM.pack(*head, length - length % 2 if length > 1 else length)  # 0 is any length


def _decode_as_meant(self: A_ASSOCIATE_RQ, encoded: bytes) -> None:
    """Read a request whose titles and version are brought into the form that pynetdicom wants."""
    request = bytearray(encoded)
    if request[_VERSION][-1:] and request[_VERSION][-1] & 1:  # PS3.8 9.3.2: only this bit is tested for
        request[_VERSION] = b"\x00\x01"
    for title in _TITLES:
        request[title] = _readable_title(bytes(request[title])).ljust(len(request[title]))
    _decode_request(self, bytes(request))


def _readable_title(title: bytes) -> bytes:
    """Return a title in ASCII (PS3.5 6.2, AE), never a blank one; whoever is configured has one that stays the same."""
    ended = title.partition(b"\0")[0].decode("ascii", "replace").replace("\ufffd", "?").strip()
    return (ended or BLANK_TITLE).encode("ascii")


UserInformationItem._generate_items = staticmethod(_items_that_are_read)  # type: ignore[method-assign,assignment]
A_ASSOCIATE_RQ.decode = _decode_as_meant  # type: ignore[method-assign,assignment]
