"""What others may write into a workitem: N-SET and N-CREATE (PS3.4 table CC.2.5-3)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from dicom_io.ups.states import StepState
from dicom_io.ups.status import UpsRefusal, UpsStatus

MAXIMUM_DATA_SET_BYTES = 1 << 20
"""A workitem is a page of text; nothing honest is longer."""
MAXIMUM_ITEMS, MAXIMUM_NESTING = 10_000, 16
"""Of its sequences; those of a workitem are nested five deep, and it may list some thousand images."""
PRIORITIES = ("HIGH", "MEDIUM", "LOW")
READINESS = ("INCOMPLETE", "UNAVAILABLE", "READY")

SETTABLE = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "WorklistLabel",
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledHumanPerformersSequence",
    "ScheduledProcedureStepStartDateTime",
    "ExpectedCompletionDateTime",
    "ScheduledProcedureStepExpirationDateTime",
    "ScheduledWorkitemCodeSequence",
    "CommentsOnTheScheduledProcedureStep",
    "InputReadinessState",
    "InputInformationSequence",
    "OutputDestinationSequence",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""What N-SET changes."""
ASSIGNING = ("ScheduledStationNameCodeSequence", "ScheduledHumanPerformersSequence")
"""A change of these is reported as UPS Assigned."""
PROGRESS = "ProcedureStepProgressInformationSequence"
_CREATION_ONLY = frozenset(
    {
        "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence", "PatientBirthDate", "PatientBirthTime", "PatientSex", "PatientAge", "PatientSize",
        "PatientWeight", "MedicalAlerts", "Allergies", "SpecialNeeds", "PregnancyStatus", "AdmissionID",
        "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence",
        "ReferencedRequestSequence", "ReplacedProcedureStepSequence", "StudyInstanceUID", "AccessionNumber",
        "SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepModificationDateTime",
    }
)  # fmt: skip
"""Not to be changed by N-SET; the request is refused, so that nobody believes a patient was corrected here."""
_REQUIRED = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
)
"""Type 1 of N-CREATE, beside the state."""
_NOT_ATTRIBUTES = frozenset({"TransactionUID", "SpecificCharacterSet", "TimezoneOffsetFromUTC"})


def settable(modifications: Dataset) -> tuple[Dataset, bool]:
    """Return what of an N-SET is kept, and whether something was left out that workitems here do not have.

    Raises
    ------
    UpsRefusal
        It would change what N-SET must not, or a value is none the attribute can have.
    """
    if "ProcedureStepState" in modifications:
        if str(modifications.ProcedureStepState) == StepState.SCHEDULED:
            raise UpsRefusal(UpsStatus.SCHEDULED_ONLY_BY_CREATION)
        raise UpsRefusal(UpsStatus.NO_SUCH_ATTRIBUTE, "the state is changed by N-ACTION, not N-SET")
    if forbidden := sorted(element.keyword for element in modifications if element.keyword in _CREATION_ONLY):
        raise UpsRefusal(UpsStatus.NO_SUCH_ATTRIBUTE, f"N-SET cannot change {forbidden[0]}")
    kept = _kept(modifications, SETTABLE)
    _check_values(kept)
    known = {*SETTABLE, *_NOT_ATTRIBUTES}
    return kept, any(element.keyword not in known for element in modifications)


def creatable(attributes: Dataset) -> tuple[Dataset, bool]:
    """Return what of an N-CREATE is kept, and whether something was left out.

    Raises
    ------
    UpsRefusal
        A required attribute is missing or empty, the state is not SCHEDULED, or a value cannot be.
    """
    if str(attributes.get("ProcedureStepState", "")) != StepState.SCHEDULED:
        raise UpsRefusal(UpsStatus.NOT_CREATED_SCHEDULED)
    for keyword in _REQUIRED:
        if keyword not in attributes:
            raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE, f"{keyword} is missing")
        if not attributes.get(keyword):
            raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE_VALUE, f"{keyword} is empty")
    if attributes.get("TransactionUID"):
        raise UpsRefusal(UpsStatus.INVALID_ATTRIBUTE_VALUE, "Transaction UID must be empty in N-CREATE")
    allowed = {*SETTABLE, *_CREATION_ONLY} - {PROGRESS, "UnifiedProcedureStepPerformedProcedureSequence"}
    kept = _kept(attributes, allowed)
    _check_values(kept)
    kept.ProcedureStepState = StepState.SCHEDULED.value
    kept.ProcedureStepProgressInformationSequence = []
    kept.UnifiedProcedureStepPerformedProcedureSequence = []
    known = {*allowed, *_NOT_ATTRIBUTES, "ProcedureStepState", PROGRESS}
    known.add("UnifiedProcedureStepPerformedProcedureSequence")
    return kept, any(element.keyword not in known for element in attributes)


def _kept(dataset: Dataset, keywords: Iterable[str]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            kept.add(dataset[keyword])
    return kept


def _check_values(kept: Dataset) -> None:
    """Refuse values outside the enumerations, and empty ones where N-SET demands one (type 1)."""
    for keyword, allowed in (("ScheduledProcedureStepPriority", PRIORITIES), ("InputReadinessState", READINESS)):
        if keyword in kept and str(kept.get(keyword)) not in allowed:
            raise UpsRefusal(UpsStatus.INVALID_ATTRIBUTE_VALUE, f"{keyword} is none of {', '.join(allowed)}")
    for keyword in ("ProcedureStepLabel", "WorklistLabel", "ScheduledProcedureStepStartDateTime"):
        if keyword in kept and not kept.get(keyword):
            raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE_VALUE, f"{keyword} is empty")
    for element in kept:
        if element.keyword.endswith("Sequence") != (element.VR == "SQ"):
            raise UpsRefusal(UpsStatus.INVALID_ATTRIBUTE_VALUE, f"{element.keyword} has another kind of value")
