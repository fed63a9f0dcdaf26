"""The message that tells a RIS or worklist engine what was seen: ORU^R01 of HL7 v2.5.1, preliminary (OBR-25 P).

One ORDER_OBSERVATION group per order, each with the same observations, so that a receiver that files by order misses
none. What an earlier message of the study named and this one does not is deleted (OBX-11 D). `docs/hl7.md` describes
every field; a test holds it against what stands here.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Any

from pydicom import Dataset

from dicom_io.data_sets.header import text
from dicom_io.data_sets.patient_age import dicom_date
from dicom_io.foundation.product import MANUFACTURER_MODEL_NAME
from dicom_io.results.codes import PRIORITY_CODES
from dicom_io.results.origin import local_time
from hl7_io.addressing import Addressing
from hl7_io.announcement import Announcement
from hl7_io.identity_guard import require_identity
from hl7_io.observations import observations
from hl7_io.order_identifiers import OrderIdentifiers, authority, order_identifiers
from hl7_io.person_name import UNKNOWN_NAME, patient_names, physician
from hl7_io.segments import Fields, InvalidMessageError, add_segment, er7, new_message
from hl7_io.text import encoded, escape

PRIORITY_NAMES = {"S": "Stat", "A": "ASAP", "R": "Routine"}
"""HL7 table 0485."""
CONTROL_ID_CHARACTERS = 20
"""Longest MSH-10 in v2.5.1."""
MAXIMUM_IDENTIFIER_CHARACTERS = 64
"""Longest Patient ID or order number that DICOM allows (VR LO); HL7's shorter limits are not applied, as nowhere."""
_CLOCKS = {2: "%H", 4: "%H%M", 6: "%H%M%S"}
"""Forms of a DICOM time (TM, PS3.5 6.2) by their digits, fractions apart."""


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
        5: patient_names(text(study, "PatientName")) or [UNKNOWN_NAME],
        7: stated_moment(text(study, "PatientBirthDate"), ""),
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
        7: stated_moment(text(study, "StudyDate"), text(study, "StudyTime")),
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
    for set_id, observation in enumerate(observations(announcement), start=1):
        fields = {1: str(set_id), 11: "P", 14: made_at, 18: equipment, **observation}
        add_segment(group.add_group("ORU_R01_OBSERVATION"), "OBX", fields)


def timestamp(moment: datetime) -> str:
    """Return an aware time as DTM with its offset, to the second."""
    return f"{moment:%Y%m%d%H%M%S%z}"


def stated_moment(date: str, time: str) -> str:
    """Return a DICOM date, and time as far as it is stated, as DTM; empty where there is no valid date."""
    day = dicom_date(date)
    if day is None:
        return ""
    clock = time.split(".")[0].replace(":", "")
    layout = _CLOCKS.get(len(clock), "")  # strptime by itself would take "1015" for a minute and five seconds past ten
    try:
        return f"{day:%Y%m%d}{datetime.strptime(clock, layout).strftime(layout)}" if layout else f"{day:%Y%m%d}"
    except ValueError:
        return f"{day:%Y%m%d}"
