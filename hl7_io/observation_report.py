"""The message that tells a RIS or worklist engine what was seen: ORU^R01 of HL7 v2.5.1, preliminary (OBR-25 P).

One ORDER_OBSERVATION group per order, each with the same observations, so that a receiver that files by order misses
none. What an earlier message of the study named and this one does not is deleted (OBX-11 D). `docs/hl7.md` describes
every field; a test holds it against what stands here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_io.codes import FINDINGS, PRIORITY_CODES, display_name
from dicom_io.header import text
from dicom_io.origin import local_time
from dicom_io.product import DEVICE_SERIAL_NUMBER, MANUFACTURER_MODEL_NAME
from dicom_io.reporting import DEMONSTRATION_NOTICE, Report, ReportedFinding
from hl7_io.addressing import Addressing
from hl7_io.identity_guard import require_identity
from hl7_io.order_identifiers import OrderIdentifiers, authority, order_identifiers
from hl7_io.person_name import patient_names, physician
from hl7_io.segments import Fields, InvalidMessageError, add_segment, er7, new_message
from hl7_io.text import encoded, escape

DISCLAIMER = (
    "PRELIMINARY output of software, not seen by a physician. It orders the reading worklist. "
    "Not for diagnostic use, not for the patient's chart."
)
PRIORITY_NAMES = {"S": "Stat", "A": "ASAP", "R": "Routine"}
"""HL7 table 0485."""
DICOM_STUDY = Code("113014", "DCM", "DICOM Study")
"""OBX-3 of the Study Instance UID, as in IHE RAD-128."""
CONTROL_ID_CHARACTERS = 20
"""Longest MSH-10 in v2.5.1."""
MAXIMUM_IDENTIFIER_CHARACTERS = 64
"""Longest Patient ID or order number that DICOM allows (VR LO); HL7's shorter limits are not applied, as nowhere."""
_SURE_PERCENT = 99.9


@dataclass(frozen=True)
class Announcement:
    """What one message says of one study."""

    report: Report
    headers: Sequence[Dataset]
    """Of the analysed images, in the order of `report.images`."""
    priority: str
    """Level of the study, never below one announced before: STAT, URGENT or ROUTINE."""
    critical: frozenset[str] = frozenset()
    """Labels that make a study STAT; their OBX-8 is AA, that of other flagged findings A."""
    withdrawn: tuple[str, ...] = ()
    """Labels an earlier message of the study named as found and this report does not."""
    device_serial_number: str = DEVICE_SERIAL_NUMBER
    site_zone: tzinfo = UTC


