"""Which characters a term of Specific Character Set stands for (PS3.3 C.12.1.1.2), where pydicom 3.0 does not know.

It lacks Latin alphabet No. 9, reads and writes GB 2312 (PS3.5 annex K) without its escape sequences, and takes what is
no term for the name of a codec of Python: with ``hex`` a patient has no name, with ``unicode_escape`` another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom import charset

_LATIN_9, _GB_2312 = "iso8859_15", "iso_ir_58"
"""Python's names."""
_SWITCH_TO_LATIN_9 = charset.ESC + b"-b"
_KNOWN = charset.python_encoding | {"ISO_IR 203": _LATIN_9, "ISO 2022 IR 203": _LATIN_9}
DEFINED_TERMS = frozenset(_KNOWN) - {"", "ISO 2022 58", "ISO 2022 GBK"}
"""Those of PS3.3 tables C.12-2 to C.12-5, and ``ISO_IR 6``, which many write for the default."""
_PARTS_OF_ISO_8859 = {
    1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203,
}  # fmt: skip
"""Their numbers in the register of ISO-IR."""
_WITH_ESCAPES, _WITHOUT = "ISO2022IR", "ISOIR"
_NO_PART_OF_A_TERM = re.compile(r"[^A-Z0-9]")
_LONGEST_TERM = 16
"""Characters of a Code String (PS3.5 6.2)."""


def _squeezed(term: str) -> str:
    return _NO_PART_OF_A_TERM.sub("", term[:_LONGEST_TERM].upper())


_SPELLED = {_squeezed(term): term for term in DEFINED_TERMS} | {"UTF8": "ISO_IR 192"}


class _Terms(dict[str, str]):
    """pydicom's table of Python's codecs by term; what it asks beyond it is misspelt, or means the default."""

    def __init__(self) -> None:
        super().__init__(_KNOWN)
        defined = {_squeezed(term): codec for term, codec in _KNOWN.items()}
        parts = {f"ISO8859{part}": _KNOWN[f"ISO_IR {number}"] for part, number in _PARTS_OF_ISO_8859.items()}
        bare = {term.replace(_WITH_ESCAPES, _WITHOUT): codec for term, codec in defined.items()}
        self._meant = {**parts, "UTF8": _KNOWN["ISO_IR 192"], "GB2312": _GB_2312, **bare, **defined}
        self._codecs = frozenset(_KNOWN.values())

    def __missing__(self, term: str) -> str:
        if term in self._codecs:  # pydicom asks again with what it was answered
            return term
        return self._meant.get(_squeezed(term), charset.default_encoding)


def as_defined(terms: Sequence[str]) -> list[str] | None:
    """Return values of Specific Character Set in the spelling of the standard, the first of several perhaps empty.

    None where one of them is no term, however it is spelled.
    """
    meant = [_SPELLED.get(_squeezed(term)) if term or place else "" for place, term in enumerate(terms)]
    return None if None in meant else [term for term in meant if term is not None]


def teach_pydicom() -> None:
    """Have pydicom read and write what it lacks, for the whole process."""
    charset.python_encoding = _Terms()
    charset.CODES_TO_ENCODINGS[_SWITCH_TO_LATIN_9] = _LATIN_9
    charset.ENCODINGS_TO_CODES[_LATIN_9] = _SWITCH_TO_LATIN_9
    themselves = tuple(each for each in charset.handled_encodings if each != _GB_2312)
    charset.handled_encodings = themselves  # type: ignore[assignment] # its type says three
