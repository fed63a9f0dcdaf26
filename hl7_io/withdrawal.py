"""The message that takes an earlier one of ours back: the same orders and observations, marked wrong (OBX-11 W)."""

from __future__ import annotations

from datetime import datetime

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from hl7_io.reading import Segment, read_message
from hl7_io.segments import InvalidMessageError
from hl7_io.text import escape

_ROUTINE = "R^Routine^HL70485"


def build_withdrawal(content: bytes, message_control_id: str, made_at: datetime, why: str) -> bytes:
    """Return the withdrawal of a message of ours, to the same receiver about the same patient, study and orders.

    OBR-25 is X (no result available), TQ1-9 routine again, every observation W ("post original as wrong, e.g.
    transmitted for wrong patient", table 0085), and a last comment says why.

    Parameters
    ----------
    content
        The earlier message as it was sent.
    made_at
        Aware time.
    why
        Letters that the earlier message's character set lacks become question marks.

    Raises
    ------
    UnreadableError, InvalidMessageError
        The earlier message is damaged.
    """
    message = read_message(content)
    moment = f"{made_at:%Y%m%d%H%M%S%z}"
    why = why.encode(message.codec, "replace").decode(message.codec)
    lines: list[str] = []
    observations = 0
    for segment in message.segments:
        if segment.name in ("ORC", "OBR") and observations:  # the next order begins
            lines.append(_reason(observations + 1, moment, why))
            observations = 0
        changed = {"MSH": {7: moment, 10: message_control_id}, "OBR": {22: moment, 25: "X"}, "TQ1": {9: _ROUTINE}}
        fields = changed.get(segment.name, {})
        if segment.name == "OBX":
            observations += 1
            fields = {14: moment} if segment.text(11) in ("O", "D") else {8: "", 11: "W", 14: moment}
        lines.append(_line(segment, fields))
    lines.append(_reason(observations + 1, moment, why))
    text = "\r".join(lines) + "\r"
    try:
        parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT).validate()
    except HL7apyException as error:
        raise InvalidMessageError(f"the kept message cannot be withdrawn ({type(error).__name__})") from None
    return text.encode(message.codec)


def _line(segment: Segment, changed: dict[int, str]) -> str:
    fields = [changed.get(number, value) for number, value in enumerate(segment.fields)]
    if segment.name == "MSH":
        del fields[1]  # the separator is what joins the others
    return segment.delimiters.field.join(fields)


def _reason(set_id: int, moment: str, why: str) -> str:
    comment = escape(f"WITHDRAWN: {why}")
    return f"OBX|{set_id}|TX|121106^Comment^DCM|{set_id}|{comment}||||||P|||{moment}"
