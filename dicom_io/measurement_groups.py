"""The measurement groups of a structured report (TID 1501): the summary of the run, and one group per finding."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_io.codes import ABSENT, CHEST, FINDINGS, PRESENT, PRIORITY_CODES, display_name
from dicom_io.origin import result_uid
from dicom_io.reporting import DEMONSTRATION_NOTICE, NOT_FOR_DIAGNOSTIC_USE, Report, ReportedFinding

_PRIORITY = Code("260870009", "SCT", "Priority")
_SURE_PERCENT = 99.9
"""No model is surer than this, or surer of the opposite than 100 minus this."""


def summary_group(sources: Sequence[Dataset], report: Report) -> MeasurementsAndQualitativeEvaluations:
    """Return the group "AI summary": outcome, priority, its reason, and what the report must not be used for."""
    outcome = (
        codes.DCM.AllAlgorithmsSucceededWithFindings
        if report.flagged
        else codes.DCM.AllAlgorithmsSucceededWithoutFindings
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(sources[0], report, "AI summary"),
        algorithm_id=_algorithm(report, f"policy_sha256={report.policy_hash}", *_decoding(report)),
        finding_sites=[FindingSite(CHEST)],
        qualitative_evaluations=[
            QualitativeEvaluation(codes.DCM.CADProcessingAndFindingsSummary, outcome),
            QualitativeEvaluation(_PRIORITY, PRIORITY_CODES[report.priority].report),
        ],
        source_images=[_image(source) for source in sources],
    )
    for text in _comments(report):
        comment = TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _decoding(report: Report) -> list[str]:
    halved = sum(image.half_resolution for image in report.images)
    return [f"images_decoded_at_half_resolution={halved}"] if halved else []


def _comments(report: Report) -> list[str]:
    texts = [f"{report.priority}: {report.priority_reason}"]
    if report.reissue_reason:
        texts.append(f"Replaces the earlier AI report of this study: {report.reissue_reason}")
    return [*texts, DEMONSTRATION_NOTICE if report.demonstration else NOT_FOR_DIAGNOSTIC_USE]


def finding_group(
    sources: Sequence[Dataset], report: Report, finding: ReportedFinding
) -> MeasurementsAndQualitativeEvaluations:
    """Return the group of one finding: what, how sure, present or absent, in which image.

    The site is the organ. A side is never stated: the model was not taught left from right, and where it looked is
    not where a lesion is.
    """
    code = FINDINGS[finding.label]
    source = sources[finding.source_index]
    percent = min(_SURE_PERCENT, max(100.0 - _SURE_PERCENT, 100.0 * finding.probability))
    certainty = Measurement(name=codes.DCM.CertaintyOfFinding, value=round(percent, 1), unit=codes.UCUM.Percent)
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
