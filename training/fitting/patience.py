"""How long a run waits for a better validation score: for early stopping and for plateaus of the learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass
class Patience:
    """The best score so far and the epochs since; higher scores are better."""

    best: float = -math.inf
    epochs_without: int = 0

    def note(self, score: float) -> None:
        """Note the score of one more epoch; NaN is no better than any."""
        if score > self.best:
            self.best, self.epochs_without = score, 0
        else:
            self.epochs_without += 1

    def state(self) -> dict[str, float]:
        """Return plain values for a checkpoint."""
        return asdict(self)


@dataclass
class Plateau(Patience):
    """What is left of the learning rate after the plateaus so far (torch's ``ReduceLROnPlateau``)."""

    share: float = 1.0

    def lower(self, patience: int, factor: float) -> bool:
        """Take ``factor`` of the share when more than ``patience`` epochs were without a better score; say whether."""
        if self.epochs_without <= patience:
            return False
        self.share, self.epochs_without = self.share * factor, 0
        return True
