"""Our documents as highdicom builds them: slower, checked by its own rules, and what ours must equal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
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

from dicom_io.data_sets.character_set import settle_character_set
from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.foundation.product import MANUFACTURER, MANUFACTURER_MODEL_NAME
from dicom_io.foundation.uids import deterministic_uid
from dicom_io.results.codes import ABSENT, CHEST, FINDINGS, IMAGING_PROCEDURE, PRESENT, PRIORITY_CODES, display_name
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.orders import referenced_requests
from dicom_io.results.origin import add_maker, add_origin, result_uid
from dicom_io.results.rejection_note import SERIES_DESCRIPTION as NOTE_DESCRIPTION
from dicom_io.results.rejection_note import SERIES_NUMBER as NOTE_NUMBER
from dicom_io.results.rejection_note import note_uid, stated_requests
from dicom_io.results.report_class import REPORT_CLASSES
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, NO_MEDICAL_DEVICE, Report, ReportedFinding
from dicom_io.results.structured_report import SERIES_DESCRIPTION, SERIES_NUMBER

ACQUISITION, CONTAINS = RelationshipTypeValues.HAS_ACQ_CONTEXT, RelationshipTypeValues.CONTAINS
PIXELS = Code("{pixels}", "UCUM", "Pixels")
MODALITIES = {"CR": Code("CR", "DCM", "Computed Radiography"), "DX": Code("DX", "DCM", "Digital Radiography")}
VIEWS = {"PA": Code("272479007", "SCT", "Postero-anterior"), "AP": Code("399348003", "SCT", "Antero-posterior")}


def highdicom_report(
    sources: Sequence[Dataset],
    report: Report,
    *,
    include_negatives: bool = False,
    site_zone: tzinfo = UTC,
    device_serial_number: str = "0001",
) -> Dataset:
    """Return what `dicom_io.results.structured_report.build_structured_report` returns for the same arguments."""
    study, findings = sources[0].StudyInstanceUID, [*report.flagged, *(report.unflagged if include_negatives else ())]
    document = Comprehensive3DSR(
        evidence=[bare_reference(source) for source in sources],
        content=tree(
            sources,
            [summary_group(sources, report), *(finding_group(sources, report, each) for each in findings)],
            device_serial_number,
        ),
        series_instance_uid=result_uid(study, report, "structured_report", "series"),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=result_uid(study, report, "structured_report", REPORT_CLASSES[0]),
        instance_number=1,
        is_complete=True,
        requested_procedures=referenced_requests(sources) or None,
        previous_versions=predecessors(sources[0], report) or None,
    )
    copy_patient_and_study(sources[0], document)
    add_origin(document, sources[0], report, site_zone=site_zone, device_serial_number=device_serial_number)
    settle_character_set(document, sources[0])
    return Dataset(dict(document.items()))


def tree(
    sources: Sequence[Dataset], groups: list[MeasurementsAndQualitativeEvaluations], device_serial_number: str
) -> Dataset:
    english = CodedConcept("en-US", "RFC5646", "English (United States)")
    made = MeasurementReport(
        observation_context=ObservationContext(device_context(device_serial_number)),
        procedure_reported=Code(*IMAGING_PROCEDURE),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(english),
    )
    root: Dataset = made[0]
    root.ContentSequence.insert(len(root.ContentSequence) - 1, image_library(sources))
    return root


def predecessors(source: Dataset, report: Report) -> list[Dataset]:
    found = []
    for predecessor in report.predecessors:
        earlier = Dataset()
        earlier.SOPClassUID, earlier.SOPInstanceUID = predecessor.sop_class_uid, predecessor.sop_instance_uid
        earlier.SeriesInstanceUID, earlier.StudyInstanceUID = predecessor.series_instance_uid, source.StudyInstanceUID
        found.append(earlier)
    return found


def summary_group(sources: Sequence[Dataset], report: Report) -> MeasurementsAndQualitativeEvaluations:
    dcm = codes.DCM
    succeeded = dcm.AllAlgorithmsSucceededWithFindings, dcm.AllAlgorithmsSucceededWithoutFindings
    halved = sum(image.half_resolution for image in report.images)
    parameters = [f"policy_sha256={report.policy_hash}"]
    parameters += [f"images_decoded_at_half_resolution={halved}"] if halved else []
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(sources[0], report, "AI summary"),
        algorithm_id=algorithm(report, *parameters),
        finding_sites=[FindingSite(Code(*CHEST))],
        qualitative_evaluations=[
            QualitativeEvaluation(dcm.CADProcessingAndFindingsSummary, succeeded[not report.flagged]),
            QualitativeEvaluation(Code("260870009", "SCT", "Priority"), Code(*PRIORITY_CODES[report.priority].report)),
        ],
        source_images=[image_of(source) for source in sources],
    )
    comments = [f"{report.priority}: {report.priority_reason}"]
    if report.reissue_reason:
        comments.append(f"Replaces the earlier AI report of this study: {report.reissue_reason}")
    comments += [DEMONSTRATION_NOTICE] if report.demonstration else []
    comments.append(NO_MEDICAL_DEVICE)
    group[0].ContentSequence.extend(TextContentItem(dcm.Comment, text, CONTAINS) for text in comments)
    return group


def finding_group(
    sources: Sequence[Dataset], report: Report, finding: ReportedFinding
) -> MeasurementsAndQualitativeEvaluations:
    code, source = FINDINGS[finding.label], sources[finding.source_index]
    percent = round(min(99.9, max(100.0 - 99.9, 100.0 * finding.probability)), 1)
    presence = QualitativeEvaluation(codes.DCM.PresenceOfProperty, Code(*(PRESENT if finding.flagged else ABSENT)))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(source, report, f"{display_name(finding.label)} (AI)"),
        finding_type=Code(*code.finding),
        finding_sites=[FindingSite(Code(*code.site))],
        algorithm_id=algorithm(report, f"operating_threshold={finding.threshold:.4g}"),
        measurements=[Measurement(name=codes.DCM.CertaintyOfFinding, value=percent, unit=codes.UCUM.Percent)],
        qualitative_evaluations=[presence],
        source_images=[image_of(source)],
    )


def algorithm(report: Report, *parameters: str) -> AlgorithmIdentification:
    name = report.algorithm.name
    return AlgorithmIdentification(
        name=f"{name} ({DEMONSTRATION_NOTICE})" if report.demonstration else name,
        version=report.algorithm.version,
        parameters=parameters,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=report.algorithm.manufacturer,
    )


def tracking(source: Dataset, report: Report, identifier: str) -> TrackingIdentifier:
    uid = result_uid(source.StudyInstanceUID, report, "tracking", identifier)
    return TrackingIdentifier(uid=uid, identifier=identifier)


def image_of(source: Dataset) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)


def image_library(sources: Sequence[Dataset]) -> ContainerContentItem:
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence([entry(source) for source in sources])
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def entry(source: Dataset) -> ImageContentItem:
    dcm, descriptors = codes.DCM, list[ContentItem]()
    if modality := MODALITIES.get(str(source.get("Modality", ""))):
        descriptors.append(CodeContentItem(dcm.Modality, modality, ACQUISITION))
    if view := VIEWS.get(str(source.get("ViewPosition", ""))):
        descriptors.append(CodeContentItem(Code("111031", "DCM", "Image View"), view, ACQUISITION))
    descriptors.append(NumContentItem(dcm.PixelDataRows, source.Rows, PIXELS, relationship_type=ACQUISITION))
    descriptors.append(NumContentItem(dcm.PixelDataColumns, source.Columns, PIXELS, relationship_type=ACQUISITION))
    if len(orientation := source.get("PatientOrientation") or ()) == 2:
        for name, value in zip((dcm.PatientOrientationRow, dcm.PatientOrientationColumn), orientation, strict=True):
            descriptors.append(TextContentItem(name, value, ACQUISITION))
    if len(spacing := source.get("ImagerPixelSpacing") or ()) == 2:
        for name, value in zip((dcm.HorizontalPixelSpacing, dcm.VerticalPixelSpacing), spacing[::-1], strict=True):
            unit = codes.UCUM.Millimeter
            descriptors.append(NumContentItem(name, float(value), unit, relationship_type=ACQUISITION))
    item = ImageContentItem(
        Code("260753009", "SCT", "Source"), source.SOPClassUID, source.SOPInstanceUID, relationship_type=CONTAINS
    )
    item.ContentSequence = ContentSequence(descriptors)
    return item


def highdicom_note(rejected: Sequence[Dataset], title: RejectionTitle, why: str, made_at: datetime) -> Dataset:
    """Return what `dicom_io.results.rejection_note.build_rejection_note` returns for the same arguments."""
    sop_instance_uid = note_uid(title, [str(header.SOPInstanceUID) for header in rejected])
    references = [bare_reference(header) for header in rejected]
    selection = KeyObjectSelection(
        Code(title.code_value, "DCM", title.meaning),
        references,
        observer_device_context=device_context("0001"),
        description=why,
    )
    note = KeyObjectSelectionDocument(
        evidence=references,
        content=selection,
        series_instance_uid=deterministic_uid(sop_instance_uid, "series"),
        series_number=NOTE_NUMBER,
        series_description=NOTE_DESCRIPTION,
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        requested_procedures=stated_requests(rejected) or None,
    )
    copy_patient_and_study(rejected[0], note)
    add_maker(note, rejected[0], made_at, str(rejected[0].get("SoftwareVersions", "")))
    settle_character_set(note, rejected[0])
    return Dataset(dict(note.items()))


def bare_reference(source: Dataset) -> Dataset:
    """Return what highdicom needs of a source; the identity is copied afterwards, unchecked and as it is."""
    reference = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(reference, keyword, source[keyword].value)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(reference, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(reference, keyword, None)
    for keyword in ("Rows", "Columns"):  # tells an image from another object
        if keyword in source:
            setattr(reference, keyword, source[keyword].value)
    return reference


def device_context(device_serial_number: str) -> ObserverContext:
    """Return the observer context of this installation (TID 1002, 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=deterministic_uid("device", MANUFACTURER_MODEL_NAME, device_serial_number),
        name=MANUFACTURER_MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=MANUFACTURER_MODEL_NAME,
        serial_number=device_serial_number,
    )
    return ObserverContext(codes.DCM.Device, device)
