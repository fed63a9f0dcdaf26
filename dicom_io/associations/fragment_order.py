"""Takes the fragments of messages in their order, however they are put into PDUs (PS3.8 9.3.5 and annex E).

pynetdicom 3.0.4 drops what follows the end of a message in the same PDU, takes a data set that the command of another
message interrupts for that one's, and a value that is longer than its PDU for one as long as what there is. Import it
before opening or accepting associations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

_VALUE_HEAD = struct.Struct(">IBB")
"""Length of what follows it, presentation context, message control header (PS3.8 9.3.5.1, E.2)."""
_LENGTH_BYTES = 4
_COMMAND = 1


def single_values(primitive: P_DATA) -> Iterator[P_DATA]:
    """Yield the presentation data values of one PDU one by one: each may end a message."""
    if len(primitive.presentation_data_value_list) == 1:
        yield primitive
        return
    for value in primitive.presentation_data_value_list:
        single = P_DATA()
        single.presentation_data_value_list.append(value)
        yield single


def misplaced(message: DIMSEMessage | None, single: P_DATA) -> str | None:
    """Say why a value cannot come now; None where it can.

    Parameters
    ----------
    message
        What came so far of the message that is arriving.
    """
    ((context_id, value),) = single.presentation_data_value_list
    is_command = value[0] & _COMMAND
    awaited_context_id = message.context_id if message is not None else None  # known once the command is whole
    if awaited_context_id is None:
        return None if is_command else "a data set came before its command"
    if is_command:
        return "a message began before the data set of another had ended"
    if context_id != awaited_context_id:
        return f"a data set went on under presentation context {context_id}, not {awaited_context_id}"
    return None


def _whole_values(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield presentation context and value of each item of a P-DATA-TF PDU.

    Raises
    ------
    ValueError
        An item has no control header, or is longer than the PDU; the state machine aborts (PS3.8 table 9-10, AA-8).
    """
    position = 0
    while position < len(encoded):
        if position + _VALUE_HEAD.size > len(encoded):
            raise ValueError("a presentation data value is cut off")
        item_bytes, context_id, _control = _VALUE_HEAD.unpack_from(encoded, position)
        begins_at, ends_at = position + _LENGTH_BYTES + 1, position + _LENGTH_BYTES + item_bytes
        if not begins_at < ends_at <= len(encoded):
            raise ValueError(f"a presentation data value of {item_bytes} bytes is not within its PDU")
        yield context_id, encoded[begins_at:ends_at]
        position = ends_at


P_DATA_TF._generate_items = staticmethod(_whole_values)  # type: ignore[method-assign,assignment]
