"""Codes of findings, body sites and priorities.

Every SNOMED CT code passes its check digit (Verhoeff). The use of SNOMED CT needs the site's own licence, and a
clinician with a terminology server should confirm the table before clinical use.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_io.foundation.concepts import Code

LUNG = Code("39607008", "SCT", "Lung")
HEART = Code("80891009", "SCT", "Heart")
PLEURA = Code("3120008", "SCT", "Pleura")
DIAPHRAGM = Code("5798000", "SCT", "Diaphragm")
CHEST = Code("816094009", "SCT", "Chest")


@dataclass(frozen=True)
class FindingCode:
    """How one label of the model is written in a structured report and in other standards."""

    finding: Code
    """Value of (121071, DCM, "Finding")."""
    site: Code
    """Value of (363698007, SCT, "Finding Site")."""
    precoordinated: Code
    """Finding and site in one code, for HL7 v2 and FHIR, which have no separate site."""


_ATELECTASIS = Code("46621007", "SCT", "Atelectasis")
_CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")
_EFFUSION = Code("60046008", "SCT", "Pleural effusion")
_PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
_PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
_CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
_EDEMA = Code("19242006", "SCT", "Pulmonary edema")
_EMPHYSEMA = Code("87433001", "SCT", "Pulmonary emphysema")
_FIBROSIS = Code("51615001", "SCT", "Fibrosis of lung")
_THICKENING = Code("RID28509", "RADLEX", "Thickening")  # SNOMED CT has no verifiable code for pleural thickening
_HERNIA = Code("39839004", "SCT", "Diaphragmatic hernia")

FINDINGS: dict[str, FindingCode] = {
    "Atelectasis": FindingCode(_ATELECTASIS, LUNG, _ATELECTASIS),
    "Cardiomegaly": FindingCode(_CARDIOMEGALY, HEART, _CARDIOMEGALY),
    "Effusion": FindingCode(_EFFUSION, PLEURA, _EFFUSION),
    "Infiltration": FindingCode(
        Code("112121", "DCM", "Infiltrate"), LUNG, Code("409609008", "SCT", "Radiologic infiltrate of lung")
    ),
    "Mass": FindingCode(Code("4147007", "SCT", "Mass"), LUNG, Code("309529002", "SCT", "Lung mass")),
    "Nodule": FindingCode(Code("27925004", "SCT", "Nodule"), LUNG, Code("786838002", "SCT", "Nodule of lung")),
    "Pneumonia": FindingCode(_PNEUMONIA, LUNG, _PNEUMONIA),
    "Pneumothorax": FindingCode(_PNEUMOTHORAX, PLEURA, _PNEUMOTHORAX),
    "Consolidation": FindingCode(_CONSOLIDATION, LUNG, _CONSOLIDATION),
    "Edema": FindingCode(_EDEMA, LUNG, _EDEMA),
    "Emphysema": FindingCode(_EMPHYSEMA, LUNG, _EMPHYSEMA),
    "Fibrosis": FindingCode(_FIBROSIS, LUNG, _FIBROSIS),
    "Pleural_Thickening": FindingCode(_THICKENING, PLEURA, _THICKENING),
    "Hernia": FindingCode(_HERNIA, DIAPHRAGM, _HERNIA),
}
"""Keyed by the label strings of ChestX-ray14, which the model bundles use."""


@dataclass(frozen=True)
class PriorityCode:
    """One triage level in the words of the standards that carry it to a worklist."""

    report: Code
    """Value of (260870009, SCT, "Priority") in the structured report."""
    scheduled_procedure_step_priority: str
    """UPS (0074,1200); never LOW, which would rank a study below those nobody analysed."""
    hl7_tq1_9: str
    """HL7 v2 TQ1-9 priority."""


PRIORITY_CODES: dict[str, PriorityCode] = {
    "STAT": PriorityCode(Code("25876001", "SCT", "Emergency"), "HIGH", "S"),
    "URGENT": PriorityCode(Code("103391001", "SCT", "Urgent"), "HIGH", "A"),
    "ROUTINE": PriorityCode(Code("50811001", "SCT", "Routine"), "MEDIUM", "R"),
}

PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
CLASS_ACTIVATION = Code("130402", "DCM", "Class activation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")


def display_name(label: str) -> str:
    """Return a label as people write it: ``Pleural_Thickening`` becomes ``Pleural Thickening``."""
    return label.replace("_", " ")
