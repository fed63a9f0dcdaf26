"""The workitem of one triaged study: interpret it, and how soon (PS3.3 B.26, PS3.4 table CC.2.5-3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_io.foundation.concepts import Code
from dicom_io.foundation.content_items import code_item
from dicom_io.foundation.uids import deterministic_uid
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.orders import referenced_requests
from dicom_io.ups.states import StepState, date_time

UPS_PUSH = UID("1.2.840.10008.5.1.4.34.6.1")
"""SOP class of every workitem, whatever was negotiated (PS3.4 CC.3.1)."""
INTERPRETATION = Code("110005", "DCM", "Interpretation")
"""CID 9231."""
NOT_ANALYSED_LABEL = "AI CXR NOT ANALYSED"
MAXIMUM_LABEL_CHARACTERS = 64

PATIENT_KEYWORDS = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientAge",
)
"""The patient as the images name them, corrections laid over."""
MACHINE_KEYWORDS = (
    *PATIENT_KEYWORDS,
    "StudyInstanceUID",
    "AccessionNumber",
    "ReferencedRequestSequence",
    "ProcedureStepLabel",
    "CommentsOnTheScheduledProcedureStep",
    "InputInformationSequence",
    "InputReadinessState",
)
"""What a later run of the study writes anew, beside the priority; the rest stays as others left it."""


@dataclass(frozen=True)
class Reference:
    """One DICOM object of the study."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Triaged:
    """What a study's workitem says."""

    headers: Sequence[Dataset]
    """Of its images, at least one; patient and orders are taken from them."""
    priority: str
    """Scheduled Procedure Step Priority: HIGH or MEDIUM."""
    label: str
    reason: str
    """For people: why this priority."""
    inputs: Sequence[Reference]
    """What a reader looks at: the images, the report and the pictures."""
    retrieve_ae_title: str
    """Where the inputs can be had."""


def workitem_uid(study_instance_uid: str, ordinal: int) -> str:
    """Return the UID of the study's ``ordinal``-th workitem, counted from 1; always the same one."""
    return deterministic_uid(study_instance_uid, "workitem", str(ordinal))


def build_workitem(uid: str, triaged: Triaged, worklist_label: str, now: datetime) -> Dataset:
    """Return a new workitem in state SCHEDULED with every attribute that N-CREATE requires.

    Parameters
    ----------
    now
        Aware time, from which it may be started.
    """
    workitem = machine_attributes(triaged)
    workitem.SOPClassUID = UPS_PUSH
    workitem.SOPInstanceUID = uid
    workitem.ScheduledProcedureStepPriority = triaged.priority
    workitem.WorklistLabel = worklist_label
    workitem.ScheduledProcedureStepStartDateTime = date_time(now)
    workitem.ScheduledProcedureStepModificationDateTime = date_time(now)
    workitem.ScheduledWorkitemCodeSequence = [code_item(INTERPRETATION)]
    workitem.ProcedureStepState = StepState.SCHEDULED.value
    for keyword in (
        "ScheduledProcessingParametersSequence",
        "ScheduledStationNameCodeSequence",
        "ScheduledStationClassCodeSequence",
        "ScheduledStationGeographicLocationCodeSequence",
        "ScheduledHumanPerformersSequence",
        "IssuerOfAdmissionIDSequence",
        "AdmittingDiagnosesCodeSequence",
        "ProcedureStepProgressInformationSequence",
        "UnifiedProcedureStepPerformedProcedureSequence",
    ):
        setattr(workitem, keyword, [])
    workitem.AdmissionID = ""
    workitem.AdmittingDiagnosesDescription = ""
    return workitem


def machine_attributes(triaged: Triaged) -> Dataset:
    """Return the attributes of `MACHINE_KEYWORDS`, and no others."""
    identity = Dataset()
    copy_patient_and_study(triaged.headers[0], identity)
    stated = Dataset()
    for keyword in (*PATIENT_KEYWORDS, "StudyInstanceUID", "AccessionNumber"):
        if keyword in identity:
            stated.add(identity[keyword])
    stated.ReferencedRequestSequence = referenced_requests(triaged.headers) or [_request_of_study(identity)]
    stated.ProcedureStepLabel = triaged.label[:MAXIMUM_LABEL_CHARACTERS]
    stated.CommentsOnTheScheduledProcedureStep = triaged.reason
    stated.InputInformationSequence = _inputs(str(identity.StudyInstanceUID), triaged)
    stated.InputReadinessState = "READY"
    return stated


def _request_of_study(identity: Dataset) -> Dataset:
    """Return the one order a study without Request Attributes answers, as far as it is known."""
    request = Dataset()
    request.StudyInstanceUID = identity.StudyInstanceUID
    request.AccessionNumber = identity.get("AccessionNumber", "")
    for keyword in ("RequestedProcedureID", "RequestedProcedureDescription"):
        setattr(request, keyword, "")
    request.RequestedProcedureCodeSequence = []
    return request


def _inputs(study_instance_uid: str, triaged: Triaged) -> list[Dataset]:
    """Return the Input Information Sequence: one item per series (PS3.3 table 10-3b)."""
    series: dict[str, Dataset] = {}
    for reference in triaged.inputs:
        if reference.series_instance_uid not in series:
            series[reference.series_instance_uid] = _series(study_instance_uid, reference, triaged.retrieve_ae_title)
        instance = Dataset()
        instance.ReferencedSOPClassUID = reference.sop_class_uid
        instance.ReferencedSOPInstanceUID = reference.sop_instance_uid
        series[reference.series_instance_uid].ReferencedSOPSequence.append(instance)
    return list(series.values())


def _series(study_instance_uid: str, reference: Reference, retrieve_ae_title: str) -> Dataset:
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID = study_instance_uid
    item.SeriesInstanceUID = reference.series_instance_uid
    item.ReferencedSOPSequence = []
    retrieval = Dataset()
    retrieval.RetrieveAETitle = retrieve_ae_title
    item.DICOMRetrievalSequence = [retrieval]
    return item
