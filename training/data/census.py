"""How many pictures and patients each part has and how often each finding is there: what a data set's page tells."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from model.labels import LABELS
from training.data.radiographs import LabelledRadiographs


@dataclass(frozen=True)
class FindingCount:
    """One finding in one part."""

    positives: int
    prevalence: float
    """Share of the part's pictures, 0..1."""
    positive_patients: int


@dataclass(frozen=True)
class PartCount:
    """One part, or all of them."""

    pictures: int
    patients: int
    boxed: int
    """Pictures with at least one box."""
    no_finding_share: float
    """Share of pictures without any finding, 0..1."""
    anteroposterior_share: float
    """Share of AP views, 0..1."""
    under_18: int
    """Pictures of patients younger than 18 years."""
    all_negative_accuracy: float
    """Share of (picture, finding) pairs that are negative: the accuracy of a model that never finds anything."""
    findings: dict[str, FindingCount]

    @property
    def pictures_per_patient(self) -> float:
        """Return the mean number of pictures of one patient."""
        return self.pictures / self.patients if self.patients else 0.0


@dataclass(frozen=True)
class Census:
    """The whole data set."""

    all: PartCount
    train_val: PartCount
    test: PartCount
    patients_in_both: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def take_census(radiographs: LabelledRadiographs) -> Census:
    """Count the listed pictures."""
    train_val, test = set(radiographs.patients(radiographs.train_val)), set(radiographs.patients(radiographs.test))
    return Census(
        count_part(radiographs, radiographs.listed),
        count_part(radiographs, radiographs.train_val),
        count_part(radiographs, radiographs.test),
        len(train_val & test),
    )


def count_part(radiographs: LabelledRadiographs, names: tuple[str, ...]) -> PartCount:
    """Count some of the pictures; shares of no pictures are 0."""
    entries = [radiographs.entries[name] for name in names]
    positives: Counter[str] = Counter()
    patients: dict[str, set[str]] = {label: set() for label in LABELS}
    for entry in entries:
        positives.update(entry.labels)
        for label in entry.labels:
            patients[label].add(entry.patient_id)
    count = max(1, len(names))
    return PartCount(
        len(names),
        len({entry.patient_id for entry in entries}),
        sum(name in radiographs.boxes for name in names),
        sum(not entry.labels for entry in entries) / count,
        sum(entry.view == "AP" for entry in entries) / count,
        sum(entry.age_years is not None and entry.age_years < 18 for entry in entries),
        1 - sum(positives.values()) / (count * len(LABELS)),
        {label: FindingCount(positives[label], positives[label] / count, len(patients[label])) for label in LABELS},
    )
