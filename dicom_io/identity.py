"""Whose result it is and which one: patient and study as in the source, our equipment, UIDs and local times."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom import DataElement, Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import PersonName

from dicom_io.product import DEVICE_SERIAL_NUMBER, MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.reporting import Report
from dicom_io.uids import deterministic_uid

UTF_8 = "ISO_IR 192"

_REQUIRED = (  # type 2 in the Patient and General Study modules: empty where the source lacks them
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
_OPTIONAL = (  # type 3 or 1C: absent where the source lacks them
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy the patient and study attributes of `source` into `target`, whatever `target` held.

    Values are taken as they are, empty ones and invalid ones too. What the source lacks is absent in the result, or
    empty where an object without it would be invalid (type 2, PS3.5 7.4.3), which says the same: unknown. Text is
    written in UTF-8, unless the source declares no character set: then its bytes go out as they came in, for nobody
    knows what they mean, and our own text is ASCII.
    """
    target.StudyInstanceUID = source.StudyInstanceUID
    for keyword in (*_REQUIRED, *_OPTIONAL):
        if keyword in target:
            delattr(target, keyword)
        if keyword in source:
            target.add(_detached(source, keyword))
        elif keyword in _REQUIRED:
            setattr(target, keyword, "")
    if source.get("SpecificCharacterSet"):
        target.SpecificCharacterSet = UTF_8
    elif "SpecificCharacterSet" in target:
        del target.SpecificCharacterSet


def _detached(source: Dataset, keyword: str) -> DataElement:
    """Return a copy of one element; names are made anew, for pydicom keeps the bytes of their old character set."""
    element = deepcopy(source[keyword])
    if element.VR == "PN" and isinstance(element.value, PersonName) and source.get("SpecificCharacterSet"):
        element.value = PersonName(str(element.value))
    return element


def add_equipment(target: Dataset, report: Report, device_serial_number: str = DEVICE_SERIAL_NUMBER) -> None:
    """Add the General Equipment module (PS3.3 C.7.5.1): the product; Software Versions is the model's version."""
    target.Manufacturer = MANUFACTURER
    target.ManufacturerModelName = MANUFACTURER_MODEL_NAME
    target.DeviceSerialNumber = device_serial_number
    target.SoftwareVersions = report.algorithm.version


def result_uid(study_instance_uid: str, report: Report, *kind: str) -> str:
    """Return the UID of one object of this analysis, the same for every attempt.

    It changes with the study, the set of analysed images and their pixels, the model, the policy and the revision,
    and with `kind`, such as ``("secondary_capture", "Effusion")``; it does not change with the time.
    """
    analysed = sorted(f"{image.sop_instance_uid}:{image.pixel_sha256}" for image in report.images)
    seed = (study_instance_uid, *analysed, report.algorithm.name, report.algorithm.version, report.policy_hash)
    return deterministic_uid(*seed, str(report.revision), *kind)


def local_time(source: Dataset, moment: datetime, site_zone: tzinfo = UTC) -> datetime:
    """Return `moment` in the zone all times of the study are in.

    That is Timezone Offset From UTC (PS3.3 C.12.1.1.8) where the source states a valid one, else `site_zone`.
    """
    text = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(text) == 5 and text[0] in "+-" and text[1:].isascii() and text[1:].isdigit():
        minutes = 60 * int(text[1:3]) + int(text[3:])
        if minutes <= 14 * 60:
            return moment.astimezone(timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes)))
    return moment.astimezone(site_zone)


def add_times(target: Dataset, source: Dataset, moment: datetime, site_zone: tzinfo = UTC) -> None:
    """Set the series, content and instance creation date and time to `moment`, in the study's zone."""
    local = local_time(source, moment, site_zone)
    for prefix in ("Series", "Content", "InstanceCreation"):
        setattr(target, f"{prefix}Date", f"{local:%Y%m%d}")
        setattr(target, f"{prefix}Time", f"{local:%H%M%S}")


def code_item(code: Code) -> Dataset:
    """Return `code` as the item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
