"""The observations of one message, OBX by OBX: what was found, how sure, by which model, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_io.foundation.concepts import DCM, Code
from dicom_io.results.codes import FINDINGS, display_name
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, ReportedFinding
from hl7_io.announcement import Announcement
from hl7_io.segments import Fields
from hl7_io.text import escape

DISCLAIMER = (
    "PRELIMINARY output of software, not seen by a physician. It orders the reading worklist. "
    "Not a medical device; not for diagnostic use, not for the patient's chart."
)
DICOM_STUDY = Code("113014", "DCM", "DICOM Study")
"""OBX-3 of the Study Instance UID, as in IHE RAD-128."""
_SURE_PERCENT = 99.9


def observations(announcement: Announcement) -> Iterator[Fields]:
    """Yield the fields of each OBX in which one differs from another; without a status (OBX-11) it is P."""
    report = announcement.report
    outcome = DCM.AllAlgorithmsSucceededWithFindings if report.flagged else DCM.AllAlgorithmsSucceededWithoutFindings
    study_instance_uid = str(announcement.headers[0].StudyInstanceUID)
    yield {2: "ST", 3: coded(DICOM_STUDY), 5: study_instance_uid, 11: "O"}
    yield {2: "CWE", 3: coded(DCM.CADProcessingAndFindingsSummary), 5: coded(outcome)}
    for finding in report.flagged:
        yield from _found(finding, critical=finding.label in announcement.critical)
    for label in announcement.withdrawn:
        yield from _deleted(label)
    yield {2: "ST", 3: coded(DCM.AlgorithmName), 5: escape(report.algorithm.name)}
    yield {2: "ST", 3: coded(DCM.AlgorithmVersion), 5: escape(report.algorithm.version)}
    yield {2: "ST", 3: coded(DCM.Comment), 4: "1", 5: escape(DISCLAIMER)}
    for sub_id, comment in enumerate(_comments(announcement), start=2):  # may be longer than an ST
        yield {2: "TX", 3: coded(DCM.Comment), 4: str(sub_id), 5: escape(comment)}


def _found(finding: ReportedFinding, *, critical: bool) -> Iterator[Fields]:
    sub_id = observation_sub_id(finding.label)
    abnormal = "AA" if critical else "A"
    percent = min(_SURE_PERCENT, max(100.0 - _SURE_PERCENT, 100.0 * finding.probability))
    yield {2: "CWE", 3: coded(DCM.Finding), 4: sub_id, 5: _named(finding.label), 8: abnormal}
    yield {
        2: "NM",
        3: coded(DCM.CertaintyOfFinding),
        4: sub_id,
        5: f"{percent:.1f}",
        6: "%^percent^UCUM",
        7: f"<{100 * finding.threshold:.1f}",
        8: abnormal,
    }


def _deleted(label: str) -> Iterator[Fields]:
    sub_id = observation_sub_id(label)
    yield {2: "CWE", 3: coded(DCM.Finding), 4: sub_id, 5: _named(label), 11: "D"}
    yield {2: "NM", 3: coded(DCM.CertaintyOfFinding), 4: sub_id, 6: "%^percent^UCUM", 11: "D"}


def _named(label: str) -> str:
    """Return a finding as CWE: its code, and as original text (component 9) what people call it, the site included."""
    return f"{coded(FINDINGS[label].precoordinated)}^^^^^^{escape(display_name(label))}"


def _comments(announcement: Announcement) -> list[str]:
    report = announcement.report
    texts = [DEMONSTRATION_NOTICE] if report.demonstration else []
    texts.append(f"{report.priority}: {report.priority_reason}")
    if report.reissue_reason:
        texts.append(f"Replaces the earlier AI result of this study: {report.reissue_reason}")
    if announcement.priority != report.priority:
        texts.append(f"The study keeps its earlier level {announcement.priority}: only a person lowers it")
    return texts


def observation_sub_id(label: str) -> str:
    """Return OBX-4 of a finding: its number among all findings, so that a later message means the same one."""
    return str(list(FINDINGS).index(label) + 1)


def coded(code: Code) -> str:
    """Return a code as CE or CWE: identifier, text, coding system."""
    return "^".join(escape(part) for part in (code.value, code.meaning, code.scheme_designator))
