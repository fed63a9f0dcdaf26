"""Published AUROCs to set a head beside, each with its split; figures of one split say nothing about another.

Per-class AUROCs in the order of ``LABELS`` as their authors report them; None where they give none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS

ALL_PICTURES = 112_120
"""Rows of ChestX-ray14."""
OFFICIAL_TEST_PICTURES = 25_596
"""Rows of its test list."""


@dataclass(frozen=True)
class PublishedTable:
    """What one paper reports."""

    name: str
    split: str
    """``data.split`` of a recipe that cuts alike."""
    source: str
    aurocs: tuple[float | None, ...]

    def with_mean(self) -> NDArray[np.float64]:
        """Return float64 [15]: the findings and their mean; NaN where a figure is not given."""
        values = np.array([np.nan if value is None else value for value in self.aurocs])
        return np.append(values, values.mean())


# fmt: off
PUBLISHED = (
    PublishedTable(
        "Wang 2017", "patient-random", "Wang et al., CVPR 2017, eight findings, own 70/10/20",
        (.7069, .8141, .7362, .6128, .5609, .7164, .6333, .7891, None, None, None, None, None, None),
    ),
    PublishedTable(
        "Yao 2017", "patient-random", "Yao et al., arXiv 1710.10501",
        (.772, .904, .859, .695, .792, .717, .713, .841, .788, .882, .829, .767, .765, .914),
    ),
    PublishedTable(
        "CheXNet", "patient-random", "Rajpurkar et al., arXiv 1711.05225",
        (.8094, .9248, .8638, .7345, .8676, .7802, .7680, .8887, .7901, .8878, .9371, .8047, .8062, .9164),
    ),
    PublishedTable(
        "SwinCheX", "official", "SwinCheX Swin-L, as quoted by others",
        (.781, .875, .824, .701, .822, .780, .713, .871, .748, .848, .914, .826, .778, .855),
    ),
)
# fmt: on


@dataclass(frozen=True)
class Comparison:
    """The tables to show beside a head, and whether they may be compared with it."""

    tables: tuple[PublishedTable, ...]
    caveat: str
    """Why the figures cannot be compared; empty where they can."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        tables = {
            table.name: {
                "split": table.split,
                "source": table.source,
                "auroc": dict(zip(LABELS, table.aurocs, strict=True)),
            }
            for table in self.tables
        }
        return {"comparable": not self.caveat, "caveat": self.caveat, "tables": tables}


def comparison_for(split: str, pictures: int, test_pictures: int) -> Comparison:
    """Return the published tables of the same kind of split; a leaky one has none, so the nearest are shown.

    Parameters
    ----------
    pictures
        Rows in all parts.
    test_pictures
        Rows of the test part.
    """
    kind = "official" if split == "official" else "patient-random"
    caveat = ""
    if split == "image-random":
        caveat = "the published models were tested on patients they had never seen, this head was not"
    elif split == "official" and test_pictures < OFFICIAL_TEST_PICTURES:
        caveat = f"tested on {test_pictures:,} of the {OFFICIAL_TEST_PICTURES:,} pictures of the official test list"
    elif pictures < ALL_PICTURES and split != "official":
        caveat = f"made from {pictures:,} of the {ALL_PICTURES:,} pictures"
    return Comparison(tuple(table for table in PUBLISHED if table.split == kind), caveat)
