"""Reads what peers negotiate as PS3.8 wants it read, and as devices write it; import it before any association.

pynetdicom 3.0.4 aborts over every sub-item of the user information that it does not know, or finds odd, though nobody
here reads it, over a title that ends as a text of C does, and over a protocol version with a bit beside the lowest.
"""

from __future__ import annotations

from collections.abc import Iterator

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_items import UserInformationItem

_MAXIMUM_LENGTH, _ROLE_SELECTION = 0x51, 0x54
"""Sub-items of the user information that are read here (PS3.7 D.3.3, PS3.8 D.1)."""
_VERSION = slice(6, 8)
_TITLES = (slice(10, 26), slice(26, 42))
"""Called and calling AE title (PS3.8 9.3.2)."""
_generate_items, _decode_request = UserInformationItem._generate_items, A_ASSOCIATE_RQ.decode


def _items_that_are_read(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Leave out what later editions and other services add; a receiver goes by what it knows."""
    for kind, item in _generate_items(encoded):
        if kind in (_MAXIMUM_LENGTH, _ROLE_SELECTION):
            yield kind, item


def _decode_as_meant(self: A_ASSOCIATE_RQ, encoded: bytes) -> None:
    """Read a request whose titles and version are brought into the form that pynetdicom wants."""
    request = bytearray(encoded)
    if request[_VERSION][-1:] and request[_VERSION][-1] & 1:  # PS3.8 9.3.2: only this bit is tested for
        request[_VERSION] = b"\x00\x01"
    for title in _TITLES:
        request[title] = bytes(request[title]).partition(b"\0")[0].ljust(len(request[title]))
    _decode_request(self, bytes(request))


UserInformationItem._generate_items = staticmethod(_items_that_are_read)  # type: ignore[method-assign,assignment]
A_ASSOCIATE_RQ.decode = _decode_as_meant  # type: ignore[method-assign,assignment]
