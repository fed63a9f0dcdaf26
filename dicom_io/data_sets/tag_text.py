"""Values of elements as words that can be compared: upper case, without accents, one space between words."""

from __future__ import annotations

import re
import unicodedata

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_io.data_sets.elements import items
from dicom_io.data_sets.header import PARSE_ERRORS, text

_BETWEEN_WORDS = re.compile(r"[\s_\-.]+")
LONGEST_VALUE = 1024
"""Characters of a value that are looked at; PS3.5 6.2 allows descriptions 64."""


def normalised(value: str) -> str:
    """Return a text so that ``chest_PA``, ``Chest  Pa`` and ``CHEST-PA`` are one, and ``Tórax`` is ``TORAX``."""
    plain = value[:LONGEST_VALUE]
    if not plain.isascii():  # nothing in ASCII has an accent
        plain = "".join(each for each in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(each))
    return _BETWEEN_WORDS.sub(" ", plain.upper()).strip() if plain else ""


def word(header: Dataset, keyword: str) -> str:
    """Return the whole value of an element, normalised; several values joined by a backslash, as DICOM writes them."""
    return normalised(text(header, keyword))


def words(header: Dataset, keyword: str) -> list[str]:
    """Return each value of an element, normalised, empty ones left out; of a sequence its items' codes and meanings."""
    found = [each for item in items(header, keyword) for each in (word(item, "CodeValue"), word(item, "CodeMeaning"))]
    try:
        value = header.get(keyword)
        if isinstance(value, (list, MultiValue)):
            found += [normalised(str(part)) for part in value]
        elif not found:
            found = [word(header, keyword)]
    except PARSE_ERRORS:
        return []
    return [each for each in found if each]
