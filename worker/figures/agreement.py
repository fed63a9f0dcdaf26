"""How often radiologists agree with the model, finding by finding, and how it errs where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.labels import LABELS
from worker.figures.intervals import Share, share
from worker.figures.reviewed_truth import ReviewedFinding


@dataclass(frozen=True)
class AgreementFigures:
    """One finding over the reviews looked at, which are no sample: flagged studies are reviewed more often."""

    finding: str
    agreement: Share
    rightly_flagged: int
    wrongly_flagged: int
    missed: int
    rightly_not_flagged: int


def agreement_figures(reviewed: Sequence[ReviewedFinding]) -> list[AgreementFigures]:
    """Return the findings that were reviewed, in label order."""
    figures = []
    for label in LABELS:
        words = [(item.flagged, item.present) for item in reviewed if item.finding == label]
        if not words:
            continue
        right = words.count((True, True)) + words.count((False, False))
        figures.append(
            AgreementFigures(
                label,
                share(right, len(words)),
                words.count((True, True)),
                words.count((True, False)),
                words.count((False, True)),
                words.count((False, False)),
            )
        )
    return figures
