"""The measurement groups of a structured report (TID 1501): the summary of the run, and one group per finding."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from dicom_io.foundation.concepts import DCM, SCT, UCUM, Code
from dicom_io.foundation.content_items import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    code,
    container,
    image,
    number,
    text,
    uid_reference,
)
from dicom_io.results.codes import ABSENT, CHEST, FINDINGS, PRESENT, PRIORITY_CODES, display_name
from dicom_io.results.origin import result_uid
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, NO_MEDICAL_DEVICE, Report, ReportedFinding

_PRIORITY = Code("260870009", "SCT", "Priority")
_SURE_PERCENT = 99.9
"""No model is surer than this, or surer of the opposite than 100 minus this."""


def summary_group(sources: Sequence[Dataset], report: Report) -> Dataset:
    """Return the group "AI summary": outcome, priority, its reason, and what the report must not be used for."""
    outcome = DCM.AllAlgorithmsSucceededWithFindings if report.flagged else DCM.AllAlgorithmsSucceededWithoutFindings
    return _group(
        *_tracking(sources[0], report, "AI summary"),
        code(SCT.FindingSite, CHEST, HAS_CONCEPT_MOD),
        *_algorithm(report, f"policy_sha256={report.policy_hash}", *_decoding(report)),
        code(DCM.CADProcessingAndFindingsSummary, outcome, CONTAINS),
        code(_PRIORITY, PRIORITY_CODES[report.priority].report, CONTAINS),
        *(_image(source) for source in sources),
        *(text(DCM.Comment, comment, CONTAINS) for comment in _comments(report)),
    )


def _decoding(report: Report) -> list[str]:
    halved = sum(analysed.half_resolution for analysed in report.images)
    return [f"images_decoded_at_half_resolution={halved}"] if halved else []


def _comments(report: Report) -> list[str]:
    texts = [f"{report.priority}: {report.priority_reason}"]
    if report.reissue_reason:
        texts.append(f"Replaces the earlier AI report of this study: {report.reissue_reason}")
    return [*texts, *([DEMONSTRATION_NOTICE] if report.demonstration else []), NO_MEDICAL_DEVICE]


def finding_group(sources: Sequence[Dataset], report: Report, finding: ReportedFinding) -> Dataset:
    """Return the group of one finding: what, how sure, present or absent, in which image.

    The site is the organ. A side is never stated: the model was not taught left from right, and where it looked is
    not where a lesion is.
    """
    coded = FINDINGS[finding.label]
    source = sources[finding.source_index]
    percent = min(_SURE_PERCENT, max(100.0 - _SURE_PERCENT, 100.0 * finding.probability))
    return _group(
        *_tracking(source, report, f"{display_name(finding.label)} (AI)"),
        code(DCM.Finding, coded.finding, CONTAINS),
        code(SCT.FindingSite, coded.site, HAS_CONCEPT_MOD),
        *_algorithm(report, f"operating_threshold={finding.threshold:.4g}"),
        number(DCM.CertaintyOfFinding, round(percent, 1), UCUM.Percent, CONTAINS),
        code(DCM.PresenceOfProperty, PRESENT if finding.flagged else ABSENT, CONTAINS),
        _image(source),
    )


def _group(*children: Dataset) -> Dataset:
    return container(DCM.MeasurementGroup, children, template="1501")


def _algorithm(report: Report, *parameters: str) -> list[Dataset]:
    """Return TID 4019; a demonstration model says what it is in its name, wherever the name is shown."""
    name = report.algorithm.name
    stated = [
        (DCM.AlgorithmName, f"{name} ({DEMONSTRATION_NOTICE})" if report.demonstration else name),
        (DCM.AlgorithmVersion, report.algorithm.version),
        (DCM.AlgorithmManufacturer, report.algorithm.manufacturer),
        *((DCM.AlgorithmParameters, parameter) for parameter in parameters),
    ]
    family = code(DCM.AlgorithmFamily, DCM.ArtificialIntelligence, HAS_CONCEPT_MOD)
    return [*(text(concept, words, HAS_CONCEPT_MOD) for concept, words in stated), family]


def _tracking(source: Dataset, report: Report, identifier: str) -> list[Dataset]:
    uid = result_uid(source.StudyInstanceUID, report, "tracking", identifier)
    return [
        text(DCM.TrackingIdentifier, identifier, HAS_OBS_CONTEXT),
        uid_reference(DCM.TrackingUniqueIdentifier, uid, HAS_OBS_CONTEXT),
    ]


def _image(source: Dataset) -> Dataset:
    return image(DCM.SourceOfMeasurement, source)
