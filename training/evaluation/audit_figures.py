"""The figures of an audit: one finding in one group, one group, all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.evaluation.figures import rounded
from training.evaluation.groups import Group
from training.evaluation.metrics import Interval

FEWEST_POSITIVES = 20
"""Cells with fewer positives, or negatives, than this are suppressed."""


@dataclass(frozen=True)
class CellFigures:
    """One finding in one group."""

    positives: int
    prevalence: float
    auroc: Interval
    average_precision: float
    ece: float
    false_negative_rate: float | None
    """Share of positives that are not flagged at the operating point; None for a finding that never flags."""


@dataclass(frozen=True)
class GroupAudit:
    """One group."""

    group: Group
    pictures: int
    patients: int
    findings: dict[str, CellFigures | None]
    """By finding that the model speaks of; None = suppressed."""
    mean_auroc: Interval
    """Over ``Audit.compared`` findings of the attribute, the same for each of its groups."""
    ill: int
    """Pictures with at least one finding that can flag. Among fewer than 20 of them there is no rate below."""
    underdiagnosis_rate: Interval
    """Share of them on which nothing is flagged: the false positive rate of "no finding"."""
    overdiagnosis_rate: float
    """Share of the other pictures on which something is flagged: the false negative rate of "no finding"."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; counts of suppressed findings are not told."""
        return {
            "attribute": self.group.attribute,
            "group": self.group.name,
            "pictures": self.pictures,
            "patients": self.patients,
            "mean_auroc": self.mean_auroc.rounded(),
            "underdiagnosis_rate": self.underdiagnosis_rate.rounded(),
            "overdiagnosis_rate": rounded(self.overdiagnosis_rate),
            "findings": {label: _cell(figures) for label, figures in self.findings.items()},
        }


@dataclass(frozen=True)
class Audit:
    """All groups."""

    part: str
    """Which pictures, in words."""
    everyone: GroupAudit
    groups: tuple[GroupAudit, ...]
    compared: dict[str, tuple[str, ...]]
    """By attribute: findings that no group of some size suppresses; the means are over these."""
    left_out: dict[str, int]
    """By attribute: pictures whose value is not known."""
    can_flag: bool
    """False where the model has no operating points: then there are no misses to count."""

    def of(self, attribute: str) -> list[GroupAudit]:
        """Return the groups of one attribute."""
        return [audit for audit in self.groups if audit.group.attribute == attribute]

    @property
    def attributes(self) -> list[str]:
        """Return the attributes in order."""
        return list(dict.fromkeys(audit.group.attribute for audit in self.groups))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "part": self.part,
            "interval": "95 %, patients resampled",
            "suppressed_below": FEWEST_POSITIVES,
            "compared": {attribute: list(labels) for attribute, labels in self.compared.items()},
            "left_out": self.left_out,
            "everyone": self.everyone.as_dict(),
            "groups": [audit.as_dict() for audit in self.groups],
        }


def _cell(figures: CellFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {
        "positives": figures.positives,
        "prevalence": rounded(figures.prevalence),
        "auroc": figures.auroc.rounded(),
        "average_precision": rounded(figures.average_precision),
        "ece": rounded(figures.ece),
        "false_negative_rate": rounded(figures.false_negative_rate),
    }
