"""Whether two person names (PS3.5 6.2.1) may be one person's: systems spell a name in many ways.

Not compared: letter case, spacing, punctuation, titles and suffixes, and whatever one of the two leaves out: a middle
name, a part of a double name, a spelling in another script. An initial agrees with the name that it begins. Letters
with accents agree with both ways to write them without (``Müller``, ``Mueller``, ``Muller``), and letters that a system
could not write (``M?ller``) with anything.

Names are compared in the scripts that both have, wherever they stand: sites put ideographs into the first component
group as well as into the second. Where both have ideographs these decide, for many names sound alike.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from dataclasses import dataclass

_LONGEST_CHARACTERS = 256
"""A component group has at most 64 (PS3.5 6.2); of more than this the rest is not looked at."""
_UNKNOWN = "?"
_APOSTROPHES = dict.fromkeys(map(ord, "'`\u00b4\u2018\u2019\u02bc"))
_STRIPPED = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})
_WRITTEN_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_ACCENT = 200
"""Lowest combining class of marks that stand above or below a letter of its own, as accents do."""
_IDEOGRAPHS, _KANA = "CJK", "KATAKANA"
_HIRAGANA_TO_KATAKANA = {ord(chr(code)): chr(code + 0x60) for code in range(0x3041, 0x3097)}

Word = tuple[str, str]
"""One word, its accents stripped and written out."""


@dataclass(frozen=True)
class _Spelling:
    """A name in one script."""

    family: list[Word]
    given: list[Word]
    """Given and middle names: many systems know no difference."""


def names_agree(one: str, other: str) -> bool:
    """Say whether two values of Patient's Name, decoded, may be one person's; an empty one agrees with all."""
    if one == other:
        return True
    ours, theirs = _spellings(one), _spellings(other)
    shared = ours.keys() & theirs.keys()
    if _IDEOGRAPHS in shared:
        shared = {_IDEOGRAPHS}
    return not shared or any(_agree(a, b) for script in shared for a in ours[script] for b in theirs[script])


def _spellings(name: str) -> dict[str, list[_Spelling]]:
    """Return the name by script; what holds no letter is left out."""
    found: dict[str, list[_Spelling]] = defaultdict(list)
    for group in name[: 3 * _LONGEST_CHARACTERS].split("=")[:3]:
        plain = unicodedata.normalize("NFKC", _read_as_utf_8(group[:_LONGEST_CHARACTERS])).casefold()
        plain = plain.translate(_APOSTROPHES).translate(_HIRAGANA_TO_KATAKANA).replace("\ufffd", _UNKNOWN)
        family, *others = plain.split("^")
        spelling = _Spelling(_words(family), _words(" ".join(others[:2])))
        if (script := _script(plain)) is not None and (spelling.family or spelling.given):
            found[script].append(spelling)
    return found


def _read_as_utf_8(text: str) -> str:
    """Return text that was UTF-8 and declared, or taken, to be Latin-1 as what it was."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _script(text: str) -> str | None:
    """Return the script of a name, as Unicode calls it; None where it has no letters."""
    scripts = [unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in text if letter.isalpha()]
    for telling in (_IDEOGRAPHS, _KANA):
        if telling in scripts:
            return telling
    return scripts[0] if scripts else None


def _words(text: str) -> list[Word]:
    parts = "".join(sign if sign == _UNKNOWN or _is_of_word(sign) else " " for sign in text).split()
    return [(_stripped(part), _stripped(part.translate(_WRITTEN_OUT))) for part in parts]


def _is_of_word(sign: str) -> bool:
    """Say whether it is a letter, a mark such as the vowels of Thai and Devanagari, or a digit."""
    return unicodedata.category(sign)[0] in "LMN"


def _stripped(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.translate(_STRIPPED))
    return "".join(letter for letter in letters if unicodedata.combining(letter) < _ACCENT)


def _agree(one: _Spelling, other: _Spelling) -> bool:
    if _parts_agree(one.family, other.family) and _parts_agree(one.given, other.given):
        return True
    return _is_shortened([*one.family, *one.given], [*other.family, *other.given])


def _parts_agree(one: list[Word], other: list[Word]) -> bool:
    return _same_word(_joined(one), _joined(other)) or _is_shortened(one, other)


def _joined(words: list[Word]) -> Word:
    return "".join(word[0] for word in words), "".join(word[1] for word in words)


def _is_shortened(one: list[Word], other: list[Word]) -> bool:
    """Say whether each word of the name with fewer words stands for one of the other's, in any order."""
    fewer, left = sorted((one, list(other)), key=len)
    left = list(left)
    unmatched = []
    for word in fewer:  # words in full before initials, which might stand for several
        if (same := next((each for each in left if _same_word(word, each)), None)) is not None:
            left.remove(same)
        else:
            unmatched.append(word)
    for word in unmatched:
        match = next((each for each in left if _stands_for(word[0], each[0]) or _stands_for(each[0], word[0])), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_word(one: Word, other: Word) -> bool:
    return not {*one}.isdisjoint(other)


def _stands_for(short: str, word: str) -> bool:
    """Say whether `short` is an initial of the word, or the word with letters that could not be written."""
    if _UNKNOWN in short:
        begin, end = short[: short.index(_UNKNOWN)], short[short.rindex(_UNKNOWN) + 1 :]
        return len(word) > len(begin) + len(end) and word.startswith(begin) and word.endswith(end)
    return len(short) == 1 and short != short.upper() and word.startswith(short)
