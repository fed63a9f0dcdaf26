"""Whose images these are: patient and order data as received, and when two identities contradict each other.

Nothing is corrected, trimmed or guessed: results carry what the images carried. A contradiction holds the study, and
with it everything not yet sent, until the images agree (`worker.care.settled`) or a person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import Row
from sqlalchemy.orm import Session

from dicom_io.data_sets.header import text
from dicom_io.data_sets.patient_age import birth_dates_differ
from dicom_io.data_sets.person_names import names_agree
from dicom_io.foundation.reasons import UNTIL_SETTLED, ReasonCode
from worker.rows.events import record
from worker.rows.reopening import reopen
from worker.rows.states import StudyState
from worker.rows.study_tables import Study
from worker.rows.undoing import stop_runs

COLUMN_KEYWORDS = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "patient_age": "PatientAge",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_description": "StudyDescription",
    "referring_physician_name": "ReferringPhysicianName",
    "order_priority": "RequestedProcedurePriority",
    "station_name": "StationName",
}

WHOSE = ("patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date")
"""What two images of one patient must agree in, as far as both say it."""


def identity_columns(header: Dataset) -> dict[str, str]:
    """Return the columns of ``study`` that come from the tags, as received; absent tags are empty text."""
    return {column: storable(text(header, keyword)) for column, keyword in COLUMN_KEYWORDS.items()}


def storable(value: str) -> str:
    """Return the text without what PostgreSQL cannot hold: NUL characters and halves of surrogate pairs."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def conflict(study: Study | Row[Any], columns: Mapping[str, str], *, replaces: bool = False) -> str | None:
    """Say how these tags contradict the study's patient, without naming a patient; None when they agree.

    Parameters
    ----------
    replaces
        Whether they are those of a new version of an image of the study. Under the same Patient ID it may correct name
        and birth date; whether the study's other images still say otherwise, the run sees (`worker.runs.doubt`).
    """
    known = {column: getattr(study, column) for column in WHOSE}
    return _of_another_id(known, columns) if replaces else contradiction(known, columns)


def contradiction(one: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """Say why two images cannot be taken for one patient's, without naming a patient; None where they can.

    An empty Patient ID beside a filled one is a contradiction; a missing issuer, name or birth date beside a filled one
    is not. Patient's Sex decides nothing: among images of one ID, name and birth date it is a slip of the pen.
    """
    if cause := _of_another_id(one, other):
        return cause
    if not names_agree(one["patient_name"], other["patient_name"]):
        return "has images with different names of the patient"
    if birth_dates_differ(one["patient_birth_date"], other["patient_birth_date"], datetime.now(UTC).date()):
        return "has images with different birth dates of the patient"
    return None


def sex_differs(study: Study | Row[Any], columns: Mapping[str, str]) -> bool:
    """Say whether the image is of a man and the study of a woman, or the other way round."""
    return {study.patient_sex, columns["patient_sex"]} == {"F", "M"}


def _of_another_id(one: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    if one["patient_id"] != other["patient_id"]:
        if not one["patient_id"] or not other["patient_id"]:
            return "has images with and without a Patient ID"
        return "has images with different Patient IDs"
    ours, theirs = one["issuer_of_patient_id"], other["issuer_of_patient_id"]
    if ours and theirs and ours != theirs:
        return "has images whose Patient IDs come from different issuers"
    return None


def take_over(study: Study, columns: Mapping[str, str], *, corrected: bool) -> None:
    """Take over what earlier images of the study left empty; a corrected version of an image also replaces."""
    for column, value in columns.items():
        if value and (corrected or not getattr(study, column)):
            setattr(study, column, value)


def hold(session: Session, study: Study, cause: str, now: datetime, *, actor: str, sop_instance_uid: str) -> None:
    """Hold the study for an identity conflict: no run starts or ends, nothing more is sent. The caller has its lock."""
    reason = f"The study {cause} (seen at instance {sop_instance_uid}); {UNTIL_SETTLED}."
    stop_runs(session, study, ReasonCode.IDENTITY_CONFLICT, reason, now)
    record(
        session,
        "held",
        actor=actor,
        study_instance_uid=study.study_instance_uid,
        from_state=study.state,
        to_state=StudyState.HELD,
        reason=reason,
        details={"reason_code": ReasonCode.IDENTITY_CONFLICT, "sop_instance_uid": sop_instance_uid},
        at=now,
    )
    reopen(session, study, "the doubt about the patient", now, actor=actor, run_id=None)
    study.state = StudyState.HELD
    study.reason_code = ReasonCode.IDENTITY_CONFLICT
    study.reason = reason
    study.due_at = None
