"""C-STORE requests as nearly all senders write them, read directly (PS3.7 9.3.1.1 and E.1).

pynetdicom makes a PDU, a primitive, a message, a data set of pydicom's and another primitive of a request, one from the
other, and looks up which service it belongs to; the sender waits meanwhile. Measured: a sixth of the processor time of
receiving a 0.5 MB image. Whatever is unusual in any way is left to pynetdicom; a test holds both to the same result.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

from pydicom import config
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE, DIMSEPrimitive
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_io.foundation.uids import is_valid_uid
from dicom_io.storing.spool import SpooledDataSet

_ELEMENT_HEAD, _NUMBER = struct.Struct("<HHI"), struct.Struct("<H")
_C_STORE_REQUEST, _NO_DATA_SET = 0x0001, 0x0101
_PRIORITIES = {b"\0\0": 0, b"\1\0": 1, b"\2\0": 2}
_MEDIUM = 0
"""What every other priority is read as; nothing here depends on it."""
_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID, _PRIORITY = 0x0000, 0x0002, 0x0100, 0x0110, 0x0700
_DATA_SET_TYPE, _SOP_INSTANCE, _ORIGINATOR, _ORIGINATOR_MESSAGE_ID = 0x0800, 0x1000, 0x1030, 0x1031
_NEEDED = frozenset({_SOP_CLASS, _FIELD, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE, _SOP_INSTANCE})
_KNOWN = _NEEDED | {_LENGTH, _ORIGINATOR, _ORIGINATOR_MESSAGE_ID}
_NUMBERS = (_FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _ORIGINATOR_MESSAGE_ID)
_AE_TITLE = re.compile(rb"[A-Z0-9_]{1,16}")

PRIVATE_PARTS = (DIMSEPrimitive, C_STORE, uid_to_service_class)
"""What this is written for; reading a message is known to `dicom_io.associations.streaming`."""


class PlainStore(C_STORE):
    """A request that was read here: a valid one, of the storage service."""


class ArrivingStore(C_STORE_RQ):
    """A request whose data set is arriving; stands where pynetdicom keeps the message it is putting together."""

    def __init__(self, request: PlainStore, context_id: int, command: bytes, data_set: SpooledDataSet) -> None:
        self.request = request  # nothing else: pynetdicom's would make the elements of a command set
        self.context_id = context_id
        self.data_set = data_set
        self.encoded_command_set = BytesIO()
        self.encoded_command_set.write(command)
        self._data_set_path = None
        self._data_set_file = None

    def message_to_primitive(self) -> PlainStore:
        """Return the request, with its data set."""
        self.request.DataSet = self.data_set
        self.request._context_id = self.context_id
        return self.request


def plain_request(command: bytes) -> PlainStore | None:
    """Return the request that a whole encoded command set is; None where pynetdicom is to say what it is."""
    values = _values(command)
    if values is None or not _NEEDED <= values.keys() <= _KNOWN:
        return None
    numbers = {number: _NUMBER.unpack(values[number])[0] for number in _NUMBERS if len(values.get(number, b"")) == 2}
    sop_class_uid, sop_instance_uid = _uid(values[_SOP_CLASS]), _uid(values[_SOP_INSTANCE])
    if (
        len(numbers) != len(values.keys() & set(_NUMBERS))
        or numbers[_FIELD] != _C_STORE_REQUEST
        or numbers[_DATA_SET_TYPE] == _NO_DATA_SET
        or not sop_class_uid
        or not sop_instance_uid
        or not is_stored(sop_class_uid)
    ):
        return None
    request = PlainStore()
    request._message_id, request._priority = numbers[_MESSAGE_ID], _PRIORITIES.get(values[_PRIORITY], _MEDIUM)
    request._affected_sop_class_uid = UID(sop_class_uid, config.IGNORE)  # valid as it is: nothing is to be said of it
    request._affected_sop_instance_uid = UID(sop_instance_uid, config.IGNORE)
    request._move_originator_message_id = numbers.get(_ORIGINATOR_MESSAGE_ID)
    if _ORIGINATOR in values:
        title = values[_ORIGINATOR].rstrip(b"\0 ")
        if not _AE_TITLE.fullmatch(title):
            return None
        request.MoveOriginatorApplicationEntityTitle = title.decode("ascii")
    return request


def _values(command: bytes) -> dict[int, bytes] | None:
    """Return the values of group 0000 by element; None where they do not stand in order or do not fit."""
    values: dict[int, bytes] = {}
    position, last = 0, -1
    while position + _ELEMENT_HEAD.size <= len(command):
        group, element, length = _ELEMENT_HEAD.unpack_from(command, position)
        if group or element <= last:
            return None
        position += _ELEMENT_HEAD.size
        values[element] = command[position : position + length]
        position += length
        last = element
    return values if position == len(command) else None


def _uid(value: bytes) -> str:
    """Return a valid UID, or nothing."""
    text = value.removesuffix(b"\0").decode("ascii", "replace")
    return text if is_valid_uid(text) else ""


@lru_cache(maxsize=256)  # what a sender writes there is its own affair: it must not fill the memory
def _service_of(sop_class_uid: str) -> Callable[..., object]:
    return uid_to_service_class(sop_class_uid)


def is_stored(sop_class_uid: str) -> bool:
    """Say whether a class is one of storage by the standard; private ones are not known here."""
    return _service_of(sop_class_uid) is StorageServiceClass
