"""What nobody can read in a header is left out of it, unless results must carry it; the object stays as it came.

That is a text that cannot be one (a name as floating point numbers) and a sequence that has no items where some should
be. Numbers have readers of their own (`dicom_io.data_sets.elements`).
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.data_sets.representation import declared_representation, read_as_declared
from dicom_io.results.copy_limits import COPIED_SEQUENCES, MAXIMUM_ITEMS

_NEEDED = tuple(
    Tag(keyword)
    for keyword in (
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "PatientBirthDate",
        "AccessionNumber",
        "RequestAttributesSequence",
    )
)
"""Whose result it is, and what it answers: without these it might go to the wrong place."""
_COPIED = tuple(Tag(keyword) for keyword in COPIED_SEQUENCES)


class UnreadableError(ValueError):
    """An element that results must carry cannot be read; the message names it, never its value."""


def settle_header(header: Dataset) -> None:
    """Have every text of an image's header read as what it is, and leave out what cannot be read.

    Raises
    ------
    UnreadableError
        Results must carry it.
    """
    for tag in _NEEDED:
        if tag in header and not _is_readable(header, tag):
            element: Any = header.get_item(tag, keep_deferred=True)
            declared = declared_representation(tag)
            raise UnreadableError(
                f"{keyword_for_tag(tag)} of an image has the value representation {element.VR}, not {declared}"
            )
    _settle(header)
    for tag in _COPIED:
        if tag in header and len(header[tag].value) <= MAXIMUM_ITEMS:
            _settle_items(header[tag].value)


def _settle(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        if not _is_readable(dataset, tag):
            del dataset[tag]


def _settle_items(sequence: Sequence) -> None:
    for item in sequence:
        _settle(item)
        for tag in list(item.keys()):
            if declared_representation(tag) == "SQ":
                _settle_items(item[tag].value)


def _is_readable(dataset: Dataset, tag: BaseTag) -> bool:
    if declared_representation(tag) != "SQ":
        return read_as_declared(dataset, tag)
    element = dataset.get_item(tag, keep_deferred=True)
    if element is None or element.VR in (None, "SQ"):
        return True
    try:
        return isinstance(dataset[tag].value, Sequence)
    except PARSE_ERRORS:
        return False
