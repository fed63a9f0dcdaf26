"""A DICOM person name (PS3.5 6.2.1) as HL7 writes names: XPN for patients, XCN for physicians."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hl7_io.reading import part
from hl7_io.text import escape

REPRESENTATIONS = ("A", "I", "P")
"""Alphabetic, ideographic, phonetic: the order of DICOM's component groups, as HL7 table 0465 names them."""


_MOST_NAMES = 20
UNKNOWN_NAME = "^^^^^^U"
"""PID-5 of a patient whose name is not known: it must not be empty, and U is "unspecified" (HL7 table 0200)."""


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


def person_name(repetitions: Sequence[Sequence[Sequence[str]]]) -> str:
    """Return the DICOM person name that XPN repetitions make; empty when none of them can be one.

    Repetitions are placed by their representation (XPN-8, none meaning alphabetic); a second one of the same kind, an
    earlier name or an alias, is left out. Delimiters of DICOM inside a part become blanks.
    """
    groups: dict[str, str] = {}
    for name in repetitions:
        group = _group(name)
        if group and part(name, 7) in ("", "L", "D", "U"):
            groups.setdefault(part(name, 8) or "A", group)
    return "=".join(groups.get(representation, "") for representation in REPRESENTATIONS).rstrip("=")


def all_names(repetitions: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Return each XPN as a DICOM component group, former names and aliases too, at most 20; a spouse's is none."""
    return [group for name in repetitions[:_MOST_NAMES] if part(name, 7) != "P" and (group := _group(name))]


def _group(name: Sequence[Sequence[str]]) -> str:
    family, given, middle, suffix, prefix = (_dicom_part(part(name, number)) for number in range(1, 6))
    return "^".join([family, given, middle, prefix, suffix]).rstrip("^")


def _dicom_part(value: str) -> str:
    return " ".join(value.replace("^", " ").replace("=", " ").replace("\\", " ").split())
