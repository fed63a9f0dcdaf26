"""Which images are analysed: what an instance's header decides, before any pixel is decoded.

Order of the questions: our own object, kind of object, a rule of the site that ignores it, body part, date, view, age,
processed copy. Tags are empty or wrong often enough that silence is no yes: without a check of the picture, an image is
a candidate only when its tags prove a frontal chest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import integer
from dicom_io.data_sets.header import text
from dicom_io.data_sets.patient_age import ADULT_YEARS, patient_age_years, study_age_days
from dicom_io.data_sets.tag_text import word
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER, MANUFACTURER_MODEL_NAME
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.site_rules import Meaning, SiteRule, fitting
from dicom_io.selection.tag_answers import TagAnswers, tag_answers

CANDIDATE, IGNORED, NOT_ANALYSED, OUT_OF_SCOPE = "candidate", "ignored", "not_analysed", "out_of_scope"

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3"}
)
"""Secondary Capture, Multi-frame Grayscale Byte and Word."""

_PROCESSED_COPY = re.compile(r"\bBONE|SOFT ?TISSUE|\bEDGE|INVERT|ENHANCED")
"""At the beginning of a word: a wedge is no edge."""
_DEVICE_COPY = re.compile(r"\bTUBES?\b|\bLINES?\b|\bCATHETERS?\b")
_ABOUT_A_DEVICE = re.compile(
    r"\b(?:AFTER|POST|S/P|STATUS|PLACEMENTS?|PLACED|POSITION(?:ING)?|INSERTIONS?|INSERTED|CHECK|CONTROL|CONFIRM\w*|VERIF\w*"
    r"|REMOV\w*|EXCHANGE|CHEST TUBES?|NG|PICC|CENTRAL|FEEDING|NACH|ZUSTAND|LAGE\w*)\b"
)
"""An ordinary radiograph taken because of a tube or line: where a pneumothorax is likeliest, and no processed copy."""

_STUDY_REASONS = (
    (NOT_ANALYSED, ReasonCode.NEEDS_REVIEW),
    (NOT_ANALYSED, ReasonCode.REJECTED),
    (NOT_ANALYSED, ReasonCode.HISTORICAL),
    (NOT_ANALYSED, ReasonCode.AGE),
    (NOT_ANALYSED, ReasonCode.UNDECODABLE),
    (NOT_ANALYSED, ReasonCode.UNSUPPORTED_PIXELS),
    (NOT_ANALYSED, ReasonCode.TOO_LARGE),
    (NOT_ANALYSED, ReasonCode.TOO_SMALL),
    (NOT_ANALYSED, ReasonCode.NO_PIXELS),
    (NOT_ANALYSED, ReasonCode.BLANK),
    (NOT_ANALYSED, ReasonCode.MULTI_FRAME),
    (NOT_ANALYSED, ReasonCode.PROCESSED_COPY),
    (NOT_ANALYSED, ReasonCode.NOT_FRONTAL),
    (OUT_OF_SCOPE, ReasonCode.NOT_CHEST),
    (NOT_ANALYSED, ReasonCode.FOR_PROCESSING),
    (OUT_OF_SCOPE, ReasonCode.SITE_RULE),
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
    """True: the picture will be checked (``worker.runs.examination``), so an image whose tags leave chest or view open,
    or say another body part, stays a candidate. False: both must be proven by tags."""
    oldest_days: int | None = None
    """Images whose StudyDate lies more days back are not analysed; None analyses them, as historical."""
    site_rules: tuple[SiteRule, ...] = ()
    """Those about this source, in the order of the configuration."""
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
    """What decided, for the audit trail: what the tags said, or which attribute or site rule; no patient data."""
    answers: TagAnswers | None = None
    """What the tags said, with every cue; None where the kind of object decided before they were asked."""

    @property
    def sentence(self) -> str | None:
        """The reason for people, with what decided; None where there is no reason."""
        if self.reason_code is None:
            return None
        return f"{self.reason_code.sentence} ({self.notes})" if self.notes else self.reason_code.sentence


def judge_tags(header: Dataset, rules: SelectionRules, today: date) -> Verdict:
    """Decide from the tags alone; never raises, whatever stands in them.

    Parameters
    ----------
    header
        Data set without pixel data (`dicom_io.data_sets.header.parse_header`).
    today
        Stands in for a missing StudyDate when the age is worked out from the birth date.
    """
    kind = _judge_kind(header, rules)
    if kind is not None:
        return kind
    fit = fitting(rules.site_rules, header)
    ignoring = next((rule for rule in fit if rule.means is Meaning.IGNORE), None)
    if ignoring is not None:
        return Verdict(IGNORED, ReasonCode.SITE_RULE, f"site rule '{ignoring.name}'")
    answers = tag_answers(header, fit)
    disposition, reason_code = _judge_answers(header, rules, answers, today)
    if disposition == CANDIDATE and (told_by := _processed_copy(header, fit)):
        return Verdict(IGNORED, ReasonCode.PROCESSED_COPY, f"{told_by}; {answers.words}", answers)
    return Verdict(disposition, reason_code, answers.words, answers)


def answers_for(header: Dataset, rules: SelectionRules) -> TagAnswers:
    """Return what the tags and this site's rules say of body part and view; never raises."""
    return tag_answers(header, fitting(rules.site_rules, header))


