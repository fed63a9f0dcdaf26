"""What a head reads: one row of columns for each picture, features first, then age and sex.

The columns of sex: one, 1 for M and 0 for F. A one-hot of two values has one column too many (the other is its
complement), and the source's 2,050 columns leave room for one beside the age.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.heads.errors import HeadError
from training.heads.shards import FeatureTable
from training.heads.split import PARTS

METADATA_COLUMNS = ("age / 100", "sex (1 = M, 0 = F)")
_YEARS_PER_UNIT = 100


@dataclass(frozen=True)
class HeadTable:
    """Inputs and truth of every row; the arrays may be memory maps."""

    inputs: NDArray[np.float32]
    """float32 [N, C]."""
    targets: NDArray[np.float32]
    """float32 [N, 14] of 0 and 1."""
    part: NDArray[np.int8]
    """int8 [N], index in ``PARTS``."""

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the rows of a part, int64 [M], rising."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def write(self, folder: Path) -> None:
        """Write the arrays, so that several processes can map the same pages."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("inputs", "targets", "part"):
            np.save(folder / f"{name}.npy", getattr(self, name))


def open_head_table(folder: Path) -> HeadTable:
    """Map a table written by ``HeadTable.write``."""
    return HeadTable(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("inputs", "targets", "part")))


def head_table(features: FeatureTable, *, metadata: bool) -> HeadTable:
    """Return the columns of a head.

    Raises
    ------
    HeadError
        Age and sex are wanted and a row lacks them.
    """
    inputs = features.features
    if metadata:
        unknown = np.isnan(features.age_years) | ~np.isin(features.sex, ["M", "F"])
        if unknown.any():
            raise HeadError(
                f"{int(unknown.sum())} rows have no age or sex, e.g. {features.image_index[unknown][0]}; "
                "make the features with head.metadata = true in the recipe, or the head without"
            )
        ages = features.age_years / np.float32(_YEARS_PER_UNIT)
        sexes = (features.sex == "M").astype(np.float32)
        inputs = np.concatenate([inputs, ages[:, None], sexes[:, None]], axis=1, dtype=np.float32)
    part = np.array([PARTS.index(part) for part in features.part], dtype=np.int8)
    return HeadTable(inputs, features.targets, part)
