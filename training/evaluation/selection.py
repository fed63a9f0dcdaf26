"""The scores of one epoch on validation, of which the recipe names the one that picks the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.data.batches import Examples
from training.data.cache import PictureCache
from training.evaluation.inference import Outputs, outputs_of
from training.evaluation.localise import pointing_game
from training.evaluation.metrics import auroc, average_precision
from training.parallel import Team

Selection = Literal["auroc", "average-precision", "loss"]


@dataclass(frozen=True)
class ValidationScore:
    """What one epoch's averaged weights reach on validation."""

    aurocs: dict[str, float]
    """By trained finding; findings with one class only are left out."""
    average_precisions: dict[str, float]
    """The same."""
    pointing: dict[str, tuple[int, int, int]]
    """By finding with boxes: hits, ceiling hits, cases."""
    loss: float
    """The recipe's loss, averaged over the pictures."""
    accuracy: float
    """Share of labels that a threshold of 0.5 gets right, over the trained findings."""
    trivial_accuracy: float
    """The same when nothing is ever flagged: what an accuracy has to be compared with."""

    @property
    def mean_auroc(self) -> float:
        """Return the mean over the findings where it is defined; 0 where none is."""
        return float(np.mean(list(self.aurocs.values()))) if self.aurocs else 0.0

    def value(self, selection: Selection) -> float:
        """Return the score that a recipe selects by; higher is better, so the loss comes negated."""
        if selection == "loss":
            return -self.loss
        if selection == "average-precision":
            return float(np.mean(list(self.average_precisions.values()))) if self.average_precisions else 0.0
        return self.mean_auroc

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint and the report."""
        return {
            "mean_auroc": self.mean_auroc,
            "auroc": self.aurocs,
            "average_precision": self.average_precisions,
            "pointing": {label: list(counts) for label, counts in self.pointing.items()},
            "loss": self.loss,
            "accuracy": self.accuracy,
            "trivial_accuracy": self.trivial_accuracy,
        }

    def __str__(self) -> str:
        parts = [f"mean AUROC {self.mean_auroc:.3f}", *(f"{k} {v:.3f}" for k, v in self.aurocs.items())]
        parts += [f"points {label} {hits}/{ceiling}" for label, (hits, ceiling, _) in self.pointing.items()]
        accuracy = f"accuracy {self.accuracy:.3f} ({self.trivial_accuracy:.3f} when nothing is flagged)"
        return ", ".join([*parts, f"loss {self.loss:.4f}", accuracy])


def validation_score(
    network: nn.Module,
    cache: PictureCache,
    examples: Examples,
    size_px: int,
    trained: tuple[bool, ...],
    loss: Callable[[Tensor, Tensor], Tensor],
    team: Team,
) -> ValidationScore:
    """Evaluate on validation; the pictures are shared out over the team.

    Parameters
    ----------
    trained
        Which of the K outputs are trained.
    loss
        Of logits and targets, float32 [N, K] each.
    """
    outputs = outputs_of(network, cache, examples.names, size_px, team, metadata=examples.metadata)
    truth, said = examples.targets[:, trained], outputs.logits[:, trained] > 0
    scores = pointing_game(outputs.maps, examples.boxes, trained, examples.labels)
    return ValidationScore(
        _by_finding(auroc, examples, outputs, trained),
        _by_finding(average_precision, examples, outputs, trained),
        {label: (s.hits, s.ceiling_hits, s.cases) for label, s in scores.items()},
        float(loss(torch.from_numpy(outputs.logits), torch.from_numpy(examples.targets))),
        float((said == truth).mean()),
        float((truth == 0).mean()),
    )


def _by_finding(
    metric: Callable[..., float], examples: Examples, outputs: Outputs, trained: tuple[bool, ...]
) -> dict[str, float]:
    values, once = {}, np.ones(len(examples.names))
    for index, label in enumerate(examples.labels):
        truth = examples.targets[:, index]
        if trained[index] and 0 < truth.sum() < len(truth):
            values[label] = metric(truth, outputs.logits[:, index], once)
    return values
