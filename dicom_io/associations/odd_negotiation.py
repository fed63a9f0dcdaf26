"""Reads what peers negotiate as PS3.8 wants it read, and as devices write it; import it before any association.

pynetdicom 3.0.4 aborts over every sub-item of the user information that it does not know, or finds odd, though nobody
here reads it, over a title that ends as a text of C does, is blank or not ASCII, over a protocol version with a bit
beside the lowest, and over presentation contexts with even numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_items import UserInformationItem
from pynetdicom.presentation import PresentationContext

USUAL_PDU_BYTES = 16_384
"""For a peer that does not say what it takes at a time, as it should (PS3.8 D.1): what every system takes."""
_MAXIMUM_LENGTH, _ROLE_SELECTION, _IDENTITY = 0x51, 0x54, 0x58
"""Sub-items of the user information that are read here (PS3.7 D.3.3, PS3.8 D.1)."""
BLANK_TITLE = "(blank)"
"""Stands for a title of nothing but spaces, which PS3.8 9.3.2 does not allow and pynetdicom does not read."""
_LENGTH_ITEM = struct.Struct(">BxHI")
_IDENTITY_HEAD = struct.Struct(">BxHBB")
"""Item type and length, type of the identity, whether a response is wanted (PS3.7 D.3.3.7.1)."""
_IDENTITY_TYPES, _PASSCODE = range(1, 6), 2
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
        elif kind == _IDENTITY and (wanted := _response_wanted(item)):
            yield kind, wanted
    if not has_length:
        yield _MAXIMUM_LENGTH, _LENGTH_ITEM.pack(_MAXIMUM_LENGTH, 4, USUAL_PDU_BYTES)


def _even(maximum_length: bytes) -> bytes:
    """Return the item with an even length, as fragments must have (PS3.7 F): some archives end over an odd one."""
    if len(maximum_length) != _LENGTH_ITEM.size:
        return maximum_length
    *head, length = _LENGTH_ITEM.unpack(maximum_length)
    return _LENGTH_ITEM.pack(*head, length - length % 2 if length > 1 else length)  # 0 is any length


def _response_wanted(identity: bytes) -> bytes:
    """Return a user identity whose sender wants it confirmed, without the user and the passcode; else nothing."""
    if len(identity) < _IDENTITY_HEAD.size:
        return b""
    _kind, _length, identity_type, wanted = _IDENTITY_HEAD.unpack_from(identity)
    if identity_type not in _IDENTITY_TYPES or wanted != 1:
        return b""
    fields = b"\0\1-" + b"\0\0"  # of pynetdicom, the first must not be empty; nobody here reads either
    if identity_type == _PASSCODE:
        fields = b"\0\1-" + b"\0\1-"
    return _IDENTITY_HEAD.pack(_IDENTITY, len(fields) + 2, identity_type, wanted) + fields


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


def _number_of(self: PresentationContext) -> int | None:
    return self._context_id


def _take_any_number(self: PresentationContext, number: int | None) -> None:
    """Take an even number, too: PS3.8 9.3.2.2 wants odd ones, but nothing hangs on it, and dcmtk takes any."""
    self._context_id = number


UserInformationItem._generate_items = staticmethod(_items_that_are_read)  # type: ignore[method-assign,assignment]
A_ASSOCIATE_RQ.decode = _decode_as_meant  # type: ignore[method-assign,assignment]
PresentationContext.context_id = property(_number_of, _take_any_number)  # type: ignore[assignment]
