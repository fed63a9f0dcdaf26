"""The character set a result is written in: its source's own, so that an archive finds the very same bytes.

Our own words are ASCII, which every character set of DICOM contains (PS3.3 C.12.1.1.2).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, MutableSequence

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from dicom_io.data_sets.repertoires import as_defined

UTF_8 = "ISO_IR 192"
_TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}


def settle_character_set(target: Dataset, source: Dataset) -> None:
    """Declare in which character set a finished result is written; to be called when all its texts stand.

    That is the source's, in the spelling of the standard. Where it is none of the standard's, or a text cannot be
    written in it and read again, because it stems from another image or was damaged when it came, it is UTF-8. A source
    that declares none leaves its bytes as they came in, for nobody knows what they mean.
    """
    if "SpecificCharacterSet" in target:
        del target.SpecificCharacterSet
    declared = source.get("SpecificCharacterSet")
    if not declared:
        return
    texts = list(_texts(target))  # decodes those inside items too
    defined = as_defined([declared] if isinstance(declared, str) else list(declared))
    if defined is not None and _can_be_written(texts, defined):
        target.SpecificCharacterSet = defined[0] if len(defined) == 1 else defined
        return
    target.SpecificCharacterSet = UTF_8
    for element in texts:
        if isinstance(element.value, PersonName):
            element.value = PersonName(str(element.value))  # the old one keeps the bytes of the old character set


def _texts(dataset: Dataset) -> Iterator[DataElement]:
    """Yield every text in a data set and in its items; ``iterall`` would sort and look up each element it passes."""
    for tag, element in list(dataset.items()):
        decoded = dataset[tag] if isinstance(element, RawDataElement) else element
        if decoded.VR in _TEXT_VRS:
            yield decoded
        elif decoded.VR == "SQ":
            for item in decoded.value:
                yield from _texts(item)


def _can_be_written(texts: list[DataElement], declared: MutableSequence[str]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns where it writes a question mark
        try:
            encodings = convert_encodings(declared)
            beyond_ascii = [
                element for element in texts if not (type(element.value) is str and element.value.isascii())
            ]
            return all(_comes_back(part, encodings) for element in beyond_ascii for part in _parts(element))
        except (UnicodeError, LookupError, UserWarning):
            return False


def _parts(element: DataElement) -> Iterator[str]:
    """Yield the pieces of a text that are encoded one by one: values, and the components of names."""
    for value in element.value if element.VM > 1 else [element.value]:
        yield from re.split("[=^]", str(value)) if element.VR == "PN" else [str(value or "")]


def _comes_back(text: str, encodings: list[str]) -> bool:
    return text.isascii() or decode_bytes(encode_string(text, encodings), encodings, TEXT_VR_DELIMS) == text
