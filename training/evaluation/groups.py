"""The groups of people and views in which a model is audited, alone and two by two."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import Entry

AGE_BANDS = {"under 18": (0, 18), "18 to 39": (18, 40), "40 to 59": (40, 60), "60 and over": (60, 200)}
"""Years, the upper end not included."""
SEXES = {"women": "F", "men": "M"}
VIEWS = ("PA", "AP")
_SEPARATOR = ", "


@dataclass(frozen=True)
class Group:
    """Pictures that have something in common."""

    attribute: str
    """``sex``, ``age``, ``view``, or two of them such as ``sex x age``."""
    name: str
    """``women``, ``women, 60 and over``."""
    rows: NDArray[np.int64]
    """Which of the N pictures."""


def groups_of(entries: list[Entry]) -> list[Group]:
    """Return the groups of sex, age and view, then those of each two of them; empty ones too.

    Pictures whose value is not known, or is none of those named here, are in no group of that attribute.
    """
    single = {
        "sex": {name: [entry.sex == code for entry in entries] for name, code in SEXES.items()},
        "age": {name: [_within(entry, *band) for entry in entries] for name, band in AGE_BANDS.items()},
        "view": {view: [entry.view == view for entry in entries] for view in VIEWS},
    }
    masks = {
        attribute: {name: np.array(mask, bool) for name, mask in named.items()} for attribute, named in single.items()
    }
    groups = [
        Group(attribute, name, np.flatnonzero(m)) for attribute, named in masks.items() for name, m in named.items()
    ]
    for first, second in combinations(masks, 2):
        for name, mask in masks[first].items():
            groups += [
                Group(f"{first} x {second}", f"{name}{_SEPARATOR}{other}", np.flatnonzero(mask & other_mask))
                for other, other_mask in masks[second].items()
            ]
    return groups


def _within(entry: Entry, youngest: int, oldest: int) -> bool:
    return entry.age_years is not None and youngest <= entry.age_years < oldest
