"""What one run found, in plain values: the input of the structured report, the pictures and the page.

Nothing here knows a database, a network or a tensor; `worker` fills these classes, the builders read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_io.foundation.product import MANUFACTURER

PRIORITIES = ("STAT", "URGENT", "ROUTINE")
"""Triage levels of a study; ROUTINE means "nothing flagged", never "normal"."""

NO_MEDICAL_DEVICE = "NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE"
"""Stands on every page and in every object and message."""
OVERLAY_NOTICE = f"AI OVERLAY, {NO_MEDICAL_DEVICE}"
DEMONSTRATION_NOTICE = "DEMONSTRATION MODEL - NOT FOR DIAGNOSTIC USE"
"""Stands, too, in every object and on every picture made with a demonstration bundle."""


class InvalidReportError(ValueError):
    """A report contradicts itself; the message names the field and what it must be."""


@dataclass(frozen=True)
class Algorithm:
    """The software and weights that produced the probabilities (TID 4019)."""

    name: str
    """Name of the model bundle, such as ``phantom-densenet121``."""
    version: str
    """``<semver>+weights.<8 hex digits of a hash>.outputs.<8 hex digits of a hash>`` (``model.bundle.Bundle``)."""
    manufacturer: str = MANUFACTURER


@dataclass(frozen=True)
class AnalysedImage:
    """One radiograph that went through the model."""

    sop_instance_uid: str
    pixel_sha256: str
    """SHA-256 (hex) of the decoded stored values: the same for a losslessly transcoded copy."""
    half_resolution: bool = False
    """True: decoded at half resolution, which the report says."""


@dataclass(frozen=True)
class ReportedFinding:
    """The study-level value of one label, from the image where it scored highest."""

    label: str
    """One of the model's label strings, a key of `dicom_io.results.codes.FINDINGS`."""
    probability: float
    """Calibrated probability, 0..1."""
    threshold: float
    """Operating point, 0..1; at or above it the finding is flagged."""
    source_index: int = 0
    """Index into `Report.images`."""
    rank: float = 0.0
    """Urgency by the site's policy; of two flagged findings the one with the higher rank is named first."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        for name, value in (("probability", self.probability), ("threshold", self.threshold)):
            if not 0.0 <= value <= 1.0:
                raise InvalidReportError(f"{name} of {self.label} must be 0..1, is {value}")
        if self.source_index < 0:
            raise InvalidReportError(f"source_index of {self.label} must not be negative, is {self.source_index}")

    @property
    def flagged(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold

    @property
    def percent(self) -> str:
        """Probability as `whole_percent` words it."""
        return whole_percent(self.probability)


def whole_percent(probability: float) -> str:
    """Return a probability of 0..1 in whole per cent: ``91``, ``< 1`` or ``> 99``, for no model is sure."""
    whole = round(100.0 * probability)
    return "< 1" if whole == 0 else "> 99" if whole == 100 else str(whole)


@dataclass(frozen=True)
class Predecessor:
    """A structured report of the same study that this one replaces (PS3.3 C.17.2, Predecessor Documents)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Report:
    """The outcome of one run of one study by one model bundle.

    Raises
    ------
    InvalidReportError
        No images, an index without its image, a label twice, an unknown priority, a predecessor without a reason, or
        a time without its zone.
    """

    priority: str
    """One of `PRIORITIES`."""
    priority_reason: str
    """One sentence for people, such as ``Pneumothorax 93 % (threshold 50 %)``."""
    images: tuple[AnalysedImage, ...]
    """Analysed radiographs, in the order in which the builders get their headers."""
    findings: tuple[ReportedFinding, ...]
    """Every label the model was trained on, flagged or not; labels it was not trained on are absent."""
    algorithm: Algorithm
    demonstration: bool
    policy_hash: str
    created_at: datetime
    """Time zone aware."""
    revision: int = 1
    """Counts re-issues of the same analysis, for example after a correction of the patient's name."""
    predecessors: tuple[Predecessor, ...] = ()
    """The earlier report that this one replaces, once per SOP class in which it was written."""
    reissue_reason: str = ""
    """Why it is replaced, for people, such as ``an image was added``; empty without a predecessor."""

    def __post_init__(self) -> None:
        """Refuse a report that contradicts itself."""
        labels = [finding.label for finding in self.findings]
        if not self.images:
            raise InvalidReportError("images is empty: a report needs at least one analysed radiograph")
        if any(finding.source_index >= len(self.images) for finding in self.findings):
            raise InvalidReportError(f"a finding has a source_index beyond the {len(self.images)} images")
        if len(set(labels)) != len(labels):
            raise InvalidReportError(f"a label stands twice in findings: {sorted(labels)}")
        if self.priority not in PRIORITIES:
            raise InvalidReportError(f"priority must be one of {PRIORITIES}, is {self.priority!r}")
        if bool(self.predecessors) != bool(self.reissue_reason):
            raise InvalidReportError("predecessors and reissue_reason belong together: give both or none")
        if self.created_at.utcoffset() is None:
            raise InvalidReportError("created_at has no time zone; use an aware time")

    @property
    def flagged(self) -> tuple[ReportedFinding, ...]:
        """Findings at or above their threshold, the most urgent first, then the most probable."""
        return tuple(sorted((f for f in self.findings if f.flagged), key=lambda f: (-f.rank, -f.probability, f.label)))

    @property
    def unflagged(self) -> tuple[ReportedFinding, ...]:
        """Findings below their threshold, the most probable first."""
        return tuple(sorted((f for f in self.findings if not f.flagged), key=lambda f: (-f.probability, f.label)))
