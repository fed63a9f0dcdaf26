"""Text in HL7 v2: what has to be escaped, and in which character set a message is written (chapter 2.7, table 0211)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Literal, get_args

CharacterSet = Literal[
    "UNICODE UTF-8", "ASCII", "8859/1", "8859/2", "8859/3", "8859/4", "8859/5", "8859/6", "8859/7", "8859/8", "8859/9",
    "8859/15", "GB 18030-2000",
]  # fmt: skip
"""Values of MSH-18 that we write."""
UTF_8: CharacterSet = "UNICODE UTF-8"

_READ_ONLY = {"ISO IR87": "iso2022_jp", "ISO IR14": "shift_jis", "KS X 1001": "euc_kr", "BIG-5": "big5"}
_WRITTEN = {"UNICODE UTF-8": "utf-8", "ASCII": "ascii", "GB 18030-2000": "gb18030"}
CODECS: Mapping[str, str] = {
    **_READ_ONLY,
    **{name: _WRITTEN.get(name, f"iso{name.replace('/', '-')}") for name in get_args(CharacterSet)},
}
"""Python's codec for each value of MSH-18 that we read; `CharacterSet` names those we write."""

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_MEANT = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
_HEXADECIMAL = re.compile(r"X(?:[0-9A-Fa-f]{2})+")


def escape(text: str) -> str:
    """Return the text as it may stand in a component: delimiters escaped, control characters as spaces, trimmed.

    Done here and completely, because hl7apy takes what looks like an escape sequence in a value for one: a name with
    the five characters ``a\\T\\b`` would come out as ``a&b``. What this returns, hl7apy leaves as it is.
    """
    return "".join(_ESCAPES.get(character, character) for character in plain(text))


def plain(text: str) -> str:
    """Return the text on one line: control characters as spaces, trimmed."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text).strip()


def unescape(text: str, escape_character: str = "\\", meant: Mapping[str, str] = _MEANT) -> str:
    """Return the text that was meant; formatting and unknown sequences are dropped, a lone escape character stays.

    Parameters
    ----------
    meant
        The delimiter each of the letters F, S, T, R and E stands for in this message.
    """
    if not escape_character or escape_character not in text:
        return text
    parts = text.split(escape_character)
    if len(parts) % 2 == 0:  # an opening without its end: taken as it stands
        parts[-2:] = [parts[-2] + escape_character + parts[-1]]
    pieces = [part if number % 2 == 0 else _sequence(part, meant) for number, part in enumerate(parts)]
    return "".join(pieces)


def _sequence(letters: str, meant: Mapping[str, str]) -> str:
    if letters in meant:
        return meant[letters]
    if _HEXADECIMAL.fullmatch(letters):
        return bytes.fromhex(letters[1:]).decode("ascii", "replace")
    return ""


def encoded(message: str, character_set: CharacterSet) -> tuple[bytes, CharacterSet]:
    """Return the message's bytes and the character set they are in: the wanted one, or UTF-8 where it lacks a letter.

    The message must not yet name its character set, or name one of the same length: see `observation_report`.
    """
    try:
        return message.encode(CODECS[character_set]), character_set
    except UnicodeEncodeError:
        return message.encode("utf-8", "replace"), UTF_8
