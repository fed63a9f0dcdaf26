"""Everything that is measured of one model on one part: what reports and model cards are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle import OperatingPoint
from model.labels import LABELS
from training.data.batches import Examples
from training.data.radiographs import Entry
from training.evaluation.adjudicated import AdjudicatedEvaluation, AdjudicatedLabels, evaluate_adjudicated
from training.evaluation.audit import run_audit
from training.evaluation.audit_figures import Audit
from training.evaluation.box_protocol import BoxFigures, box_protocol, localisation_values
from training.evaluation.evaluate import Evaluation, Resampling, evaluate
from training.evaluation.leakage import LeakCheck
from training.evaluation.localise import pointing_game
from training.evaluation.predictions import Predictions
from training.evaluation.published import SideBySide, side_by_side


@dataclass(frozen=True)
class Judged:
    """A model's word on a part, beside the truth."""

    predictions: Predictions
    maps: NDArray[np.float32]
    """float32 [N, 14, h, w]; h = w = 0 where there are none."""
    examples: Examples
    """The same N pictures with their truth and boxes, in the fourteen columns."""
    entries: list[Entry]
    """Who is on each."""
    part: str
    """Which pictures, in words."""
    leak: LeakCheck | None = None
    """None where nobody looked, or for a file of predictions."""


@dataclass(frozen=True)
class Assessment:
    """All figures of a model on a part."""

    judged: Judged
    points: dict[str, OperatingPoint]
    evaluation: Evaluation
    boxes: dict[str, BoxFigures]
    """By finding with boxes, Wang's protocol."""
    audit: Audit
    beside: SideBySide
    adjudicated: AdjudicatedEvaluation | None
    """None without such labels of these pictures."""

    def localisation(self) -> dict[str, Any]:
        """Return plain values of pointing game and box protocol; empty without boxes."""
        return localisation_values(self.evaluation.pointing, self.boxes)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        leak = self.judged.leak
        return {
            "notice": "NOT FOR DIAGNOSTIC USE. This is not a medical device.",
            "model": self.judged.predictions.model,
            "leak_guard": None if leak is None else leak.as_dict(),
            "metrics": self.evaluation.metrics(),
            "published": self.beside.as_dict(),
            "adjudicated": None if self.adjudicated is None else self.adjudicated.as_dict(),
            "localisation": self.localisation(),
            "audit": self.audit.as_dict(),
        }


def assess(
    judged: Judged,
    points: Mapping[str, OperatingPoint],
    resampling: Resampling,
    adjudicated: AdjudicatedLabels | None = None,
) -> Assessment:
    """Compute all figures.

    Parameters
    ----------
    points
        Operating points by finding, chosen elsewhere; findings without one never flag.
    adjudicated
        Radiologists' labels of some of the pictures.
    """
    evaluation = evaluate_judged(judged, points, resampling)
    predictions, targets = judged.predictions, judged.examples.targets
    return Assessment(
        judged,
        dict(points),
        evaluation,
        score_boxes(judged, resampling.seed),
        run_audit(predictions, targets, judged.entries, points, resampling, part=judged.part),
        side_by_side(predictions.names),
        None if adjudicated is None else evaluate_adjudicated(predictions, targets, adjudicated, resampling),
    )


def evaluate_judged(judged: Judged, points: Mapping[str, OperatingPoint], resampling: Resampling) -> Evaluation:
    """Compute the figures of every finding, the pointing game among them."""
    pointing = pointing_game(judged.maps, judged.examples.boxes, judged.predictions.trained)
    return evaluate(
        judged.predictions, judged.examples.targets, points, resampling, part=judged.part, pointing=pointing
    )


def score_boxes(judged: Judged, seed: int) -> dict[str, BoxFigures]:
    """Return Wang's protocol for every finding that the model knows and that has boxes."""
    found = {
        label: box_protocol(judged.maps[:, column], judged.examples.boxes, label, seed)
        for column, label in enumerate(LABELS)
        if judged.predictions.trained[column]
    }
    return {label: figures for label, figures in found.items() if figures is not None}
