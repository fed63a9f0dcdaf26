"""The score that picks the epoch: mean AUROC on validation, with the pointing game beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.densenet import DenseNet121Cam
from model.labels import LABELS
from training.data.batches import Examples
from training.data.cache import PictureCache
from training.evaluation.inference import outputs_of
from training.evaluation.localise import pointing_game
from training.evaluation.metrics import auroc
from training.parallel import Team


@dataclass(frozen=True)
class ValidationScore:
    """What one epoch's averaged weights reach on validation."""

    aurocs: dict[str, float]
    """By trained finding; findings with one class only are left out."""
    pointing: dict[str, tuple[int, int, int]]
    """By finding with boxes: hits, ceiling hits, cases."""

    @property
    def mean_auroc(self) -> float:
        """Return the mean over the findings where it is defined; 0 where none is."""
        return float(np.mean(list(self.aurocs.values()))) if self.aurocs else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint and the report."""
        return {
            "mean_auroc": self.mean_auroc,
            "auroc": self.aurocs,
            "pointing": {label: list(counts) for label, counts in self.pointing.items()},
        }

    def __str__(self) -> str:
        parts = [f"mean AUROC {self.mean_auroc:.3f}", *(f"{k} {v:.3f}" for k, v in self.aurocs.items())]
        parts += [f"points {label} {hits}/{ceiling}" for label, (hits, ceiling, _) in self.pointing.items()]
        return ", ".join(parts)


def validation_score(
    network: DenseNet121Cam,
    cache: PictureCache,
    examples: Examples,
    size_px: int,
    trained: tuple[bool, ...],
    team: Team,
) -> ValidationScore:
    """Evaluate on validation; the pictures are shared out over the team."""
    outputs = outputs_of(network, cache, examples.names, size_px, team)
    aurocs = {}
    for index, label in enumerate(LABELS):
        value = auroc(examples.targets[:, index], outputs.logits[:, index], np.ones(len(examples.names)))
        if trained[index] and not np.isnan(value):
            aurocs[label] = value
    scores = pointing_game(outputs.maps, examples.boxes, trained)
    return ValidationScore(aurocs, {label: (s.hits, s.ceiling_hits, s.cases) for label, s in scores.items()})
