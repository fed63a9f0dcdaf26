"""Cells that the tables of labels share: findings in one cell, ages with or without a unit."""

from __future__ import annotations

import re
from functools import lru_cache

from model.labels import LABELS
from training.data.problems import ProblemKind, ProblemLog
from training.data.radiographs import NO_FINDING

_AGE = re.compile(r"0*(?P<number>[0-9]{1,3})(?P<unit>[YMWD]?)")
_UNITS_PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
_ALIASES = {"Infiltrate": "Infiltration", "Pleural Thickening": "Pleural_Thickening"}


def known_label(text: str) -> str:
    """Return a finding in the spelling of ``LABELS`` where the lists have another (``Infiltrate``)."""
    stripped = text.strip()
    return _ALIASES.get(stripped, stripped)


def known_labels(cell: str, where: str, log: ProblemLog) -> frozenset[str]:
    """Return the findings of a cell such as ``Effusion|Mass``; note those that are none of the fourteen.

    "No Finding" is the empty set; beside a finding it contradicts that, which is noted too.
    """
    known, unknown = _told_apart(cell)
    if (known or unknown) and NO_FINDING in map(str.strip, cell.split("|")):
        log.add(ProblemKind.BROKEN_ROW, where, f"{NO_FINDING!r} stands beside a finding")
    for label in unknown:
        log.add(ProblemKind.UNKNOWN_LABEL, where, f"unknown finding {label!r}; known: {', '.join(LABELS)}")
    return known


@lru_cache(maxsize=2048)  # all rows of ChestX-ray14 have 836 of them
def _told_apart(cell: str) -> tuple[frozenset[str], list[str]]:
    labels = {known_label(label) for label in cell.split("|")} - {NO_FINDING, ""}
    return frozenset(labels & set(LABELS)), sorted(labels - set(LABELS))


def age_years(text: str) -> int | None:
    """Return whole years; of ``013M``, ``005W`` and ``005D`` (months, weeks, days) the whole years in them.

    What is no number of three digits at most, as DICOM's ages are (AS, PS3.5 6.2), is None.
    """
    found = _AGE.fullmatch(text)
    return None if found is None else int(found["number"]) // _UNITS_PER_YEAR[found["unit"]]
