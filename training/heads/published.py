"""Published AUROCs beside a head's: those of the very same test pictures, else those that the source system showed.

The source set its head beside models that were tested on other pictures, of patients they had never seen. Its picture
is drawn again, in a panel of its own that says why the figures cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.labels import LABELS
from training.evaluation.published import PublishedTable, published, side_by_side

SHOWN_BY_THE_SOURCE = ("Wang 2017, 8 findings", "Yao 2017", "CheXNet")


@dataclass(frozen=True)
class Comparison:
    """The tables to show beside a head."""

    tables: tuple[PublishedTable, ...]
    comparable: bool
    """Whether they were measured on the head's own test pictures."""
    reason: str
    """Which split that is, or why they cannot be compared."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        tables = {
            table.name: {"split": table.split, "source": table.source, "mean_auroc": table.mean_auroc}
            for table in self.tables
        }
        return {"comparable": self.comparable, "reason": self.reason, "tables": tables}


def comparison_for(test_pictures: tuple[str, ...]) -> Comparison:
    """Return the published tables, those with a figure for each finding, for a head tested on these pictures."""
    same = side_by_side(test_pictures)
    by_finding = tuple(table for table in same.tables if table.aurocs)
    if by_finding:
        return Comparison(by_finding, True, same.reason)
    shown = tuple(table for table in published().tables if table.name in SHOWN_BY_THE_SOURCE)
    cut = published().splits["own"].description
    return Comparison(shown, False, f"measured on other test pictures, of patients their models had never seen: {cut}")


def with_mean(table: PublishedTable) -> NDArray[np.float64]:
    """Return float64 [15]: the findings' AUROCs and the mean of all fourteen; NaN where it is not given."""
    values = np.array([np.nan if (value := table.auroc(label)) is None else value for label in LABELS])
    return np.append(values, np.nan if np.isnan(values).any() else table.mean_auroc)
