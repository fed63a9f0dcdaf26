"""What a study's pictures show: probabilities per picture, one assessment, where the flagged findings are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_io.data_sets.patient_age import patient_age_years, study_age_days
from model.cam import saliency
from model.classifier import Classification
from model.labels import LABELS
from model.preprocess import INPUT_SIZE_PX
from worker.arrival.selection_rules import site_date
from worker.foundation.stopwatch import Stopwatch
from worker.runs.kept_results import KeptPictures, kept_pictures
from worker.runs.policy import AssessedFinding, Assessment, unflagged
from worker.runs.precedent import Likeness, Precedent
from worker.runs.reading import Picture, Unread
from worker.runs.workplace import LoadedModel, Workplace
from worker.settings.config import Settings


@dataclass(frozen=True)
class Analysis:
    """Everything one run has to say about one study."""

    pictures: tuple[Picture, ...]
    unread: tuple[Unread, ...]
    probabilities: tuple[tuple[float | None, ...], ...]
    """Per picture, in the order of ``LABELS``, 0..1 or None."""
    assessment: Assessment
    saliency: Mapping[str, NDArray[np.float32]]
    """Per flagged finding where it is seen in its source picture, float32 [224, 224] over the whole field, 0..1."""
    kept: KeptPictures
    """What an earlier run drew of the same pixels; nothing for a new analysis."""
    age_days: int | None
    """Days since the study's date when that makes it historical, else None."""
    likeness: Likeness = Likeness.OTHER
    """How the material compared with that of the study's run in force."""
    images_not_analysed: int = 0
    """Other images of the study, whenever they came, of which these results say nothing."""

    @property
    def historical(self) -> bool:
        """Whether the study is too old to be flagged or announced."""
        return self.age_days is not None


def analyse(
    pictures: Sequence[Picture],
    unread: Sequence[Unread],
    model: LoadedModel,
    watch: Stopwatch,
    settings: Settings,
    images_not_analysed: int = 0,
) -> Analysis:
    """Classify every picture, judge the study by the highest probability of each finding, draw what is flagged."""
    classifications = [_classify(picture, model, watch) for picture in pictures]
    probabilities = tuple(classification.probabilities for classification in classifications)
    age_days = historical_age_days(pictures, settings)
    assessment = _assess(probabilities, pictures, images_not_analysed, model, settings)
    with watch.stage("saliency"):
        seen = {finding.label: _saliency(finding, classifications) for finding in assessment.flagged}
    return Analysis(
        tuple(pictures),
        tuple(unread),
        probabilities,
        assessment,
        seen,
        KeptPictures(),
        age_days,
        images_not_analysed=images_not_analysed,
    )


def recall(
    precedent: Precedent,
    pictures: Sequence[Picture],
    unread: Sequence[Unread],
    images_not_analysed: int,
    model: LoadedModel,
    workplace: Workplace,
) -> Analysis | None:
    """Repeat the precedent's findings for the same pictures, without inference.

    Returns
    -------
    Analysis or None
        None when a kept picture is gone or damaged, so that the study has to be analysed again.
    """
    probabilities = tuple(precedent.probabilities[picture.sop_instance_uid] for picture in pictures)
    age_days = historical_age_days(pictures, workplace.settings)
    assessment = _assess(probabilities, pictures, images_not_analysed, model, workplace.settings)
    kept = kept_pictures(precedent.run_id, [finding.label for finding in assessment.flagged], workplace)
    if kept is None:
        return None
    return Analysis(
        tuple(pictures),
        tuple(unread),
        probabilities,
        assessment,
        {},
        kept,
        age_days,
        images_not_analysed=images_not_analysed,
    )


def _assess(
    probabilities: Sequence[Sequence[float | None]],
    pictures: Sequence[Picture],
    images_not_analysed: int,
    model: LoadedModel,
    settings: Settings,
) -> Assessment:
    """Return the policy's word on the study; its reason also says what a reader must know of the material."""
    assessment = model.policy.assess(probabilities)
    age_days = historical_age_days(pictures, settings)
    if age_days is not None:
        assessment = unflagged(assessment, f"Historical study ({age_days} days old)")
    marks = [assessment.reason]
    today = site_date(settings)
    if all(patient_age_years(picture.header, today) is None for picture in pictures):
        marks.append("age unknown, taken for an adult")
    if images_not_analysed:
        marks.append(f"{images_not_analysed} image{'s' if images_not_analysed > 1 else ''} of the study not analysed")
    return replace(assessment, reason="; ".join(marks))


def _classify(picture: Picture, model: LoadedModel, watch: Stopwatch) -> Classification:
    with watch.stage("preprocess"):
        views = model.classifier.prepare(picture.radiograph.pixels)
    with watch.stage("classify"):
        return model.classifier.classify(views)


def _saliency(finding: AssessedFinding, classifications: Sequence[Classification]) -> NDArray[np.float32]:
    map = classifications[finding.source_index].maps[LABELS.index(finding.label)]
    return saliency(map, (INPUT_SIZE_PX, INPUT_SIZE_PX))


def historical_age_days(pictures: Sequence[Picture], settings: Settings) -> int | None:
    """Return the study's age in days if it is older than the limit; None when it is not or has no readable date."""
    today = site_date(settings)
    ages = [age for picture in pictures if (age := study_age_days(picture.header, today)) is not None]
    youngest = min(ages, default=0)
    return youngest if youngest > settings.historical_after_days else None
