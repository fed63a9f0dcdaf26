"""The response to a C-STORE request that succeeded, encoded directly (PS3.7 9.3.1.2 and E.1, PS3.8 9.3.5).

pynetdicom builds a data set, a message, a primitive and a PDU for it, one from the other; the sender waits meanwhile.
Measured: a sixth of the processor time of receiving a 0.5 MB image. A test holds the bytes equal to pynetdicom's.
"""

from __future__ import annotations

import struct

from dicom_io.associations.data_pdu import data_pdu

_ELEMENT_HEAD = struct.Struct("<HHI")
_LAST_OF_COMMAND = b"\x03"
"""Message control header (PS3.8 E.2)."""
_C_STORE_RESPONSE, _NO_DATA_SET, _SUCCESS = 0x8001, 0x0101, 0x0000


def success_pdu(context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the P-DATA-TF PDU that tells a sender that its object is stored.

    Parameters
    ----------
    message_id
        Of the request, 0..65535.
    sop_class_uid, sop_instance_uid
        As the request named them.
    """
    command = (
        _uid(0x0002, sop_class_uid)
        + _number(0x0100, _C_STORE_RESPONSE)
        + _number(0x0120, message_id)
        + _number(0x0800, _NO_DATA_SET)
        + _number(0x0900, _SUCCESS)
        + _uid(0x1000, sop_instance_uid)
    )
    command = _ELEMENT_HEAD.pack(0, 0x0000, 4) + struct.pack("<I", len(command)) + command
    return data_pdu(context_id, _LAST_OF_COMMAND + command)


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT_HEAD.pack(0, element, len(value)) + value


def _number(element: int, value: int) -> bytes:
    return _ELEMENT_HEAD.pack(0, element, 2) + struct.pack("<H", value)
