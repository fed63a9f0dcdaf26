"""Published AUROCs, and which of them may stand beside a model's: those measured on the very same test pictures.

``published.toml`` holds the tables. The same model loses about 0.03 of mean AUROC from a random cut to the official
lists, so a figure without its split says nothing.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.labels import LABELS
from training.data.radiographs import list_hash

SplitName = Literal["official", "community", "own"]
_FILE = Path(__file__).with_name("published.toml")


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedSplit(_Checked):
    """A way of cutting ChestX-ray14 that several authors share, or ``own``."""

    description: str
    test_pictures: int
    test_list_sha256: str
    """``list_hash`` of the test pictures; empty where every author has others."""


class PublishedTable(_Checked):
    """What one source reports."""

    name: str
    split: SplitName
    source: str
    seen: Literal["source", "quoted"]
    """Read in the source itself, or in another author's table."""
    mean: float | None = None
    """Mean AUROC as reported; None: the mean of ``aurocs``."""
    aurocs: Annotated[tuple[float, ...], Field(max_length=len(LABELS))] = ()
    """In the order of ``LABELS``, NaN where not given; empty where only the mean is known."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.aurocs and len(self.aurocs) != len(LABELS):
            raise ValueError(f"{self.name}: {len(self.aurocs)} AUROCs, expected {len(LABELS)}")
        if self.mean is None and (not self.aurocs or np.isnan(self.aurocs).any()):
            raise ValueError(f"{self.name}: neither a mean nor fourteen AUROCs")
        return self

    @property
    def mean_auroc(self) -> float:
        """Return the mean as reported, or of the fourteen."""
        return float(np.mean(self.aurocs)) if self.mean is None else self.mean

    def auroc(self, label: str) -> float | None:
        """Return the AUROC of one finding, None where it is not given."""
        value = self.aurocs[LABELS.index(label)] if self.aurocs else float("nan")
        return None if np.isnan(value) else value


class Published(_Checked):
    """All splits and tables."""

    splits: dict[SplitName, PublishedSplit]
    tables: tuple[PublishedTable, ...]


class SideBySide(_Checked):
    """What may stand beside figures of some test pictures."""

    split: SplitName | None
    """None where these pictures are nobody else's test part."""
    tables: tuple[PublishedTable, ...]
    """Measured on exactly these pictures, the best mean first."""
    reason: str
    """Which split it is, or why nothing may be set beside, in a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        tables = [
            {
                "name": table.name,
                "source": table.source,
                "seen": table.seen,
                "mean_auroc": table.mean_auroc,
                "auroc": {label: table.auroc(label) for label in LABELS},
            }
            for table in self.tables
        ]
        return {"split": self.split, "reason": self.reason, "tables": tables}


@cache
def published() -> Published:
    """Return the tables of ``published.toml``."""
    return Published.model_validate(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def side_by_side(names: tuple[str, ...]) -> SideBySide:
    """Return the tables measured on exactly these test pictures, or none and the reason.

    A part of a split's test list, however large, is another population and gets nothing set beside it.
    """
    everything, found = published(), list_hash(names)
    for name, split in everything.splits.items():
        if split.test_list_sha256 == found:
            tables = sorted((t for t in everything.tables if t.split == name), key=lambda table: -table.mean_auroc)
            return SideBySide(
                split=name, tables=tuple(tables), reason=f"same {len(names):,} pictures: {split.description}"
            )
    sizes = " nor ".join(
        f"the {split.test_pictures:,} of the {split.description}"
        for split in everything.splits.values()
        if split.test_list_sha256
    )
    reason = (
        f"these {len(names):,} pictures are neither {sizes}, so no published figure was measured on them and none is "
        "set beside"
    )
    return SideBySide(split=None, tables=(), reason=reason)
