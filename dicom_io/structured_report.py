"""The structured report of one run: TID 1500 in Comprehensive 3D SR, or in an older class for an older PACS.

The tree: image library, then one measurement group "AI summary" (outcome and priority) and one group per finding
at or above its threshold. A finding below it is left out by default, since a reader that ignores Presence takes any
Finding for a positive one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from dicom_io.codes import ABSENT, CHEST, FINDINGS, IMAGING_PROCEDURE, PRESENT, PRIORITY_CODES, display_name
from dicom_io.identity import add_equipment, add_times, copy_patient_and_study, result_uid
from dicom_io.image_library import image_library
from dicom_io.product import DEVICE_SERIAL_NUMBER, MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.reporting import (
    DEMONSTRATION_NOTICE,
    NOT_FOR_DIAGNOSTIC_USE,
    InvalidReportError,
    Report,
    ReportedFinding,
)
from dicom_io.uids import deterministic_uid

SERIES_NUMBER = 9001
SERIES_DESCRIPTION = "AI CXR triage report"
SOP_CLASSES = {
    str(Comprehensive3DSRStorage): Comprehensive3DSR,
    str(ComprehensiveSRStorage): ComprehensiveSR,
    str(EnhancedSRStorage): EnhancedSR,
}
"""Classes the same tree may be written in, the preferred one first."""

_PRIORITY = Code("260870009", "SCT", "Priority")
_ENGLISH = CodedConcept("en-US", "RFC5646", "English (United States)")
_REQUEST_KEYWORDS = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferencedStudySequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)


def build_structured_report(
    sources: Sequence[Dataset],
    report: Report,
    *,
    sop_class_uid: str = str(Comprehensive3DSRStorage),
    include_negatives: bool = False,
    site_zone: tzinfo = UTC,
    device_serial_number: str = DEVICE_SERIAL_NUMBER,
) -> Dataset:
    """Return the structured report of `report`; the same arguments give the same bytes.

    Parameters
    ----------
    sources
        Headers of the analysed images, in the order of ``report.images``. The first one lends patient and study.
    sop_class_uid
        A key of `SOP_CLASSES`. Each class has its own SOP Instance UID.
    include_negatives
        Add a group with Presence = Absent for every finding below its threshold.
    site_zone
        Zone of the written dates and times where the source states none.
    device_serial_number
        Tells installations apart.

    Raises
    ------
    InvalidReportError
        The headers are not those of the report's images, are of two studies, a finding has no code, or the SOP
        class is not one of the three.
    """
    _check(sources, report, sop_class_uid)
    groups = [_summary_group(sources, report)]
    groups += [_finding_group(sources, report, finding) for finding in report.flagged]
    if include_negatives:
        groups += [_finding_group(sources, report, finding) for finding in report.unflagged]
    content = _tree(sources, groups, device_serial_number)
    document = SOP_CLASSES[sop_class_uid](
        evidence=[_reference(source) for source in sources],
        content=content,
        series_instance_uid=result_uid(sources[0].StudyInstanceUID, report, "structured_report", "series"),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=result_uid(sources[0].StudyInstanceUID, report, "structured_report", sop_class_uid),
        instance_number=1,
        is_complete=True,
        requested_procedures=_requests(sources[0]) or None,
        previous_versions=_predecessors(sources[0], report) or None,
    )
    del document.ContributingEquipmentSequence  # highdicom's note on itself, with the time of day in it
    copy_patient_and_study(sources[0], document)
    add_equipment(document, report, device_serial_number)
    add_times(document, sources[0], report.created_at, site_zone)
    return Dataset(dict(document.items()))


def _tree(
    sources: Sequence[Dataset], groups: list[MeasurementsAndQualitativeEvaluations], device_serial_number: str
) -> Dataset:
    """Return the root container with everything in it."""
    tree = MeasurementReport(
        observation_context=_observer(device_serial_number),
        procedure_reported=IMAGING_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(_ENGLISH),
    )
    root: Dataset = tree[0]
    content = root.ContentSequence
    content.insert(len(content) - 1, image_library(sources))  # before the Imaging Measurements
    return root


def _check(sources: Sequence[Dataset], report: Report, sop_class_uid: str) -> None:
    if [source.SOPInstanceUID for source in sources] != [image.sop_instance_uid for image in report.images]:
        raise InvalidReportError("sources must be the headers of report.images, in the same order")
    if len({source.StudyInstanceUID for source in sources}) != 1:
        raise InvalidReportError("all sources of one report must be of one study")
    unknown = [finding.label for finding in report.findings if finding.label not in FINDINGS]
    if unknown:
        raise InvalidReportError(f"no code for {', '.join(unknown)}; add it to dicom_io.codes.FINDINGS")
    if sop_class_uid not in SOP_CLASSES:
        raise InvalidReportError(f"sop_class_uid must be one of {', '.join(SOP_CLASSES)}, is {sop_class_uid}")


def _observer(device_serial_number: str) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=deterministic_uid("device", MANUFACTURER_MODEL_NAME, device_serial_number),
        name=MANUFACTURER_MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER_MODEL_NAME,
        serial_number=device_serial_number,
    )
    return ObservationContext(ObserverContext(codes.DCM.Device, device))


def _algorithm(report: Report, *parameters: str) -> AlgorithmIdentification:
    """Return TID 4019; a demonstration model says what it is in its name, wherever the name is shown."""
    name = report.algorithm.name
    return AlgorithmIdentification(
        name=f"{name} ({DEMONSTRATION_NOTICE})" if report.demonstration else name,
        version=report.algorithm.version,
        parameters=parameters,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=report.algorithm.manufacturer,
    )


def _tracking(source: Dataset, report: Report, identifier: str) -> TrackingIdentifier:
    uid = result_uid(source.StudyInstanceUID, report, "tracking", identifier)
    return TrackingIdentifier(uid=uid, identifier=identifier)


def _image(source: Dataset) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)


def _summary_group(sources: Sequence[Dataset], report: Report) -> MeasurementsAndQualitativeEvaluations:
    """Return the group "AI summary": outcome, priority, its reason, and what the report must not be used for."""
    outcome = (
        codes.DCM.AllAlgorithmsSucceededWithFindings
        if report.flagged
        else codes.DCM.AllAlgorithmsSucceededWithoutFindings
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(sources[0], report, "AI summary"),
        algorithm_id=_algorithm(report),
        finding_sites=[FindingSite(CHEST)],
        qualitative_evaluations=[
            QualitativeEvaluation(codes.DCM.CADProcessingAndFindingsSummary, outcome),
            QualitativeEvaluation(_PRIORITY, PRIORITY_CODES[report.priority].report),
        ],
        source_images=[_image(source) for source in sources],
    )
    notice = DEMONSTRATION_NOTICE if report.demonstration else NOT_FOR_DIAGNOSTIC_USE
    for text in (f"{report.priority}: {report.priority_reason}", notice):
        comment = TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _finding_group(
    sources: Sequence[Dataset], report: Report, finding: ReportedFinding
) -> MeasurementsAndQualitativeEvaluations:
    code = FINDINGS[finding.label]
    source = sources[finding.source_index]
    certainty = Measurement(
        name=codes.DCM.CertaintyOfFinding, value=round(100.0 * finding.probability, 1), unit=codes.UCUM.Percent
    )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, report, f"{display_name(finding.label)} (AI)"),
        finding_type=code.finding,
        finding_sites=[FindingSite(code.site)],
        algorithm_id=_algorithm(report, f"operating_threshold={finding.threshold:.4g}"),
        measurements=[certainty],
        qualitative_evaluations=[
            QualitativeEvaluation(codes.DCM.PresenceOfProperty, PRESENT if finding.flagged else ABSENT)
        ],
        source_images=[_image(source)],
    )


def _reference(source: Dataset) -> Dataset:
    """Return what highdicom needs of a source; the identity is copied afterwards, unchecked and as it is."""
    reference = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(reference, keyword, source[keyword].value)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(reference, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(reference, keyword, None)
    return reference


def _requests(source: Dataset) -> list[Dataset]:
    """Return the orders the image answers, from its Request Attributes Sequence (PS3.3 C.17.2)."""
    requests = []
    for attributes in source.get("RequestAttributesSequence") or ():
        request = Dataset()
        for keyword in _REQUEST_KEYWORDS:
            if keyword in attributes:
                request.add(attributes[keyword])
        request.StudyInstanceUID = source.StudyInstanceUID
        for keyword in _REQUEST_KEYWORDS[3:]:
            if keyword not in request:
                setattr(request, keyword, [] if keyword.endswith("Sequence") else "")
        if "ReferencedStudySequence" not in request:
            request.ReferencedStudySequence = []
        if "AccessionNumber" not in request:
            request.AccessionNumber = source.get("AccessionNumber", "")
        requests.append(request)
    return requests


def _predecessors(source: Dataset, report: Report) -> list[Dataset]:
    if report.predecessor is None:
        return []
    earlier = Dataset()
    earlier.SOPClassUID = report.predecessor.sop_class_uid
    earlier.SOPInstanceUID = report.predecessor.sop_instance_uid
    earlier.SeriesInstanceUID = report.predecessor.series_instance_uid
    earlier.StudyInstanceUID = source.StudyInstanceUID
    return [earlier]