def is_own_result(header: Dataset, rules: SelectionRules) -> bool:
    """Say whether this object was made by us: equipment identity, which results carry and PACSs keep.

    What another worker of this make drew is as little a radiograph: two of them behind one PACS would answer each other
    without end.
    """
    if text(header, "ManufacturerModelName") != rules.own_model_name:
        return False
    drawn = text(header, "SOPClassUID") not in (COMPUTED_RADIOGRAPHY, DX_FOR_PRESENTATION)
    return drawn or text(header, "DeviceSerialNumber") == rules.own_device_serial_number


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
    if word(header, "PresentationIntentType") == "FOR PROCESSING":
        return Verdict(IGNORED, ReasonCode.FOR_PROCESSING)
    if integer(header, "NumberOfFrames", 1) not in (0, 1):
        return Verdict(NOT_ANALYSED, ReasonCode.MULTI_FRAME)
    if not text(header, "Rows") or not text(header, "Columns"):
        return Verdict(NOT_ANALYSED, ReasonCode.NO_PIXELS)
    return None


def _judge_answers(
    header: Dataset, rules: SelectionRules, answers: TagAnswers, today: date
) -> tuple[str, ReasonCode | None]:
    if answers.chest is False:
        return _judge_other_body_part(header, rules, answers, today)
    return _judge_chest(header, rules, answers, today)


def _judge_other_body_part(
    header: Dataset, rules: SelectionRules, answers: TagAnswers, today: date
) -> tuple[str, ReasonCode | None]:
    """Leave the last word to the picture where a chest would be analysed: the body part is often tagged wrong.

    Only a rule of the site is believed unseen.
    """
    if not rules.image_decides or answers.not_chest_by_rule:
        return OUT_OF_SCOPE, ReasonCode.NOT_CHEST
    disposition, _ = _judge_chest(header, rules, answers, today)
    return (CANDIDATE, None) if disposition == CANDIDATE else (OUT_OF_SCOPE, ReasonCode.NOT_CHEST)


def _judge_chest(
    header: Dataset, rules: SelectionRules, answers: TagAnswers, today: date
) -> tuple[str, ReasonCode | None]:
    age_days = study_age_days(header, today)
    if rules.oldest_days is not None and age_days is not None and age_days > rules.oldest_days:
        return NOT_ANALYSED, ReasonCode.HISTORICAL
    if answers.frontal is False:
        return NOT_ANALYSED, ReasonCode.NOT_FRONTAL
    age_years = patient_age_years(header, today)
    if age_years is not None and age_years < ADULT_YEARS and not rules.include_under_18:
        return NOT_ANALYSED, ReasonCode.AGE
    if not (answers.prove_frontal_chest or rules.image_decides):
        return NOT_ANALYSED, ReasonCode.NEEDS_REVIEW
    return CANDIDATE, None


def _processed_copy(header: Dataset, fit: Sequence[SiteRule]) -> str:
    """Return what says that this is a specially processed copy; empty where it is taken for the standard one."""
    for rule in fit:
        if rule.means in (Meaning.STANDARD_COPY, Meaning.PROCESSED_COPY):
            return f"site rule '{rule.name}'" if rule.means is Meaning.PROCESSED_COPY else ""
    said = word(header, "SeriesDescription")
    device = _DEVICE_COPY.search(said) and not _ABOUT_A_DEVICE.search(said)
    return "SeriesDescription" if device or _PROCESSED_COPY.search(said) else ""
