"""Is it a frontal chest radiograph? What the tags say, before any pixel is decoded.

Tags are empty or wrong often enough that silence is no yes: an image is a candidate only when one cue says chest, one
says frontal, and none contradicts. Order of the questions: our own object, kind of object, tags, age.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pydicom.dataset import Dataset

from dicom_io.header import text
from dicom_io.product import DEVICE_SERIAL_NUMBER, MANUFACTURER_MODEL_NAME
from dicom_io.reasons import ReasonCode
from dicom_io.tag_answers import normalised, tag_answers

CANDIDATE, IGNORED, NOT_ANALYSED, OUT_OF_SCOPE = "candidate", "ignored", "not_analysed", "out_of_scope"

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3"}
)
"""Secondary Capture, Multi-frame Grayscale Byte and Word."""
ADULT_YEARS = 18

_PROCESSED_COPY = re.compile(r"BONE|SOFT ?TISSUE|TUBE|\bLINES?\b|CATHETER|EDGE|INVERT|ENHANCED")
_STUDY_REASONS = (
    (NOT_ANALYSED, ReasonCode.NEEDS_REVIEW),
    (NOT_ANALYSED, ReasonCode.AGE),
    (NOT_ANALYSED, ReasonCode.UNDECODABLE),
    (NOT_ANALYSED, ReasonCode.UNSUPPORTED_PIXELS),
    (NOT_ANALYSED, ReasonCode.TOO_LARGE),
    (NOT_ANALYSED, ReasonCode.NO_PIXELS),
    (NOT_ANALYSED, ReasonCode.BLANK),
    (NOT_ANALYSED, ReasonCode.MULTI_FRAME),
    (NOT_ANALYSED, ReasonCode.PROCESSED_COPY),
    (NOT_ANALYSED, ReasonCode.NOT_FRONTAL),
    (OUT_OF_SCOPE, ReasonCode.NOT_CHEST),
    (NOT_ANALYSED, ReasonCode.FOR_PROCESSING),
)
"""What a study without a candidate is told to be, most telling reason first."""


@dataclass(frozen=True)
class SelectionRules:
    """What a site wants analysed from one source."""

    accept_secondary_capture: bool = False
    """True analyses Secondary Capture images too (film digitisers)."""
    include_under_18: bool = False
    """True analyses children."""
    image_decides: bool = False
    """True: the picture will be checked (``worker.examination``), so an image whose tags leave chest or view open
    stays a candidate. False: both must be proven by tags."""
    own_model_name: str = MANUFACTURER_MODEL_NAME
    own_device_serial_number: str = DEVICE_SERIAL_NUMBER
    """With the model name: how our own results are recognised when they come back."""


@dataclass(frozen=True)
class Verdict:
    """What is to become of one instance."""

    disposition: str
    """``candidate``, ``ignored``, ``not_analysed`` or ``out_of_scope``."""
    reason_code: ReasonCode | None = None
    notes: str = ""
    """What the tags said, for the audit trail; no patient data."""


def judge_tags(header: Dataset, rules: SelectionRules, today: date) -> Verdict:
    """Decide from the tags alone; never raises, whatever stands in them.

    Parameters
    ----------
    header
        Data set without pixel data (`dicom_io.header.parse_header`).
    today
        Stands in for a missing StudyDate when the age is worked out from the birth date.
    """
    kind = _judge_kind(header, rules)
    if kind is not None:
        return kind
    answers = tag_answers(header)
    chest, view, notes = answers.chest, answers.frontal, answers.words
    if chest is False:
        return Verdict(OUT_OF_SCOPE, ReasonCode.NOT_CHEST, notes)
    age_years = patient_age_years(header, today)
    if age_years is not None and age_years < ADULT_YEARS and not rules.include_under_18 and view is not False:
        return Verdict(NOT_ANALYSED, ReasonCode.AGE, notes)
    if chest and view is False:
        return Verdict(NOT_ANALYSED, ReasonCode.NOT_FRONTAL, notes)
    if view is False or not (answers.prove_frontal_chest or rules.image_decides):
        return Verdict(NOT_ANALYSED, ReasonCode.NEEDS_REVIEW, notes)
    if _PROCESSED_COPY.search(normalised(header, "SeriesDescription")):
        return Verdict(IGNORED, ReasonCode.PROCESSED_COPY, notes)
    return Verdict(CANDIDATE, None, notes)


def is_own_result(header: Dataset, rules: SelectionRules) -> bool:
    """Say whether this object was made by us: equipment identity, which results carry and PACSs keep."""
    return (
        text(header, "ManufacturerModelName") == rules.own_model_name
        and text(header, "DeviceSerialNumber") == rules.own_device_serial_number
    )


def patient_age_years(header: Dataset, today: date) -> float | None:
    """Return the age from PatientAge (PS3.5 6.2, AS), else from birth and study date, else None."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text(header, "PatientAge").upper())
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
    born, studied = _date(header, "PatientBirthDate"), _date(header, "StudyDate") or today
    if born is None or studied < born:
        return None
    return studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))


def study_reason(verdicts: Sequence[Verdict]) -> tuple[str, ReasonCode | None]:
    """Return state and reason of a study from its instances' verdicts.

    ``("candidate", None)`` when there is something to analyse. Otherwise what a person must know comes first: an image
    that perhaps should have been read makes the study ``not_analysed``; only a study without any is ``out_of_scope``.
    """
    if any(verdict.disposition == CANDIDATE for verdict in verdicts):
        return CANDIDATE, None
    reasons = {verdict.reason_code for verdict in verdicts}
    for state, reason_code in _STUDY_REASONS:
        if reason_code in reasons:
            return state, reason_code
    return OUT_OF_SCOPE, ReasonCode.NO_IMAGE


def _judge_kind(header: Dataset, rules: SelectionRules) -> Verdict | None:
    """Decide by what sort of object it is; None when it is one that may be analysed."""
    sop_class_uid = text(header, "SOPClassUID")
    if is_own_result(header, rules):
        return Verdict(IGNORED, ReasonCode.OWN_RESULT)
    if sop_class_uid == DX_FOR_PROCESSING:
        return Verdict(IGNORED, ReasonCode.FOR_PROCESSING)
    analysed = sop_class_uid in (COMPUTED_RADIOGRAPHY, DX_FOR_PRESENTATION)
    if not analysed and not (rules.accept_secondary_capture and sop_class_uid in SECONDARY_CAPTURES):
        return Verdict(IGNORED, ReasonCode.SOP_CLASS)
    if normalised(header, "PresentationIntentType") == "FOR PROCESSING":
        return Verdict(IGNORED, ReasonCode.FOR_PROCESSING)
    if text(header, "NumberOfFrames") not in ("", "0", "1"):
        return Verdict(NOT_ANALYSED, ReasonCode.MULTI_FRAME)
    if not text(header, "Rows") or not text(header, "Columns"):
        return Verdict(NOT_ANALYSED, ReasonCode.NO_PIXELS)
    return None


def _date(header: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(text(header, keyword)[:8], "%Y%m%d").date()
    except ValueError:
        return None
