"""A DICOM person name (PS3.5 6.2.1) as HL7 writes names: XPN for patients, XCN for physicians."""

from __future__ import annotations

from collections.abc import Iterator

from hl7_io.text import escape

REPRESENTATIONS = ("A", "I", "P")
"""Alphabetic, ideographic, phonetic: the order of DICOM's component groups, as HL7 table 0465 names them."""


def patient_names(name: str) -> list[str]:
    """Return the name's XPN repetitions, one per representation it is written in; escaped.

    HL7 puts the suffix before the prefix, DICOM after it.
    """
    return [
        "^".join([family, given, middle, suffix, prefix, "", "L", representation])
        for (family, given, middle, prefix, suffix), representation in _groups(name)
    ]


def physician(name: str) -> str:
    """Return the physician as XCN without an identifier, from the first representation of the name; escaped."""
    for (family, given, middle, prefix, suffix), _representation in _groups(name):
        return "^".join(["", family, given, middle, suffix, prefix]).rstrip("^")
    return ""


def _groups(name: str) -> Iterator[tuple[list[str], str]]:
    for group, representation in zip(name.split("="), REPRESENTATIONS, strict=False):
        parts = [escape(part) for part in group.split("^")][:5]
        if any(parts):
            yield [*parts, *[""] * (5 - len(parts))], representation
