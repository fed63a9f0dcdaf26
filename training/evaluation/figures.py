"""The figures of one part: of every finding, their means, and the baselines they stand beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.flagging import FlagRates
from training.evaluation.localise import PointingScore, share_of_ceiling
from training.evaluation.metrics import Interval

FEWEST_PATIENTS = 10
"""An interval that rests on fewer positive patients is marked: resampling cannot know what it has not seen."""


@dataclass(frozen=True)
class FindingFigures:
    """Figures of one finding on one part."""

    positives: int
    positive_patients: int
    prevalence: float
    """Share of the pictures, 0..1: the average precision of guessing, and the share that always flagging gets right."""
    auroc: Interval
    """NaN where the part has one class only."""
    average_precision: Interval
    ece_before: float
    """Expected calibration error of ``sigmoid(logit)``; NaN where the logits are not known."""
    ece_after: float
    """Expected calibration error of the calibrated probability."""
    ece_at_prevalence: float
    """The same moved to this part's own prevalence, which a site would have to know: the rest is not prevalence."""
    flagging: FlagRates | None
    """At the operating point; None for a finding that never flags."""
    pointing: PointingScore | None
    """None without boxes or maps."""

    @property
    def sensitivity(self) -> float | None:
        """Return it at the operating point; None without one or without positives."""
        return self.flagging.sensitivity if self.flagging else None

    @property
    def specificity(self) -> float | None:
        """Return it at the operating point; None without one or without negatives."""
        return self.flagging.specificity if self.flagging else None

    @property
    def shaky(self) -> bool:
        """Return whether the intervals rest on very few positive patients."""
        return self.positive_patients < FEWEST_PATIENTS


@dataclass(frozen=True)
class Evaluation:
    """Figures of one part."""

    part: str
    """Which pictures, in words."""
    pictures: int
    patients: int
    mean_auroc: Interval
    """Over the trained findings that have both classes."""
    mean_average_precision: Interval
    findings: dict[str, FindingFigures]
    """By trained finding."""

    @property
    def undefined(self) -> list[str]:
        """Return the trained findings without an AUROC here, one class being absent; no mean contains them."""
        return [label for label, figures in self.findings.items() if not figures.auroc.defined]

    @property
    def summary(self) -> str:
        """Return in a sentence or two what the figures amount to."""
        defined = [figures for figures in self.findings.values() if figures.auroc.defined]
        if not defined:
            return "No finding has both classes among these pictures, so nothing can be said of the model."
        mean, shaky = self.mean_auroc, sum(figures.shaky for figures in defined)
        better = sum(figures.auroc.low > 0.5 and not figures.shaky for figures in defined)
        reading = "no better than guessing" if not mean.low > 0.5 else "better than guessing"
        untold = f"; {shaky} more {'has' if shaky == 1 else 'have'} too few positive patients to tell" if shaky else ""
        return (
            f"Mean AUROC {mean.value:.3f} ({mean.low:.3f} to {mean.high:.3f}) over {len(defined)} findings: as a whole "
            f"{reading}. With 95 % confidence better than guessing on {better} of them{untold}."
        )

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Return the share of labels judged rightly at the operating points, and by never flagging."""
        rates = [figures.flagging for figures in self.findings.values() if figures.flagging]
        if not rates:
            return None
        pairs = [(rate.accuracy or 0.0, rate.all_negative_accuracy or 0.0) for rate in rates]
        return float(np.mean([pair[0] for pair in pairs])), float(np.mean([pair[1] for pair in pairs]))

    @property
    def pointing(self) -> dict[str, PointingScore]:
        """Return the pointing scores of the findings that have boxes."""
        return {label: f.pointing for label, f in self.findings.items() if f.pointing}

    @property
    def pointing_of_ceiling(self) -> float:
        """Return all hits as a share of all hits that a perfect pick among the cell centres reaches."""
        return share_of_ceiling(self.pointing)

    def metrics(self) -> dict[str, Any]:
        """Return plain values for the bundle."""
        accuracy = self.accuracy
        return {
            "part": self.part,
            "pictures": self.pictures,
            "patients": self.patients,
            "interval": "95 %, patients resampled",
            "mean_auroc": self.mean_auroc.rounded(),
            "mean_average_precision": self.mean_average_precision.rounded(),
            "mean_over": [label for label in self.findings if label not in self.undefined],
            "undefined": self.undefined,
            "accuracy": None if accuracy is None else round(accuracy[0], 4),
            "all_negative_accuracy": None if accuracy is None else round(accuracy[1], 4),
            "findings": {label: _finding_metrics(figures) for label, figures in self.findings.items()},
        }


def rounded(value: float | None) -> float | None:
    """Return a value to four decimals, None where it is undefined."""
    return None if value is None or np.isnan(value) else round(float(value), 4)


def _finding_metrics(figures: FindingFigures) -> dict[str, Any]:
    return {
        "positives": figures.positives,
        "positive_patients": figures.positive_patients,
        "prevalence": rounded(figures.prevalence),
        "auroc": figures.auroc.rounded(),
        "average_precision": figures.average_precision.rounded(),
        "ece_before_calibration": rounded(figures.ece_before),
        "ece": rounded(figures.ece_after),
        "ece_at_prevalence": rounded(figures.ece_at_prevalence),
        "sensitivity": rounded(figures.sensitivity),
        "specificity": rounded(figures.specificity),
        "flagging": figures.flagging.as_dict() if figures.flagging else None,
    }
