"""Reading a message that others wrote: bounded, in the character set it names, exactly as it stands.

Not left to hl7apy, which needs a second for twenty thousand separators, rewrites escape sequences it does not know and
has no fields for Z segments: what comes from the network may be hostile, and an identifier must come out as it went in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hl7_io.text import CODECS, UTF_8, CharacterSet, unescape

MAXIMUM_SEGMENTS = 20_000
MAXIMUM_FIELD_CHARACTERS = 1 << 16
"""Longest field that is looked into; reports stand in longer ones, identifiers do not."""
_HEADER_FIELDS = 30
_DELIMITERS_IN_LETTERS = ("BIG-5", "GB 18030-2000", "ISO IR14", "ISO IR87")
"""Values of MSH-18 in which a byte of a letter may be one of ``|^~\\&``: 0x7C in Big5's word for hospital."""


class UnreadableError(ValueError):
    """The bytes are no HL7 v2 message that can be read; the text says why and quotes nothing of it."""


@dataclass(frozen=True)
class Delimiters:
    """What separates the parts of this message (MSH-1 and MSH-2)."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @property
    def meant(self) -> Mapping[str, str]:
        """What the letters of escape sequences stand for."""
        return {"F": self.field, "S": self.component, "T": self.subcomponent, "R": self.repetition, "E": self.escape}


@dataclass(frozen=True)
class Segment:
    """One segment; fields are numbered as in the standard, from 1."""

    name: str
    fields: Sequence[str] = field(repr=False)
    """As received; index 0 is the name."""
    delimiters: Delimiters

    def raw(self, number: int) -> str:
        """Return a field as received; empty when it is absent or too long to be an identifier."""
        value = self.fields[number] if number < len(self.fields) else ""
        return value if len(value) <= MAXIMUM_FIELD_CHARACTERS else ""

    def repetitions(self, number: int) -> list[list[list[str]]]:
        """Return a field's repetitions, each its components, each its subcomponents; unescaped."""
        given = self.delimiters
        return [
            [
                [unescape(part, given.escape, given.meant).strip() for part in component.split(given.subcomponent)]
                for component in repetition.split(given.component)
            ]
            for repetition in self.raw(number).split(given.repetition)
        ]

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Return one part of a field's first repetition, unescaped; empty when absent; ``""`` (null) as empty."""
        return part(self.repetitions(number)[0], component, subcomponent)


@dataclass(frozen=True)
class Message:
    """A message that was read."""

    segments: Sequence[Segment]
    codec: str

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of this name, or None."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[Segment]:
        """Yield the segments of this name in their order."""
        return (segment for segment in self.segments if segment.name == name)


def part(repetition: Sequence[Sequence[str]], component: int, subcomponent: int = 1) -> str:
    """Return one subcomponent of a repetition; empty when absent, and for HL7's null (two quotation marks)."""
    if component > len(repetition) or subcomponent > len(repetition[component - 1]):
        return ""
    value = repetition[component - 1][subcomponent - 1]
    return "" if value == '""' else value


def read_message(content: bytes, default: CharacterSet = UTF_8, *, read_as: CharacterSet | None = None) -> Message:
    """Return the message.

    Parameters
    ----------
    default
        Character set of a message whose MSH-18 is empty.
    read_as
        Read it in this one, whatever MSH-18 says; None: as MSH-18 says.

    Raises
    ------
    UnreadableError
        It does not begin with MSH and five different delimiters, is in a character set we do not know or not in the
        one it names, or has more segments than any message.
    """
    content = content.replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip(b"\r \t")
    if content.count(b"\r") >= MAXIMUM_SEGMENTS:
        raise UnreadableError(f"it has more than {MAXIMUM_SEGMENTS} segments")
    delimiters = _delimiters(content[:9].decode("latin-1"))
    codec = CODECS[read_as] if read_as else _codec(content.split(b"\r", 1)[0], delimiters, default)
    try:
        lines = content.decode(codec).split("\r")
    except UnicodeDecodeError:
        raise UnreadableError(f"its bytes are not in the character set it is said to be in ({codec})") from None
    segments = [_segment(line, delimiters) for line in lines if line.strip()]
    return Message(segments, codec)


def _delimiters(head: str) -> Delimiters:
    if not head.startswith("MSH") or len(head) < 8:
        raise UnreadableError("it does not begin with MSH and its delimiters")
    found = head[3:8]
    if len(set(found)) != len(found) or any(character.isalnum() or character.isspace() for character in found):
        raise UnreadableError("MSH-1 and MSH-2 do not name five different delimiters")
    separator, component, repetition, escape, subcomponent = list(found)
    return Delimiters(separator, component, repetition, escape, subcomponent)


def _codec(header: bytes, delimiters: Delimiters, default: CharacterSet) -> str:
    """Return Python's codec of a message with this MSH.

    MSH-18 names it behind the senders' names, which are written in it: where letters have bytes of delimiters, the
    field is found only by whoever reads them as letters.
    """
    for name in _DELIMITERS_IN_LETTERS:
        if name.encode() in header and name in (names := _named(header, name, delimiters)):
            break
    else:
        names = _named(header, default, delimiters) or [default]
    if unknown := [name for name in names if name not in CODECS]:
        raise UnreadableError(f"it is in {len(unknown)} character sets that are not known here (MSH-18)")
    if "ISO IR87" in names:  # switched to by escape sequences from ASCII
        return CODECS["ISO IR87"]
    return CODECS[names[0]]


def _named(header: bytes, read_as: str, delimiters: Delimiters) -> list[str]:
    """Return what MSH-18 names, read in this character set."""
    fields = header.decode(CODECS[read_as], "replace").split(delimiters.field, _HEADER_FIELDS)
    found = fields[17].split(delimiters.repetition) if len(fields) > 17 else []
    return [name for part in found if (name := part.strip())]


def _segment(line: str, delimiters: Delimiters) -> Segment:
    fields = line.split(delimiters.field)
    if fields[0] == "MSH":  # the separator itself is MSH-1
        fields = ["MSH", delimiters.field, *fields[1:]]
    return Segment(fields[0], fields, delimiters)
