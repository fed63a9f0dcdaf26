"""Segments filled field by field and checked by hl7apy against the grammar of HL7 v2.5.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException

VERSION = "2.5.1"
Fields = Mapping[int, str | Sequence[str]]
"""Field number -> its value in ER7 form, escaped; several values are repetitions. Empty ones are left out."""


class InvalidMessageError(ValueError):
    """A message breaks the grammar of HL7 v2.5.1; the text names the place, never a value."""


def new_message(structure: str, header: Fields) -> Any:
    """Return a message of a structure such as ``ORU_R01`` with its MSH filled.

    Built tolerantly and validated as a whole (`er7`): the strict way also enforces v2.5.1's lengths, 20 characters for
    an issuer that DICOM gives 64, and an identifier is never cut.
    """
    message = Message(structure, version=VERSION, validation_level=VALIDATION_LEVEL.TOLERANT)
    fill(message.msh, {12: VERSION, **header})
    return message


def add_segment(parent: Any, name: str, fields: Fields) -> None:
    """Add a segment to a message or group and fill it."""
    fill(parent.add_segment(name), fields)


def fill(segment: Any, fields: Fields) -> None:
    """Set the fields of a segment.

    Raises
    ------
    InvalidMessageError
        A value is not of its field's data type.
    """
    for number, value in sorted(fields.items()):
        for repetition in [value] if isinstance(value, str) else value:
            if repetition:
                _set(segment, number, repetition)


def _set(segment: Any, number: int, value: str) -> None:
    name = f"{segment.name}_{number}".lower()
    try:
        if segment.name == "MSH" and len(getattr(segment, name)) > 0:
            setattr(segment, name, value)
        else:
            segment.add_field(name).value = value
    except HL7apyException as error:  # its text quotes the value
        raise InvalidMessageError(f"{segment.name}-{number} cannot hold its value ({type(error).__name__})") from None


def er7(message: Any) -> str:
    """Return the message as text, each segment ended by a carriage return.

    Raises
    ------
    InvalidMessageError
        A segment or field that must stand in it is missing, or stands there too often.
    """
    try:
        message.validate()
    except HL7apyException as error:
        raise InvalidMessageError(f"the {message.name} message breaks the grammar ({type(error).__name__})") from None
    return str(message.to_er7()) + "\r"
