"""The structured report of one run: TID 1500 in Comprehensive 3D SR, or in an older class for an older PACS.

The tree: image library, then one measurement group "AI summary" (outcome and priority) and one group per finding
at or above its threshold. A finding below it is left out by default, since a reader that ignores Presence takes any
Finding for a positive one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

from pydicom import Dataset

from dicom_io.data_sets.character_set import settle_character_set
from dicom_io.foundation.concepts import DCM, Code
from dicom_io.foundation.content_items import HAS_CONCEPT_MOD, code, container
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER
from dicom_io.results.codes import FINDINGS, IMAGING_PROCEDURE
from dicom_io.results.evidence import evidence_of, observer
from dicom_io.results.identity import copy_patient_and_study
from dicom_io.results.image_library import image_library
from dicom_io.results.measurement_groups import finding_group, summary_group
from dicom_io.results.orders import referenced_requests
from dicom_io.results.origin import add_origin, result_uid
from dicom_io.results.report_class import REPORT_CLASSES, report_in_class
from dicom_io.results.reporting import InvalidReportError, Report

SERIES_NUMBER = 9001
SERIES_DESCRIPTION = "AI CXR triage report"

_ENGLISH = Code("en-US", "RFC5646", "English (United States)")


def build_structured_report(
    sources: Sequence[Dataset],
    report: Report,
    *,
    sop_class_uid: str = REPORT_CLASSES[0],
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
        One of `REPORT_CLASSES`. Each class has its own SOP Instance UID.
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
    _check(sources, report)
    groups = [summary_group(sources, report)]
    groups += [finding_group(sources, report, finding) for finding in report.flagged]
    if include_negatives:
        groups += [finding_group(sources, report, finding) for finding in report.unflagged]
    document = _tree(sources, groups, device_serial_number)
    document.SOPClassUID = REPORT_CLASSES[0]
    document.SOPInstanceUID = result_uid(sources[0].StudyInstanceUID, report, "structured_report", REPORT_CLASSES[0])
    copy_patient_and_study(sources[0], document)
    add_origin(document, sources[0], report, site_zone=site_zone, device_serial_number=device_serial_number)
    _add_series(document, result_uid(sources[0].StudyInstanceUID, report, "structured_report", "series"))
    _add_general(document, sources, report)
    settle_character_set(document, sources[0])
    return report_in_class(document, sop_class_uid)


def _check(sources: Sequence[Dataset], report: Report) -> None:
    if [source.SOPInstanceUID for source in sources] != [image.sop_instance_uid for image in report.images]:
        raise InvalidReportError("sources must be the headers of report.images, in the same order")
    if len({source.StudyInstanceUID for source in sources}) != 1:
        raise InvalidReportError("all sources of one report must be of one study")
    unknown = [finding.label for finding in report.findings if finding.label not in FINDINGS]
    if unknown:
        raise InvalidReportError(f"no code for {', '.join(unknown)}; add it to dicom_io.results.codes.FINDINGS")


def _tree(sources: Sequence[Dataset], groups: list[Dataset], device_serial_number: str) -> Dataset:
    """Return the root container with everything in it (TID 1500)."""
    children = [
        code(DCM.LanguageOfContentItemAndDescendants, _ENGLISH, HAS_CONCEPT_MOD),
        *observer(device_serial_number),
        code(DCM.ProcedureReported, IMAGING_PROCEDURE, HAS_CONCEPT_MOD),
        image_library(sources),
        container(DCM.ImagingMeasurements, groups),
    ]
    return container(DCM.ImagingMeasurementReport, children, relationship=None, template="1500")


def _add_series(document: Dataset, series_instance_uid: str) -> None:
    """Add the SR Document Series module (PS3.3 C.17.1)."""
    document.Modality = "SR"
    document.SeriesInstanceUID = series_instance_uid
    document.SeriesNumber = SERIES_NUMBER
    document.SeriesDescription = SERIES_DESCRIPTION
    document.ReferencedPerformedProcedureStepSequence = []


def _add_general(document: Dataset, sources: Sequence[Dataset], report: Report) -> None:
    """Add the SR Document General module (PS3.3 C.17.2): complete, and no person has verified it."""
    document.InstanceNumber = 1
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.PerformedProcedureCodeSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = evidence_of(sources)
    if requests := referenced_requests(sources):
        document.ReferencedRequestSequence = requests
    if report.predecessors:
        document.PredecessorDocumentsSequence = evidence_of(_predecessors(sources[0], report))


def _predecessors(source: Dataset, report: Report) -> list[Dataset]:
    """Return the earlier report in every class in which some archive may hold it (PS3.3 C.17.2)."""
    found = []
    for predecessor in report.predecessors:
        earlier = Dataset()
        earlier.SOPClassUID = predecessor.sop_class_uid
        earlier.SOPInstanceUID = predecessor.sop_instance_uid
        earlier.SeriesInstanceUID = predecessor.series_instance_uid
        earlier.StudyInstanceUID = source.StudyInstanceUID
        found.append(earlier)
    return found
