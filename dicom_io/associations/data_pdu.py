"""P-DATA-TF PDUs with one presentation data value, encoded directly (PS3.8 9.3.5).

pynetdicom makes an object of the item and one of the PDU, and copies the value from one into the other.
"""

from __future__ import annotations

import struct

_HEAD, _PDU_HEAD_BYTES, _P_DATA_TF = struct.Struct(">BxIIB"), 6, 4
"""PDU type, its length, that of its only item, context; the length does not count the first six bytes."""


def data_pdu(context_id: int, value: bytes) -> bytes:
    """Return the PDU.

    Parameters
    ----------
    value
        The message control header (PS3.8 E.2), one byte, and what follows it.
    """
    return data_pdu_head(context_id, len(value)) + value


def data_pdu_head(context_id: int, value_bytes: int) -> bytes:
    """Return what stands before the value of the PDU."""
    return _HEAD.pack(_P_DATA_TF, _HEAD.size - _PDU_HEAD_BYTES + value_bytes, 1 + value_bytes, context_id)
