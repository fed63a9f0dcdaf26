"""The last look before a kept file leaves: does it name the patient and the study that its row belongs to?

Every object was compared with its source when it was made (`dicom_io.results.identity_guard`), and its bytes with their
hash just now. This finds what neither can: a row that points at somebody else's file, and a study that became another
patient's since. What takes results back names whoever they were stored under, so of it only the study is compared.

Names and orders are not compared: images of one study may spell a name in two ways and belong to two orders. What was
made before a correction of either is no longer due at all (`worker.sending.outbox`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.header import PARSE_ERRORS, text
from hl7_io.identity_guard import named_in
from hl7_io.reading import UnreadableError, read_message
from hl7_io.text import plain
from worker.arrival.identity import storable
from worker.rows.states import ResultKind
from worker.rows.study_tables import Study
from worker.sending.outbox import Parcel


@dataclass(frozen=True)
class Owner:
    """Whose results they are to be."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str


def owner_of(session: Session, study_instance_uid: str) -> Owner:
    """Return the study's identity as it is now, corrections included."""
    named = select(Study.study_instance_uid, Study.patient_id, Study.issuer_of_patient_id)
    return Owner(*session.execute(named.where(Study.study_instance_uid == study_instance_uid)).one())


def contradiction(parcel: Parcel, path: Path, owner: Owner) -> str:
    """Name what in the file contradicts the owner, without its value; empty where the file may go."""
    try:
        if parcel.kind == ResultKind.HL7_MESSAGE:
            return _in_message(path, owner)
        return _in_object(parcel, path, owner)
    except (InvalidDicomError, UnreadableError, *PARSE_ERRORS):
        return "everything: it cannot be read"


def _in_object(parcel: Parcel, path: Path, owner: Owner) -> str:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if text(header, "StudyInstanceUID") != owner.study_instance_uid:
        return "StudyInstanceUID"
    if parcel.kind == ResultKind.REJECTION_NOTE:
        return ""
    if storable(text(header, "PatientID")) != owner.patient_id:
        return "PatientID"
    issuer = storable(text(header, "IssuerOfPatientID"))
    return "IssuerOfPatientID" if issuer and owner.issuer_of_patient_id not in ("", issuer) else ""


def _in_message(path: Path, owner: Owner) -> str:
    patient_id, study_instance_uids, withdrawn = named_in(read_message(path.read_bytes()))
    if study_instance_uids != {owner.study_instance_uid}:
        return "StudyInstanceUID"
    return "" if withdrawn or patient_id == plain(owner.patient_id) else "PatientID"
