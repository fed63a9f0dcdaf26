"""The last look before a message may leave: does it carry the patient, the study and the orders of its images?

Judged on the bytes, read back and decoded, so that a mistake anywhere on the way is found, whoever made it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from dicom_io.data_sets.elements import items
from dicom_io.data_sets.header import text
from hl7_io.reading import Message, Segment, part, read_message
from hl7_io.segments import InvalidMessageError
from hl7_io.text import plain


def require_identity(content: bytes, headers: Sequence[Dataset]) -> None:
    """Refuse a message whose patient, study or order differs from that of the images.

    Raises
    ------
    InvalidMessageError
        Naming the attributes that differ, never their values.
    """
    if wrong := identity_differences(read_message(content), headers):
        raise InvalidMessageError(f"the message differs from its images in {', '.join(wrong)}; it was not kept")


def identity_differences(message: Message, headers: Sequence[Dataset]) -> list[str]:
    """Return the DICOM keywords in which a message of ours differs from the images; empty when it may be sent."""
    study, patient = headers[0], message.first("PID")
    if patient is None:
        return ["PatientID"]
    wrong = [] if patient.text(3, 1) == plain(text(study, "PatientID")) else ["PatientID"]
    if patient.text(3, 4) not in _issuers(study):
        wrong.append("IssuerOfPatientID")
    if _name(patient) != _plain_name(text(study, "PatientName")):
        wrong.append("PatientName")
    uids = {part(value, 1) for value in _values(message, "113014")}
    if uids != {str(study.StudyInstanceUID)}:
        wrong.append("StudyInstanceUID")
    if not {request.text(18) for request in message.all("OBR")} <= _accession_numbers(headers):
        wrong.append("AccessionNumber")
    return wrong


def named_in(message: Message) -> tuple[str, set[str], bool]:
    """Return the Patient ID and the Study Instance UIDs a message of ours names, and whether it is a withdrawal."""
    patient = message.first("PID")
    uids = {part(value, 1) for value in _values(message, "113014")}
    withdrawn = {request.text(25) for request in message.all("OBR")} == {"X"}
    return (patient.text(3, 1) if patient else ""), uids, withdrawn


def _issuers(study: Dataset) -> set[str]:
    named = plain(text(study, "IssuerOfPatientID"))
    qualifiers = study.get("IssuerOfPatientIDQualifiersSequence") or ()
    return {named} if named else {plain(text(item, "LocalNamespaceEntityID")) for item in qualifiers} or {""}


def _accession_numbers(headers: Sequence[Dataset]) -> set[str]:
    """Return the accession numbers of the images and of their orders; with an empty one where an order has none."""
    orders = [order for header in headers for order in items(header, "RequestAttributesSequence")]
    return {plain(text(item, "AccessionNumber")) for item in (*headers, *orders)}


def _name(patient: Segment) -> str:
    """Return PID-5 in the form and order of a DICOM person name."""
    groups = []
    for name in patient.repetitions(5):
        family, given, middle, suffix, prefix = (part(name, number) for number in range(1, 6))
        groups.append("^".join([family, given, middle, prefix, suffix]).rstrip("^"))
    return "=".join(groups)


def _plain_name(value: str) -> str:
    """Return a person name without what means nothing: blanks around parts, empty parts at ends."""
    groups = ["^".join(plain(part) for part in group.split("^")[:5]).rstrip("^") for group in value.split("=")[:3]]
    return "=".join(group for group in groups if group)


def _values(message: Message, identifier: str) -> list[list[list[str]]]:
    return [value for item in message.all("OBX") if item.text(3) == identifier for value in item.repetitions(5)]
