"""Which rows a head is made from, and the part of each; what leaks between the parts stands in every output.

The source system of recipe ``s2`` cut its rows at random, pictures of one patient into several parts. That cut is kept
to reproduce it, and is marked LEAKY wherever a figure comes out; the honest ones keep patients together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.data.radiographs import Entry, LabelledRadiographs
from training.data.split import Parts, choose_parts
from training.heads.recipe import HeadRecipe

TRAINING, VALIDATION, TEST = "training", "validation", "test"
PARTS = (TRAINING, VALIDATION, TEST)


@dataclass(frozen=True)
class RowParts:
    """The part of every row that is used."""

    cut: Parts
    kind: str
    """``data.split`` of the recipe."""
    part_of: dict[str, str]
    """Part by picture name."""
    left_out: dict[str, str]
    """Why each other listed picture is not used."""

    def facts(self) -> dict[str, Any]:
        """Return what every output says of the split, as plain values."""
        return {
            "kind": self.kind,
            "leaky": self.cut.leaky,
            "mark": self.cut.mark,
            "leaked_share": round(self.cut.leaked_share, 4),
        }


def cut_rows(radiographs: LabelledRadiographs, recipe: HeadRecipe) -> RowParts:
    """Choose the rows and cut them as the recipe says; the same lists and seed always give the same cut.

    Raises
    ------
    LayoutError
        As ``choose_parts``.
    """
    listed = radiographs.listed
    without = {name for name in listed if recipe.head.metadata and not _has_metadata(radiographs.entries[name])}
    cut = choose_parts(radiographs.only(set(listed) - without), recipe.data, recipe.validation_share, recipe.seed)
    parts = zip(PARTS, (cut.training, cut.validation, cut.test), strict=True)
    part_of = {name: part for part, names in parts for name in names}
    left_out = {name: _reason(radiographs.entries[name], name in without) for name in listed if name not in part_of}
    return RowParts(cut, recipe.data.split, part_of, left_out)


def short_mark(split: dict[str, Any]) -> str:
    """Return the kind of split for a table's column, from ``RowParts.facts``."""
    return f"{split['kind']} (LEAKY)" if split["leaky"] else str(split["kind"])


def _has_metadata(entry: Entry) -> bool:
    return entry.age_years is not None and entry.sex in {"M", "F"}


def _reason(entry: Entry, without_metadata: bool) -> str:
    if without_metadata:
        return "age or sex is not known"
    return f"age {entry.age_years} is outside the recipe's range, or it is in none of its lists"
