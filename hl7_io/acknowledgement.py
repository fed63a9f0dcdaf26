"""Acknowledgements (HL7 v2.5.1 chapter 2.9): what a receiver answered us, and what we answer a sender."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from hl7_io.reading import Message, UnreadableError, part, read_message
from hl7_io.segments import add_segment, er7, new_message
from hl7_io.text import escape

ACCEPTED = frozenset({"AA", "CA"})
"""Application accept, and commit accept of the enhanced mode: the receiver has the message safe."""
REFUSED = frozenset({"AE", "AR", "CE", "CR"})
LONGEST_DESIGNATOR = 227
"""MSH-3 to MSH-6 in v2.5.1."""
LONGEST_CONTROL_ID = 64
"""MSH-10 is 20 characters in v2.5.1 and 199 in v2.7; what senders use, UUIDs at most, is shorter than this."""
_CODE = re.compile(r"[A-Za-z0-9]{1,20}")


@dataclass(frozen=True)
class Acknowledgement:
    """A receiver's word on one message."""

    code: str
    """MSA-1: AA, AE, AR, CA, CE or CR."""
    error_code: str
    """ERR-3 (HL7 table 0357), such as 101; empty where none is given."""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.code in ACCEPTED

    @property
    def words(self) -> str:
        """The answer in a few words, without free text, which may quote the patient."""
        return f"{self.code}, error {self.error_code}" if self.error_code else self.code


class AnswerError(ValueError):
    """The answer is no acknowledgement of the message that was sent."""


def read_acknowledgement(content: bytes, control_id: str) -> Acknowledgement:
    """Return what was answered to the message with this MSH-10.

    Raises
    ------
    AnswerError
        It is unreadable, has no MSA, an unknown code, or acknowledges another message.
    """
    try:
        message = read_message(content)
    except UnreadableError as error:
        try:  # many receivers answer in another character set than they say, or misspell it; codes and ids are ASCII
            message = read_message(content, read_as="8859/1")
        except UnreadableError:
            raise AnswerError(f"the answer is no HL7 message: {error}") from None
    answer = message.first("MSA")
    if answer is None:
        raise AnswerError("the answer has no MSA segment")
    code = answer.text(1)
    if code not in ACCEPTED | REFUSED:
        raise AnswerError("the answer has no known acknowledgement code (MSA-1)")
    if answer.text(2) != control_id:
        raise AnswerError("the answer acknowledges another message (MSA-2)")
    return Acknowledgement(code, _error_code(message))


def acknowledged_id(content: bytes) -> str:
    """Return the MSH-10 of the message that an answer is about (MSA-2); empty where it does not say."""
    try:
        answer = read_message(content, read_as="8859/1").first("MSA")
    except UnreadableError:
        return ""
    return answer.text(2) if answer is not None else ""


def _error_code(message: Message) -> str:
    error = message.first("ERR")
    found = error.text(3) if error else ""
    return found if _CODE.fullmatch(found) else ""


@dataclass(frozen=True)
class Answer:
    """What we answer to one message."""

    code: str
    """AA, AE, AR, or CA, CE, CR to a sender that asks for the enhanced mode."""
    error_code: str = ""
    """HL7 table 0357; empty when accepted."""
    error_text: str = ""
    """A few words, never a value of the message."""


def build_acknowledgement(answer: Answer, message: Message | None, message_control_id: str, made_at: datetime) -> bytes:
    """Return the ACK of a message in its own character set, sent back to where it came from.

    Parameters
    ----------
    message
        None when it could not be read; its control id is then unknown and MSA-2 is HL7's null.
    """
    header = message.header if message else None
    trigger = header.text(9, 2) if header else ""
    fields = {
        3: _echo(message, 5),
        4: _echo(message, 6),
        5: _echo(message, 3),
        6: _echo(message, 4),
        7: f"{made_at:%Y%m%d%H%M%S%z}",
        9: f"ACK^{escape(trigger)}^ACK" if trigger else "ACK",
        10: message_control_id,
        11: header.text(11) if header and header.text(11) in ("P", "T", "D") else "P",
        18: [escape(part(name, 1)) for name in header.repetitions(18)] if header else "",
    }
    acknowledgement = new_message("ACK", fields)
    acknowledged = escape(header.text(10)[:LONGEST_CONTROL_ID]) if header else ""
    add_segment(acknowledgement, "MSA", {1: answer.code, 2: acknowledged or '""'})
    if answer.error_code:
        error = {3: f"{answer.error_code}^{escape(answer.error_text)}^HL70357", 4: "E"}
        add_segment(acknowledgement, "ERR", error)
    return er7(acknowledgement).encode(message.codec if message else "ascii", "replace")


def _echo(message: Message | None, number: int) -> str:
    if message is None:
        return ""
    designator = "^".join(escape("&".join(component)) for component in message.header.repetitions(number)[0][:3])
    return designator if len(designator) <= LONGEST_DESIGNATOR else ""