def control_id(*parts: str) -> str:
    """Return the MSH-10 that belongs to these parts, the same one for every attempt and duplicate."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(digest).decode()[:CONTROL_ID_CHARACTERS]


def build_observation_report(announcement: Announcement, addressing: Addressing, message_control_id: str) -> bytes:
    """Return the message, without MLLP's framing, in the receiver's character set or else in UTF-8.

    Raises
    ------
    InvalidMessageError
        The study has no Patient ID, an identifier is longer than DICOM allows, a value fits no HL7 type, or the
        message read back names another patient, study or order than the images.
    """
    _require_identifiers(announcement.headers[0])
    message = _text(announcement, addressing, message_control_id, addressing.character_set)
    content, written_in = encoded(message, addressing.character_set)
    if written_in != addressing.character_set:
        content = _text(announcement, addressing, message_control_id, written_in).encode("utf-8", "replace")
    require_identity(content, announcement.headers)
    return content


def _require_identifiers(study: Dataset) -> None:
    if not text(study, "PatientID"):
        raise InvalidMessageError("the study has no Patient ID (PID-3), so nobody could tell whose result it is")
    for keyword in ("PatientID", "AccessionNumber"):
        if len(text(study, keyword)) > MAXIMUM_IDENTIFIER_CHARACTERS:
            raise InvalidMessageError(f"{keyword} is longer than {MAXIMUM_IDENTIFIER_CHARACTERS} characters")


def _text(announcement: Announcement, addressing: Addressing, message_control_id: str, written_in: str) -> str:
    made_at = local_time(announcement.headers[0], announcement.report.created_at, announcement.site_zone)
    header = _header(addressing, message_control_id, timestamp(made_at), written_in)
    message = new_message("ORU_R01", header)
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = result.add_group("ORU_R01_PATIENT")
    study = announcement.headers[0]
    add_segment(patient, "PID", patient_fields(study))
    add_segment(patient.add_group("ORU_R01_VISIT"), "PV1", _visit(study))
    for number, order in enumerate(order_identifiers(announcement.headers), start=1):
        _add_order(result.add_group("ORU_R01_ORDER_OBSERVATION"), number, order, announcement, timestamp(made_at))
    return er7(message)


def _header(addressing: Addressing, message_control_id: str, made_at: str, written_in: str) -> Fields:
    return {
        3: _designator(addressing.sending_application),
        4: _designator(addressing.sending_facility),
        5: _designator(addressing.receiving_application),
        6: _designator(addressing.receiving_facility),
        7: made_at,
        9: "ORU^R01^ORU_R01",
        10: message_control_id,
        11: addressing.processing_id,
        18: written_in,
    }


def _designator(configured: str) -> str:
    return "^".join(escape(part) for part in configured.split("^"))


def patient_fields(study: Dataset) -> Fields:
    """Return PID as the images state the patient: identifier with its issuer, name, birth date, sex."""
    issuer = authority(study.get("IssuerOfPatientIDQualifiersSequence"), text(study, "IssuerOfPatientID"))
    assigned_by = "&".join(issuer).rstrip("&")
    sex = text(study, "PatientSex")
    return {
        1: "1",
        3: f"{escape(text(study, 'PatientID'))}^^^{assigned_by}^PI",
        5: patient_names(text(study, "PatientName")) or [""],
        7: _moment(text(study, "PatientBirthDate"), ""),
        8: sex if sex in ("M", "F", "O") else "",
    }


def _visit(study: Dataset) -> Fields:
    admission = text(study, "AdmissionID")
    return {
        2: "U",
        8: physician(text(study, "ReferringPhysicianName")),
        19: escape(admission) if len(admission) <= MAXIMUM_IDENTIFIER_CHARACTERS else "",
    }


def _add_order(group: Any, number: int, order: OrderIdentifiers, announcement: Announcement, made_at: str) -> None:
    study = announcement.headers[0]
    add_segment(group, "ORC", {1: "RE", 2: order.placer_number, 3: order.filler_number})
    request = {
        1: str(number),
        2: order.placer_number,
        3: order.filler_number,
        4: order.procedure,
        7: _moment(text(study, "StudyDate"), text(study, "StudyTime")),
        16: physician(text(study, "RequestingPhysician")),
        18: order.accession_number,
        19: order.requested_procedure_id,
        22: made_at,
        24: "RAD",
        25: "P",
    }
    add_segment(group, "OBR", request)
    level = PRIORITY_CODES[announcement.priority].hl7_tq1_9
    timing = {1: "1", 9: f"{level}^{PRIORITY_NAMES[level]}^HL70485"}
    add_segment(group.add_group("ORU_R01_TIMING_QTY"), "TQ1", timing)
    equipment = f"{escape(announcement.device_serial_number)}^{MANUFACTURER_MODEL_NAME}"
    for set_id, observation in enumerate(_observations(announcement), start=1):
        fields = {1: str(set_id), 11: "P", 14: made_at, 18: equipment, **observation}
        add_segment(group.add_group("ORU_R01_OBSERVATION"), "OBX", fields)


def _observations(announcement: Announcement) -> Iterator[Fields]:
    report = announcement.report
    outcome = (
        codes.DCM.AllAlgorithmsSucceededWithFindings
        if report.flagged
        else codes.DCM.AllAlgorithmsSucceededWithoutFindings
    )
    study_instance_uid = str(announcement.headers[0].StudyInstanceUID)
    yield {2: "ST", 3: coded(DICOM_STUDY), 5: study_instance_uid, 11: "O"}
    yield {2: "CWE", 3: coded(codes.DCM.CADProcessingAndFindingsSummary), 5: coded(outcome)}
    for finding in report.flagged:
        yield from _found(finding, critical=finding.label in announcement.critical)
    for label in announcement.withdrawn:
        yield from _deleted(label)
    yield {2: "ST", 3: coded(codes.DCM.AlgorithmName), 5: escape(report.algorithm.name)}
    yield {2: "ST", 3: coded(codes.DCM.AlgorithmVersion), 5: escape(report.algorithm.version)}
    yield {2: "ST", 3: coded(codes.DCM.Comment), 4: "1", 5: escape(DISCLAIMER)}
    for sub_id, comment in enumerate(_comments(announcement), start=2):  # may be longer than an ST
        yield {2: "TX", 3: coded(codes.DCM.Comment), 4: str(sub_id), 5: escape(comment)}


def _found(finding: ReportedFinding, *, critical: bool) -> Iterator[Fields]:
    sub_id = observation_sub_id(finding.label)
    abnormal = "AA" if critical else "A"
    percent = min(_SURE_PERCENT, max(100.0 - _SURE_PERCENT, 100.0 * finding.probability))
    yield {2: "CWE", 3: coded(codes.DCM.Finding), 4: sub_id, 5: _named(finding.label), 8: abnormal}
    yield {
        2: "NM",
        3: coded(codes.DCM.CertaintyOfFinding),
        4: sub_id,
        5: f"{percent:.1f}",
        6: "%^percent^UCUM",
        7: f"<{100 * finding.threshold:.1f}",
        8: abnormal,
    }


def _deleted(label: str) -> Iterator[Fields]:
    sub_id = observation_sub_id(label)
    yield {2: "CWE", 3: coded(codes.DCM.Finding), 4: sub_id, 5: _named(label), 11: "D"}
    yield {2: "NM", 3: coded(codes.DCM.CertaintyOfFinding), 4: sub_id, 6: "%^percent^UCUM", 11: "D"}


def _named(label: str) -> str:
    """Return a finding as CWE: its code, and as original text (component 9) what people call it, the site included."""
    return f"{coded(FINDINGS[label].precoordinated)}^^^^^^{escape(display_name(label))}"


def _comments(announcement: Announcement) -> list[str]:
    report = announcement.report
    texts = [DEMONSTRATION_NOTICE] if report.demonstration else []
    texts.append(f"{report.priority}: {report.priority_reason}")
    if report.reissue_reason:
        texts.append(f"Replaces the earlier AI result of this study: {report.reissue_reason}")
    if announcement.priority != report.priority:
        texts.append(f"The study keeps its earlier level {announcement.priority}: only a person lowers it")
    return texts


def observation_sub_id(label: str) -> str:
    """Return OBX-4 of a finding: its number among all findings, so that a later message means the same one."""
    return str(list(FINDINGS).index(label) + 1)


def coded(code: Code) -> str:
    """Return a code as CE or CWE: identifier, text, coding system."""
    return "^".join(escape(part) for part in (code.value, code.meaning, code.scheme_designator))


def timestamp(moment: datetime) -> str:
    """Return an aware time as DTM with its offset, to the second."""
    return f"{moment:%Y%m%d%H%M%S%z}"


def _moment(date: str, time: str) -> str:
    """Return a DICOM date, and time where it has one, as DTM; empty where there is no valid date."""
    for given, layout in ((date + time.split(".")[0], "%Y%m%d%H%M%S"), (date, "%Y%m%d")):
        try:
            return datetime.strptime(given, layout).strftime(layout)
        except ValueError:
            continue
    return ""
