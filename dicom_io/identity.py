"""Whose result it is: patient, study and orders as in the source, decoded once and written in UTF-8."""

from __future__ import annotations

from copy import deepcopy

from pydicom import DataElement, Dataset
from pydicom.valuerep import PersonName

UTF_8 = "ISO_IR 192"

REQUIRED = (
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
"""Type 2 in the Patient and General Study modules: empty where the source lacks them."""
OPTIONAL = (
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
"""Type 3 or 1C: absent where the source lacks them."""


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy the patient and study attributes of `source` into `target`, whatever `target` held.

    Values are taken as they are, empty ones and invalid ones too. What the source lacks is absent in the result, or
    empty where an object without it would be invalid (type 2, PS3.5 7.4.3), which says the same: unknown. Text is
    written in UTF-8, unless the source declares no character set: then its bytes go out as they came in, for nobody
    knows what they mean, and our own text is ASCII.
    """
    target.StudyInstanceUID = source.StudyInstanceUID
    for keyword in (*REQUIRED, *OPTIONAL):
        if keyword in target:
            delattr(target, keyword)
        if keyword in source:
            target.add(detached(source, keyword))
        elif keyword in REQUIRED:
            setattr(target, keyword, "")
    if source.get("SpecificCharacterSet"):
        target.SpecificCharacterSet = UTF_8
    elif "SpecificCharacterSet" in target:
        del target.SpecificCharacterSet


def detached(source: Dataset, keyword: str) -> DataElement:
    """Return a copy of one element of `source` that can be written in another character set.

    Texts are decoded, those inside sequences too: pydicom would write the bytes of an untouched item as they were
    read. Names are made anew, for they keep the bytes of their old character set. Where the source declares none,
    the bytes stay.
    """
    element = deepcopy(source[keyword])
    if not source.get("SpecificCharacterSet"):
        return element
    if element.VR == "SQ":
        for item in element.value or ():
            item.decode()
            _rename(item)
    elif element.VR == "PN":
        _rename_element(element)
    return element


def _rename(item: Dataset) -> None:
    for element in item.iterall():
        if element.VR == "PN":
            _rename_element(element)


def _rename_element(element: DataElement) -> None:
    if isinstance(element.value, PersonName):
        element.value = PersonName(str(element.value))
