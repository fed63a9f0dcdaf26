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
    radlex: str | None
    """RadLex identifier of the same concept, where RadLex has one."""


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
    "Atelectasis": FindingCode(_ATELECTASIS, LUNG, _ATELECTASIS, "RID28493"),
    "Cardiomegaly": FindingCode(_CARDIOMEGALY, HEART, _CARDIOMEGALY, None),
    "Effusion": FindingCode(_EFFUSION, PLEURA, _EFFUSION, "RID34539"),
    "Infiltration": FindingCode(
        Code("112121", "DCM", "Infiltrate"), LUNG, Code("409609008", "SCT", "Radiologic infiltrate of lung"), None
    ),
    "Mass": FindingCode(Code("4147007", "SCT", "Mass"), LUNG, Code("309529002", "SCT", "Lung mass"), "RID39056"),
    "Nodule": FindingCode(
        Code("27925004", "SCT", "Nodule"), LUNG, Code("786838002", "SCT", "Nodule of lung"), "RID50149"
    ),
    "Pneumonia": FindingCode(_PNEUMONIA, LUNG, _PNEUMONIA, "RID5350"),
    "Pneumothorax": FindingCode(_PNEUMOTHORAX, PLEURA, _PNEUMOTHORAX, "RID5352"),
    "Consolidation": FindingCode(_CONSOLIDATION, LUNG, _CONSOLIDATION, "RID43255"),
    "Edema": FindingCode(_EDEMA, LUNG, _EDEMA, "RID4866"),
    "Emphysema": FindingCode(_EMPHYSEMA, LUNG, _EMPHYSEMA, "RID4799"),
    "Fibrosis": FindingCode(_FIBROSIS, LUNG, _FIBROSIS, None),
    "Pleural_Thickening": FindingCode(_THICKENING, PLEURA, _THICKENING, "RID28509"),
    "Hernia": FindingCode(_HERNIA, DIAPHRAGM, _HERNIA, None),
}
"""Keyed by the label strings of ChestX-ray14, which the model bundles use."""


@dataclass(frozen=True)
class PriorityCode:
    """One triage level in the words of the standards that carry it to a worklist."""

    report: Code
    """Value of (260870009, SCT, "Priority") in the structured report."""
    scheduled_procedure_step_priority: str
    """UPS (0074,1200); never LOW, which would rank a study below those nobody analysed."""
    requested_procedure_priority: str
    """(0040,1003)."""
    hl7_tq1_9: str
    """HL7 v2 TQ1-9 priority."""
    actionable: Code | None
    """ACR category of an actionable finding (CID 7035)."""


PRIORITY_CODES: dict[str, PriorityCode] = {
    "STAT": PriorityCode(
        Code("25876001", "SCT", "Emergency"),
        "HIGH",
        "STAT",
        "S",
        Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding"),
    ),
    "URGENT": PriorityCode(
        Code("103391001", "SCT", "Urgent"),
        "HIGH",
        "HIGH",
        "A",
        Code("RID49481", "RADLEX", "ACR Category 2 Actionable Finding"),
    ),
    "ROUTINE": PriorityCode(Code("50811001", "SCT", "Routine"), "MEDIUM", "ROUTINE", "R", None),
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
