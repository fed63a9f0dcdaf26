"""What flagging at a threshold gives: rates, predictive values, accuracy, and the accuracy of never flagging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FlagRates:
    """One finding, flagged at or above one threshold; None where a share is of nothing."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float | None:
        """Return the share of positives that are flagged."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float | None:
        """Return the share of negatives that are not flagged."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def ppv(self) -> float | None:
        """Return the share of flagged pictures that are positive; it depends on the prevalence of this part."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def npv(self) -> float | None:
        """Return the share of unflagged pictures that are negative; it depends on the prevalence of this part."""
        return _share(self.true_negatives, self.true_negatives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Return the harmonic mean of sensitivity and positive predictive value."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def accuracy(self) -> float | None:
        """Return the share of pictures judged rightly; compare it with ``all_negative_accuracy``."""
        return _share(self.true_positives + self.true_negatives, self._pictures)

    @property
    def all_negative_accuracy(self) -> float | None:
        """Return the accuracy of never flagging anything."""
        return _share(self.true_negatives + self.false_positives, self._pictures)

    @property
    def _pictures(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, shares to four decimals."""
        names = ("sensitivity", "specificity", "ppv", "npv", "f1", "accuracy", "all_negative_accuracy")
        values = {name: getattr(self, name) for name in names}
        rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
        return {"threshold": self.threshold} | rounded


def flag_rates(probability: NDArray[np.floating], truth: NDArray[np.floating], threshold: float) -> FlagRates:
    """Count what flagging at or above the threshold gives; probability [N] in 0..1, truth [N] of 0 and 1."""
    flagged, positive = probability >= threshold, truth == 1
    counts = (flagged & positive, flagged & ~positive, ~flagged & positive, ~flagged & ~positive)
    return FlagRates(threshold, *(int(count.sum()) for count in counts))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
