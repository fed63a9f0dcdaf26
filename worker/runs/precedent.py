"""Whether an earlier run of the study already looked at just these pictures, with this model and this policy.

A transcoded copy changes nothing; corrected patient or order data, and another number of images that were not analysed,
re-issue the results without inference; other pixels, another way to show them, another set of pictures, another model
or another policy are a new analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.pixels.radiograph import UndecodableError
from dicom_io.results.identity import OPTIONAL, REQUIRED
from dicom_io.results.presentation_state import shown_as
from model.labels import LABELS
from worker.arrival.corrected_images import lay_over
from worker.foundation.errors import RunError
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.rows.study_tables import IdentityCorrection, Instance, Study
from worker.runs.lost_results import are_lost
from worker.runs.reading import Picture, read_picture
from worker.runs.workplace import LoadedModel, Workplace

CARRIED_KEYWORDS = (*REQUIRED, *OPTIONAL, "RequestAttributesSequence", "BurnedInAnnotation", "PatientOrientation")
"""What our results copy from their source (patient, study, order); decoded values are compared."""


class Likeness(Enum):
    """How a run's material compares with that of the study's current run."""

    OTHER = "other"
    SAME = "same"
    CORRECTED = "corrected"
    """Same pictures, model and policy, other patient or order data."""
    COUNTED = "counted"
    """Same in all that was analysed, and another number of images beside it that were not."""
    LOST = "lost"
    """Same, and files of its results are gone or damaged (`worker.runs.lost_results`)."""


_MOST_TELLING_FIRST = (Likeness.OTHER, Likeness.CORRECTED, Likeness.COUNTED, Likeness.SAME)


@dataclass(frozen=True)
class Precedent:
    """The study's current run as far as a new one needs to know it."""

    run_id: int
    model_version: str
    policy_hash: str
    material: frozenset[tuple[str, str]]
    """SOP Instance UID and pixel SHA-256 of each analysed picture."""
    instances: dict[str, Instance]
    """The analysed versions by SOP Instance UID."""
    images_not_analysed: int
    """Of how many other images of the study its results say that they were not analysed."""
    probabilities: dict[str, tuple[float | None, ...]]
    """Per SOP Instance UID, in the order of ``LABELS``."""


def load_precedent(session: Session, study_instance_uid: str) -> Precedent | None:
    """Return the study's current run, or None when nothing was analysed yet."""
    run = session.get_one(Study, study_instance_uid).current_run
    if run is None or run.state != RunState.DONE or run.model_version is None or run.policy_hash is None:
        return None
    instances = {row.instance.sop_instance_uid: row.instance for row in run.predictions}
    return Precedent(
        run.id,
        run.model_version,
        run.policy_hash,
        frozenset((uid, instance.pixel_sha256 or "") for uid, instance in instances.items()),
        instances,
        run.images_not_analysed or 0,
        {uid: _probabilities(run, instance.id) for uid, instance in instances.items()},
    )


def _probabilities(run: Run, instance_id: int) -> tuple[float | None, ...]:
    by_label = {row.finding: row.probability for row in run.predictions if row.instance_id == instance_id}
    return tuple(by_label.get(label) for label in LABELS)


def compare(
    precedent: Precedent | None,
    pictures: Sequence[Picture],
    images_not_analysed: int,
    model: LoadedModel,
    workplace: Workplace,
    corrections: Sequence[IdentityCorrection] = (),
    *,
    asked: bool = False,
) -> Likeness:
    """Return how these pictures, seen by this model, compare with the precedent.

    Parameters
    ----------
    images_not_analysed
        How many images of the study the results would say were not.
    corrections
        Of the study's identity, as laid over the pictures' headers; one that no run has carried makes a difference.
    asked
        Whether a person asked for the run; then all files of the precedent's results are looked at.
    """
    if precedent is None:
        return Likeness.OTHER
    material = frozenset((picture.sop_instance_uid, picture.radiograph.pixel_sha256) for picture in pictures)
    seen_by = (model.bundle.model_version, model.policy.hash)
    if (precedent.model_version, precedent.policy_hash) != seen_by or precedent.material != material:
        return Likeness.OTHER
    versions = [(picture, precedent.instances[picture.sop_instance_uid]) for picture in pictures]
    carried = [correction for correction in corrections if correction.run_id is not None]
    found = {_compare_versions(picture, before, workplace, carried) for picture, before in versions}
    if len(carried) < len(corrections):
        found.add(Likeness.CORRECTED)
    if precedent.images_not_analysed != images_not_analysed:
        found.add(Likeness.COUNTED)
    likeness = next(likeness for likeness in _MOST_TELLING_FIRST if likeness in found)
    if likeness is Likeness.SAME and are_lost(precedent.run_id, workplace, asked=asked):
        return Likeness.LOST
    return likeness


def _compare_versions(
    picture: Picture, before: Instance, workplace: Workplace, carried: Sequence[IdentityCorrection]
) -> Likeness:
    """Compare two versions of an instance with equal stored values: what they look like and whom they name."""
    if before.id == picture.instance_id:
        return Likeness.SAME
    try:
        earlier = read_picture(before, workplace.instances, workplace.settings.decoding)
    except (RunError, UndecodableError):  # the older version is gone: look anew rather than keep what may be wrong
        return Likeness.OTHER
    lay_over(earlier.header, carried)
    if not _look_alike(picture, earlier):
        return Likeness.OTHER
    same = decoded_values(picture.header, CARRIED_KEYWORDS) == decoded_values(earlier.header, CARRIED_KEYWORDS)
    return Likeness.SAME if same else Likeness.CORRECTED


def _look_alike(picture: Picture, earlier: Picture) -> bool:
    """Say whether two versions are one picture, for the network and at a workstation.

    Drawn and compared, not told from elements: equal stored values look different under another LUT, window, sign or
    layout, and no list of the elements that decide could be known to be complete.
    """
    if not np.array_equal(picture.radiograph.pixels, earlier.radiograph.pixels):
        return False
    try:
        return shown_as(picture.header) == shown_as(earlier.header)
    except PARSE_ERRORS:
        return False


def decoded_values(header: Dataset, keywords: Sequence[str]) -> dict[str, str]:
    """Return these values as text, names in Unicode whatever their character set; never to be logged."""
    header.decode()
    return {keyword: str(header.get(keyword, "absent")) for keyword in keywords}
