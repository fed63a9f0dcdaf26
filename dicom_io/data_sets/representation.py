"""Texts under another value representation than PS3.6 gives them, as senders with a wrong dictionary write them.

Text under another representation of text, or as bytes, is still that text and is read as what it is: an accession
number as a decimal string need be no number.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

_TEXTS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
_BYTES = frozenset({"OB", "OW", "UN"})
_NUMBERS_AS_TEXT = frozenset({"DS", "IS"})
_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})


def read_as_declared(dataset: Dataset, tag: BaseTag) -> bool:
    """Have a known text read as what PS3.6 says that it is; False where it cannot be one, as floating point numbers.

    Everything else in a data set is left as it is, and True.
    """
    declared = declared_representation(tag)
    element: Any = dataset.get_item(tag, keep_deferred=True)
    if declared not in _TEXTS or element is None or element.VR in (None, declared):
        return True
    if declared in _NUMBERS_AS_TEXT and element.VR in _NUMBERS:
        return True  # a number all the same
    if element.VR not in _TEXTS | _BYTES:
        return False
    if isinstance(element, RawDataElement):
        dataset[tag] = element._replace(VR=declared)
        return True
    return element.VR in _TEXTS


@cache
def declared_representation(tag: BaseTag) -> str | None:
    """Return the value representation of a tag in PS3.6; None of a private or unknown one."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None
