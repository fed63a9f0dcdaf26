"""A merge of two patients that the images of a held study name says that they are one.

The row of such a study has one of the Patient IDs and its images have the others, too: so the images are asked, as
corrected so far. What the message says of the patient holds for all images under one of its two identifiers where these
agree with each other, for then they are one patient's. Else it holds for the names only that the message itself gives,
as in any held study. Whether all images agree now is looked at afterwards (`worker.care.settled`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import combinations

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.person_names import names_agree
from dicom_io.storing.instance_store import InstanceStore
from hl7_io.inbound import PatientIdentifier, PatientMerge
from worker.arrival.corrected_images import corrected_columns
from worker.arrival.correction import corrections_of, issue_again, telling_names
from worker.arrival.identity import WHOSE, contradiction, identity_columns, storable
from worker.care.settled import MOST_SPELLINGS, telling
from worker.care.study_objects import ObjectUnreadable, objects_in_force, with_headers
from worker.hl7.patient_match import Fit, doubt_about, fit, patient_ids
from worker.rows.database import database_now
from worker.rows.states import StudyState
from worker.rows.study_tables import IdentityCorrection, Instance, Study
from worker.settings.hl7_listener import Hl7Listener

logger = logging.getLogger(__name__)

Columns = Mapping[str, str]
"""What an image says of its patient, by column of ``study``."""
Whose = tuple[str, str]
"""Patient ID and its issuer."""


def held_with_images_of(session: Session, identifiers: Sequence[PatientIdentifier]) -> list[str]:
    """Return the UIDs of held studies that have an image under one of these, as received or as corrected."""
    ids = [identifier.identifier for identifier in identifiers]
    uid = Study.study_instance_uid
    received = exists().where(Instance.study_instance_uid == uid, Instance.current, Instance.patient_id.in_(ids))
    corrected = exists().where(IdentityCorrection.study_instance_uid == uid, IdentityCorrection.patient_id.in_(ids))
    return list(session.scalars(select(uid).where(Study.state == StudyState.HELD, or_(received, corrected))))


def divided(session: Session, study: Study, store: InstanceStore) -> list[Columns]:
    """Return what each image of a held study says, where they name several Patient IDs or issuers; else nothing.

    The caller has locked the study's row.
    """
    if study.state != StudyState.HELD:
        return []
    try:
        objects = telling(session, with_headers(objects_in_force(session, study.study_instance_uid), store))
    except ObjectUnreadable as error:
        logger.warning("a merge does not reach the images of a held study: %s", error)
        return []
    corrections = corrections_of(session, study.study_instance_uid)
    images: list[Columns] = [corrected_columns(identity_columns(header), corrections) for _, header in objects]
    issuers = {issuer for _, issuer in map(whose, images)} - {""}
    return images if len({patient_id for patient_id, _ in map(whose, images)}) > 1 or len(issuers) > 1 else []


def whose(image: Columns) -> Whose:
    """Return the Patient ID that an image states, and its issuer."""
    return image["patient_id"], image["issuer_of_patient_id"]


@dataclass(frozen=True)
class Merging:
    """A merge, the identifier that survives it, and where it came in."""

    merge: PatientMerge
    survivor: PatientIdentifier
    listener: Hl7Listener

    def concerns(self, stated: Whose) -> Fit:
        """Return whether what has this Patient ID goes by the prior identifier."""
        return fit(*stated, self.merge.prior, self.listener)

    def doubt(self, stated: Iterable[Whose]) -> str:
        """Return why it is in doubt which of these go by the prior identifier; empty where it is not."""
        fits = {each: self.concerns(each) for each in stated}
        issuers = [issuer for (_, issuer), fitting in fits.items() if fitting is Fit.YES]
        return doubt_about(fits.values(), issuers, self.merge.prior, self.listener)

    def target(self, stated: Whose) -> Whose:
        """Return what takes its place: under the same issuer, unless the merge leads into another domain."""
        prior = {identifier.authority for identifier in patient_ids(self.merge.prior, self.listener)}
        same_domain = {self.survivor.authority} >= prior
        return storable(self.survivor.identifier), stated[1] if same_domain else storable(self.survivor.authority)


def unite(
    session: Session, study: Study, images: Sequence[Columns], merging: Merging, *, cause: str, actor: str
) -> bool:
    """Write down that the images under the prior identifier are the surviving patient's; the study is looked at again.

    The caller has locked the study's row and commits.

    Parameters
    ----------
    images
        Of the study, from `divided`.
    cause, actor
        As of `worker.arrival.correction.correct_identity`.

    Returns
    -------
    bool
        False where one number with and without that issuer is among them, which a correction would not tell apart;
        nothing was written then.
    """
    groups: dict[str, list[Columns]] = {}
    for image in images:
        if merging.concerns(whose(image)) is Fit.YES:
            groups.setdefault(image["patient_id"], []).append(image)
    others = [image for image in images if merging.concerns(whose(image)) is not Fit.YES]
    if any(_is_taken_along(image, groups.get(image["patient_id"], ())) for image in others):
        return False
    now = database_now(session)
    for patient_id, group in groups.items():
        prior = patient_id, _issuer(group)
        target = merging.target(prior)
        names = _names_of_one_patient(group, merging.merge.names if merging.merge.prior_names else ())
        session.add(_correction(study, prior, target, merging.merge, names, cause, now))
        if study.patient_id == patient_id and merging.concerns((patient_id, study.issuer_of_patient_id)) is Fit.YES:
            study.patient_id, study.issuer_of_patient_id = target
    staying = [image for image in others if _is_under(image, target)]
    if staying:
        names = _names_of_one_patient(staying)
        session.add(_correction(study, target, target, merging.merge, names, cause, now))
    reason = f"{cause} merged the patient of {len(images) - len(others)} of the held study's {len(images)} objects"
    issue_again(session, study, ["patient_id"], reason, actor=actor, at=now)
    return True


def _issuer(images: Sequence[Columns]) -> str:
    return next((issuer for _, issuer in map(whose, images) if issuer), "")


def _is_taken_along(image: Columns, group: Sequence[Columns]) -> bool:
    """Say whether a correction of these images would be one of this image, too, as their issuers do not tell."""
    return bool(group) and not (image["issuer_of_patient_id"] and _issuer(group))


def _is_under(image: Columns, target: Whose) -> bool:
    patient_id, issuer = whose(image)
    return patient_id == target[0] and (not target[1] or issuer in ("", target[1]))


def _names_of_one_patient(images: Sequence[Columns], expected: Sequence[str] = ()) -> list[str]:
    """Return the names these images go by, if they are one patient's, and called as `expected` where any is."""
    stated = list({tuple(image[column] for column in WHOSE): image for image in images}.values())
    if len(stated) > MOST_SPELLINGS or any(contradiction(one, other) for one, other in combinations(stated, 2)):
        return []
    names = [image["patient_name"] for image in stated]
    as_expected = not expected or all(any(names_agree(name, each) for each in expected) for name in names)
    return names if as_expected else []


def _correction(
    study: Study,
    prior: Whose,
    target: Whose,
    merge: PatientMerge,
    names: Sequence[str],
    cause: str,
    now: datetime,
) -> IdentityCorrection:
    stated = {column: value and storable(value) for column, value in asdict(merge.demographics).items()}
    concerned = [merge.demographics.patient_name or "", *merge.names, *names]
    return IdentityCorrection(
        study_instance_uid=study.study_instance_uid,
        at=now,
        cause=cause[:64],
        prior_patient_id=prior[0],
        prior_issuer_of_patient_id=prior[1],
        patient_id=target[0],
        issuer_of_patient_id=target[1],
        concerned_names=telling_names(concerned),
        names_verbatim=True,
        prior_accession_number=study.accession_number,
        **stated,
    )
