"""Whose study it is by the archive's word, asked right before results go there (C-FIND, Study Root).

Modalities send before a study is reconciled: the archive may know better by then. Where it names another patient or
order, the study is corrected to that, nothing of the old identity leaves, and the next run issues the results again. A
study that the archive does not know yet is waited for. What HL7 or a person has corrected stands: such a study is only
looked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.data_sets.header import text
from dicom_io.services.query import ArchiveError, ArchiveUnreachable, querying
from worker.arrival.correction import correct_identity, corrections_of
from worker.arrival.identity import storable
from worker.rows.leases import locked_study
from worker.rows.states import StudyState
from worker.sending.post_office import PostOffice
from worker.settings.peers import Destination

logger = logging.getLogger(__name__)

CAUSE = "archive"
_KEYWORDS = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
}
_DEMOGRAPHICS = ("patient_name", "patient_birth_date", "patient_sex")


@dataclass(frozen=True)
class Hindrance:
    """Why no result of a study may go to the archive now."""

    why: str
    unreachable: bool = False
    """Whether there was no association at all."""


def settle_identity(study_instance_uid: str, destination: Destination, office: PostOffice) -> Hindrance | None:
    """Ask the archive whose study it is and correct ours to that; a held one stays as it is.

    An archive names one patient of a study, whatever its images say: that two patients are one, it does not say.

    Returns
    -------
    Hindrance or None
        What keeps results of the study back, to be tried again later; None where they may go. After a correction those
        at hand are out of date and no longer wait to be sent.
    """
    try:
        answers = _asked(study_instance_uid, destination, office)
    except ArchiveError as error:
        return Hindrance(f"whose study it is was not asked: {error}", isinstance(error, ArchiveUnreachable))
    if not answers:
        return Hindrance(f"{destination.ae_title} does not know the study yet")
    stated = [_stated(answer) for answer in answers]
    if any(each != stated[0] for each in stated[1:]):
        return Hindrance(f"{destination.ae_title} has the study under {len(stated)} identities; settle that there")
    _correct(study_instance_uid, stated[0], destination, office)
    return None


def _asked(study_instance_uid: str, destination: Destination, office: PostOffice) -> list[Dataset]:
    wanted = dict.fromkeys(_KEYWORDS.values(), "")
    with querying(destination.peer(), office.settings.ae_title, office.patience()) as query:
        matches = query.find("STUDY", StudyInstanceUID=study_instance_uid, **wanted)
    return [match for match in matches if text(match, "StudyInstanceUID") == study_instance_uid]


def _stated(answer: Dataset) -> dict[str, str]:
    """Return what the archive says, by column of ``study``; what it leaves empty it does not say."""
    values = {column: storable(text(answer, keyword)) for column, keyword in _KEYWORDS.items()}
    return {column: value for column, value in values.items() if value}


def _correct(study_instance_uid: str, stated: Mapping[str, str], destination: Destination, office: PostOffice) -> None:
    with office.sessions.begin() as session:
        study = locked_study(session, study_instance_uid)
        if study is None or study.state == StudyState.HELD:
            return
        if any(item.cause != CAUSE for item in corrections_of(session, study_instance_uid)):
            return
        corrected = correct_identity(
            session,
            study,
            patient_id=stated.get("patient_id", study.patient_id),
            issuer_of_patient_id=stated.get("issuer_of_patient_id", study.issuer_of_patient_id),
            demographics={column: stated.get(column) for column in _DEMOGRAPHICS},
            accession_number=stated.get("accession_number"),
            cause=CAUSE,
            actor=office.worker_name,
            reason=f"by the word of {destination.name}",
        )
    if corrected:
        logger.info("corrected by the word of %s", destination.name)
