"""Whose result it is: patient and study as in the source, copied as they are."""

from __future__ import annotations

from copy import deepcopy

from pydicom import DataElement, Dataset
from pydicom.valuerep import PersonName

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
    empty where an object without it would be invalid (type 2, PS3.5 7.4.3), which says the same: unknown. The
    character set follows when the object is finished (`dicom_io.data_sets.character_set`).
    """
    target.StudyInstanceUID = source.StudyInstanceUID
    for keyword in (*REQUIRED, *OPTIONAL):
        if keyword in target:
            delattr(target, keyword)
        if keyword in source:
            target.add(_copied(source[keyword]))
        elif keyword in REQUIRED:
            setattr(target, keyword, "")


def _copied(element: DataElement) -> DataElement:
    """Return an element of its own with the same value; one that cannot be changed in place is not copied as well."""
    if isinstance(element.value, str | PersonName):
        return DataElement(element.tag, element.VR, element.value, already_converted=True)
    return deepcopy(element)
