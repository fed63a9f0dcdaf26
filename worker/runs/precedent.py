"""Whether an earlier run of the study already looked at just these pictures, with this model and this policy.

A transcoded copy changes nothing; corrected patient or order data re-issue the results without inference; other pixels,
another set of pictures, another model or another policy are a new analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from dicom_io.identity import OPTIONAL, REQUIRED
from dicom_io.instance_store import InstanceStore, StoreError
from model.labels import LABELS
from worker.arrival.correction import lay_over
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.rows.study_tables import IdentityCorrection, Instance, Study
from worker.runs.reading import Picture, read_header
from worker.runs.workplace import LoadedModel

CARRIED_KEYWORDS = (*REQUIRED, *OPTIONAL, "RequestAttributesSequence", "BurnedInAnnotation")
"""What our results copy from their source (patient, study and order); decoded values are compared."""
RENDERING_KEYWORDS = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
"""What decides how the same stored values look (PS3.3 C.11.1, C.11.2): another window is another picture."""


class Likeness(Enum):
    """How a run's material compares with that of the study's current run."""

    OTHER = "other"
    SAME = "same"
    CORRECTED = "corrected"
    """Same pixels, model and policy, other patient or order data."""


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
        {uid: _probabilities(run, instance.id) for uid, instance in instances.items()},
    )


def _probabilities(run: Run, instance_id: int) -> tuple[float | None, ...]:
    by_label = {row.finding: row.probability for row in run.predictions if row.instance_id == instance_id}
    return tuple(by_label.get(label) for label in LABELS)


def compare(
    precedent: Precedent | None,
    pictures: Sequence[Picture],
    model: LoadedModel,
    store: InstanceStore,
    corrections: Sequence[IdentityCorrection] = (),
) -> Likeness:
    """Return how these pictures, seen by this model, compare with the precedent.

    Parameters
    ----------
    corrections
        Of the study's identity, as laid over the pictures' headers; one that no run has carried makes a difference.
    """
    if precedent is None:
        return Likeness.OTHER
    material = frozenset((picture.sop_instance_uid, picture.radiograph.pixel_sha256) for picture in pictures)
    seen_by = (model.bundle.model_version, model.policy.hash)
    if (precedent.model_version, precedent.policy_hash) != seen_by or precedent.material != material:
        return Likeness.OTHER
    versions = [(picture, precedent.instances[picture.sop_instance_uid]) for picture in pictures]
    carried = [correction for correction in corrections if correction.run_id is not None]
    found = {_compare_versions(picture, before, store, carried) for picture, before in versions}
    if len(carried) < len(corrections):
        found.add(Likeness.CORRECTED)
    return next(likeness for likeness in (Likeness.OTHER, Likeness.CORRECTED, Likeness.SAME) if likeness in found)


def _compare_versions(
    picture: Picture, before: Instance, store: InstanceStore, carried: Sequence[IdentityCorrection]
) -> Likeness:
    """Compare the headers of two versions of an instance with equal stored values."""
    if before.id == picture.instance_id:
        return Likeness.SAME
    try:
        header = read_header(before, store)
        lay_over(header, carried)
    except StoreError:  # the older version is gone: look anew rather than keep what may be wrong
        return Likeness.OTHER
    if decoded_values(picture.header, RENDERING_KEYWORDS) != decoded_values(header, RENDERING_KEYWORDS):
        return Likeness.OTHER
    same = decoded_values(picture.header, CARRIED_KEYWORDS) == decoded_values(header, CARRIED_KEYWORDS)
    return Likeness.SAME if same else Likeness.CORRECTED


def decoded_values(header: Dataset, keywords: Sequence[str]) -> dict[str, str]:
    """Return these values as text, names in Unicode whatever their character set; never to be logged."""
    header.decode()
    return {keyword: str(header.get(keyword, "absent")) for keyword in keywords}
