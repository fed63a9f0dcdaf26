"""From probabilities to a priority: which findings are flagged, how urgent the study is, and why, in words.

Tiers follow Annarumma 2019 (Radiology 291:196) and the order of Baltruschat 2021 (Eur Radiol 31:3837): pneumothorax
before effusion before infiltrate before congestion before atelectasis before cardiomegaly. A mass, which stands behind
all of these there, is urgent here. They are a default that a site has to sign off; a finding without a probability or
without a threshold never flags.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from model.bundle import Bundle
from model.labels import LABELS
from worker.rows.states import Priority

POLICY_VERSION = 1


class Tier(Enum):
    """How urgent a finding is; the number orders tiers, also inside one priority."""

    CRITICAL = (5, Priority.STAT)
    URGENT = (4, Priority.URGENT)
    SOON = (3, Priority.ROUTINE)
    ROUTINE = (2, Priority.ROUTINE)
    LOW = (1, Priority.ROUTINE)
    NONE = (0, Priority.ROUTINE)

    def __init__(self, order: int, priority: Priority) -> None:
        self.order = order
        self.priority = priority


TIERS: Mapping[str, tuple[Tier, float]] = {
    "Pneumothorax": (Tier.CRITICAL, 0.9),
    "Effusion": (Tier.URGENT, 0.9),
    "Infiltration": (Tier.URGENT, 0.8),
    "Consolidation": (Tier.URGENT, 0.8),
    "Pneumonia": (Tier.URGENT, 0.8),
    "Edema": (Tier.URGENT, 0.7),
    "Mass": (Tier.URGENT, 0.6),
    "Atelectasis": (Tier.SOON, 0.9),
    "Cardiomegaly": (Tier.SOON, 0.8),
    "Nodule": (Tier.SOON, 0.7),
    "Emphysema": (Tier.ROUTINE, 0.9),
    "Fibrosis": (Tier.ROUTINE, 0.9),
    "Pleural_Thickening": (Tier.ROUTINE, 0.8),
    "Hernia": (Tier.LOW, 0.9),
}
"""Tier of each finding and its weight (0..1) within the tier."""
HIGHEST_RANK = 1 + max(tier.order for tier in Tier)


def level_of(label: str) -> Priority:
    """Return the priority that a flagged finding stands for."""
    return TIERS[label][0].priority


@dataclass(frozen=True)
class AssessedFinding:
    """What the study as a whole shows of one finding."""

    label: str
    probability: float | None
    """Highest calibrated probability over the images, 0..1; None where the bundle was not trained on it."""
    threshold: float | None
    """Operating point, 0..1; None where there is none."""
    source_index: int
    """Index of the image with that probability; 0 where there is none."""
    flagged: bool

    @property
    def rank(self) -> float:
        """Place on the worklist, 0..1: tier first, then weight times probability; higher is more urgent."""
        tier, weight = TIERS[self.label]
        return (tier.order + weight * (self.probability or 0.0)) / HIGHEST_RANK


@dataclass(frozen=True)
class Assessment:
    """The policy's word on one study."""

    findings: tuple[AssessedFinding, ...]
    """All fourteen, in label order."""
    priority: Priority
    rank: float
    """Place within the priority, 0..1; 0 when nothing is flagged."""
    reason: str

    @property
    def flagged(self) -> tuple[AssessedFinding, ...]:
        """The findings at or above their threshold, most urgent first."""
        return tuple(sorted((f for f in self.findings if f.flagged), key=lambda finding: -finding.rank))


@dataclass(frozen=True)
class Policy:
    """Thresholds by finding (0..1, None = never flags); tiers are those of this module."""

    thresholds: Mapping[str, float | None]

    @classmethod
    def of_bundle(cls, bundle: Bundle, replaced: Mapping[str, float]) -> Policy:
        """Take the bundle's operating points, except those a site has ``replaced``.

        Raises
        ------
        ValueError
            ``replaced`` names a finding that does not exist.
        """
        if unknown := sorted(set(replaced) - set(LABELS)):
            raise ValueError(f"thresholds: no such finding: {', '.join(unknown)}; known are {', '.join(LABELS)}")
        chosen = {label: point.threshold for label, point in bundle.operating_points.items()}
        return cls({label: replaced.get(label, chosen.get(label)) for label in LABELS})

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of everything that decides: version, tiers, weights, thresholds."""
        tiers = {label: [tier.order, tier.priority, weight] for label, (tier, weight) in TIERS.items()}
        decides = {"version": POLICY_VERSION, "tiers": tiers, "thresholds": dict(self.thresholds)}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def flags(self, label: str, probability: float | None) -> bool:
        """Return whether this probability (0..1) is at or above the finding's threshold."""
        threshold = self.thresholds.get(label)
        return probability is not None and threshold is not None and probability >= threshold

    def assess(self, images: Sequence[Sequence[float | None]]) -> Assessment:
        """Judge a study by its images.

        Parameters
        ----------
        images
            Per image the calibrated probabilities in the order of ``LABELS``, 0..1 or None.
        """
        findings = tuple(self._finding(label, [image[index] for image in images]) for index, label in enumerate(LABELS))
        flagged = [finding for finding in findings if finding.flagged]
        if not flagged:
            known = sum(finding.probability is not None for finding in findings)
            reason = f"No finding above its threshold ({known} of {len(LABELS)} findings analysed)"
            return Assessment(findings, Priority.ROUTINE, 0.0, reason)
        flagged.sort(key=lambda finding: -finding.rank)
        tier, _weight = TIERS[flagged[0].label]
        return Assessment(findings, tier.priority, flagged[0].rank, "; ".join(map(finding_in_words, flagged)))

    def _finding(self, label: str, probabilities: list[float | None]) -> AssessedFinding:
        known = [(probability, index) for index, probability in enumerate(probabilities) if probability is not None]
        highest, source_index = max(known, key=lambda pair: pair[0]) if known else (None, 0)
        return AssessedFinding(label, highest, self.thresholds.get(label), source_index, self.flags(label, highest))


def finding_in_words(finding: AssessedFinding) -> str:
    """Return for example ``Pneumothorax 91 % (threshold 60 %)``."""
    name = finding.label.replace("_", " ").capitalize()
    return f"{name} {percent(finding.probability)} (threshold {percent(finding.threshold)})"


def percent(fraction: float | None) -> str:
    """Return a fraction 0..1 as per cent: one decimal below ten, and never "100 %", for a model is not that sure."""
    if fraction is None:
        return "unknown"
    if round(100 * fraction) == 100:
        return "> 99 %"
    return f"{100 * fraction:.{0 if fraction >= 0.0995 else 1}f} %"


def unflagged(assessment: Assessment, why: str) -> Assessment:
    """Return the same probabilities with nothing flagged, for a study that must not be announced."""
    findings = tuple(replace(finding, flagged=False) for finding in assessment.findings)
    return Assessment(findings, Priority.ROUTINE, 0.0, f"{why}: analysed, never flagged")
