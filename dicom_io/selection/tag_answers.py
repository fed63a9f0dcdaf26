"""What each tag of an image says of body part and view, and what they say together.

Tags are empty in up to three quarters of all images and often wrong, so each is one voice and none has the last word:
where two contradict, nothing is known and the picture itself, or a person, decides. Only a rule of the site outranks
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset

from dicom_io.data_sets.elements import items
from dicom_io.data_sets.header import text
from dicom_io.data_sets.tag_text import word
from dicom_io.selection.site_rules import Meaning, SiteRule

FRONTAL_CODES = frozenset(
    {"272479007", "399348003", "399033003", "R-10214", "R-40888", "R-10206", "R-10202"}  # PA, AP, frontal; SCT, SRT
)
OTHER_VIEW_CODES = frozenset(
    {"399067008", "R-102CD", "399173006", "R-10236", "399118008", "399198007", "R-10232", "399297009"}  # laterals
)
CHEST_CODES = frozenset({"816094009", "51185008", "43799004", "T-D3000"})

_CHEST = re.compile(r"CHEST|THORAX|THORACIC CAVITY|LUNG|TORAX|\bCXR\b")
_NOT_CHEST = re.compile(
    r"ABDOMEN|PELVIS|SPINE|LUMBAR|CERVICAL|SACR(?:UM|AL)|COCCYX|SHOULDER|HAND\b|WRIST|ELBOW|FOREARM|(?<!\bC )\bARM\b"
    r"|HUMERUS|KNEE|PATELLA|FOOT|ANKLE|CALCANE|\bHEEL|\bLEG\b|THIGH|CALF|FEMUR|\bHIP\b|TIBIA|SKULL|\bHEAD|FACIAL"
    r"|\bFACE\b|\bORBIT|NASAL|NECK|SINUS|JAW|MANDIBLE|MAXILLA|\bTMJ\b|TEETH|\bDENTAL|BREAST|EXTREMIT|FINGER|THUMB"
    r"|\bTOE|STERNUM|CLAVICLE|SCAPULA|\bKUB\b"  # not CHEST WHEELCHAIR, C-ARM, INCIDENTAL
)
_RIBS = re.compile(r"\bRIBS?\b")
_FRONTAL_VIEW = re.compile(r"(PA|AP)\b|POSTERO.?ANTERIOR|ANTERO.?POSTERIOR|FRONTAL")
_OTHER_VIEW = re.compile(
    r"^(LL|RL|LLD|RLD|LLO|RLO|LAO|RAO|LPO|RPO)\b|\bLAT|LATERAL|OBLIQUE|\bOBL\b|DECUB|AXIAL|LORDOTIC"
)
_ANOTHER_VIEW = (
    r"(?:\b(?:LAT(?:ERAL(?:E|IS)?)?|LATERO|LL|LAO|RAO|LPO|RPO|OBL(?:IQUE)?|LORDOTIC|SEITL(?:ICH\w*)?"
    r"|P(?:RO|ER)FIL(?! ?[:\d])"  # followed by a number it is a setting of the device
    r"|(?:LEFT|RIGHT|LT|RT|L|R) DECUB\w*|DECUB(?:ITUS)? (?:LEFT|RIGHT|LT|RT|L|R))\b)"
)
"""In free text, also in the languages of neighbours; whole words, for LATE and BILATERAL are no views. A decubitus view
has a side: without one the word means lying in half of Europe, such as ``DECUBITO SUPINO`` of a patient in bed."""
_OTHER_VIEW_DESCRIBED = re.compile(_ANOTHER_VIEW)
_FRONTAL_DESCRIBED = re.compile(r"\b(?:P ?A|A ?P|D ?V|POSTERO\w*|ANTERO\w*|DORSO\w*|FRONTAL\w*|FACE|FRENTE)\b")
_AND_ANOTHER_VIEW = re.compile(r"(?:[+&]|\b(?:AND|UND|U|ET|Y|E|WITH|W|MIT|AVEC|CON|PLUS|INCL)\b)[ /]*" + _ANOTHER_VIEW)
"""Beside one that has no name: the text is about both images, as ``CHEST W LAT`` is."""

_OF_THE_IMAGE = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_OF_THE_STUDY = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
_CODES_OF_THE_STUDY = ("ProcedureCodeSequence", "RequestedProcedureCodeSequence")
_CODES_OF_THE_IMAGE = ("PerformedProtocolCodeSequence",)


_RULE = "site rule "


class Question(StrEnum):
    """What the tags are asked."""

    CHEST = "chest"
    FRONTAL = "frontal"


@dataclass(frozen=True)
class Cue:
    """What one tag, or one rule of the site, says to one question."""

    question: Question
    answer: bool | None
    """None: it says both, which is a contradiction."""
    source: str
    """The DICOM keyword, or ``site rule 'its name'``."""
    value: str
    """What stands there, normalised."""


@dataclass(frozen=True)
class TagAnswers:
    """What the tags of one image say; None = no tag says, or two contradict."""

    chest: bool | None
    frontal: bool | None
    cues: tuple[Cue, ...] = ()
    """Everything that had a say, rules of the site first."""

    @property
    def prove_frontal_chest(self) -> bool:
        """Whether both answers are yes."""
        return self.chest is True and self.frontal is True

    @property
    def not_chest_by_rule(self) -> bool:
        """Whether a rule of the site says that this is another body part."""
        return self.chest is False and any(
            cue.question is Question.CHEST and cue.source.startswith(_RULE) for cue in self.cues
        )

    @property
    def words(self) -> str:
        """Both answers in words, and the site rules that gave them; no patient data."""
        rules = sorted({cue.source for cue in self.cues if cue.source.startswith(_RULE)})
        told = f"chest: {_word(self.chest)}, frontal: {_word(self.frontal)}"
        return f"{told}, by {', '.join(rules)}" if rules else told


def tag_answers(header: Dataset, rules: Sequence[SiteRule] = ()) -> TagAnswers:
    """Return what the tags say of body part and view; never raises, whatever stands in them.

    Parameters
    ----------
    rules
        The site rules that fit this header. The first that answers a question has the last word on it.
    """
    told = {question: _rule_cue(question, rules) for question in Question}
    chest_cues, view_cues = tuple(_chest_cues(header)), tuple(_view_cues(header))
    chest, frontal = told[Question.CHEST], told[Question.FRONTAL]
    return TagAnswers(
        chest.answer if chest else _together(chest_cues),
        frontal.answer if frontal else _together(view_cues),
        (*(cue for cue in (chest, frontal) if cue), *chest_cues, *view_cues),
    )


_MEANINGS: dict[Meaning, dict[Question, bool]] = {
    Meaning.FRONTAL_CHEST: {Question.CHEST: True, Question.FRONTAL: True},
    Meaning.CHEST: {Question.CHEST: True},
    Meaning.NOT_CHEST: {Question.CHEST: False},
    Meaning.FRONTAL: {Question.FRONTAL: True},
    Meaning.NOT_FRONTAL: {Question.FRONTAL: False},
}


def _rule_cue(question: Question, rules: Sequence[SiteRule]) -> Cue | None:
    for rule in rules:
        answer = _MEANINGS.get(rule.means, {}).get(question)
        if answer is not None:
            return Cue(question, answer, f"{_RULE}'{rule.name}'", rule.means)
    return None


def _together(cues: Iterable[Cue]) -> bool | None:
    answers = {cue.answer for cue in cues}
    return answers.pop() if len(answers) == 1 else None


def _chest_cues(header: Dataset) -> Iterator[Cue]:
    for item in items(header, "AnatomicRegionSequence"):
        code, meaning = text(item, "CodeValue").strip().upper(), word(item, "CodeMeaning")
        answers = _body_parts(meaning) | ({True} if code in CHEST_CODES else set())
        yield from _cues(Question.CHEST, answers, "AnatomicRegionSequence", f"{code} {meaning}".strip())
    for keyword in ("BodyPartExamined", *_OF_THE_IMAGE):
        value = word(header, keyword)
        yield from _cues(Question.CHEST, _body_parts(value), keyword, value)
    for keyword, value in _meanings(header, _CODES_OF_THE_IMAGE):
        yield from _cues(Question.CHEST, _body_parts(value), keyword, value)
    of_the_study = [(keyword, word(header, keyword)) for keyword in _OF_THE_STUDY]
    for keyword, value in [*of_the_study, *_meanings(header, _CODES_OF_THE_STUDY)]:
        answers = _body_parts(value)
        if len(answers) == 1:  # a study of chest and knee says nothing of either image
            yield from _cues(Question.CHEST, answers, keyword, value)


def _body_parts(value: str) -> set[bool]:
    chest = _CHEST.search(value) is not None
    other = _NOT_CHEST.search(value) is not None or (not chest and _RIBS.search(value) is not None)
    return {answer for answer, said in ((True, chest), (False, other)) if said}


def _view_cues(header: Dataset) -> Iterator[Cue]:
    for item in items(header, "ViewCodeSequence"):
        code, meaning = text(item, "CodeValue").strip().upper(), word(item, "CodeMeaning")
        answers = _views(meaning) | {
            answer for answer, codes in ((True, FRONTAL_CODES), (False, OTHER_VIEW_CODES)) if code in codes
        }
        yield from _cues(Question.FRONTAL, answers, "ViewCodeSequence", f"{code} {meaning}".strip())
        for _keyword, value in _meanings(item, ("ViewModifierCodeSequence",)):
            yield from _cues(Question.FRONTAL, _views(value) - {True}, "ViewModifierCodeSequence", value)
    position = word(header, "ViewPosition")
    yield from _cues(Question.FRONTAL, _views(position), "ViewPosition", position)
    orientation = word(header, "PatientOrientation")
    answers = {answer for answer, letters in ((True, "LR"), (False, "AP")) if orientation[:1] in tuple(letters)}
    yield from _cues(Question.FRONTAL, answers, "PatientOrientation", orientation)
    yield from _described_views(header)


def _described_views(header: Dataset) -> Iterator[Cue]:
    """Yield what says that this image is another view; that it is a frontal one, only the view's own tags prove."""
    of_the_image = [(keyword, word(header, keyword)) for keyword in _OF_THE_IMAGE]
    for keyword, value in [*of_the_image, *_meanings(header, _CODES_OF_THE_IMAGE)]:
        both = _FRONTAL_DESCRIBED.search(value) or _AND_ANOTHER_VIEW.search(value)
        if _OTHER_VIEW_DESCRIBED.search(value) and not both:
            yield Cue(Question.FRONTAL, False, keyword, value)


def _views(value: str) -> set[bool]:
    said = ((True, _FRONTAL_VIEW.match(value)), (False, _OTHER_VIEW.search(value)))
    return {answer for answer, found in said if found}


def _cues(question: Question, answers: set[bool], source: str, value: str) -> Iterator[Cue]:
    if answers:
        yield Cue(question, answers.pop() if len(answers) == 1 else None, source, value)


def _meanings(header: Dataset, keywords: Iterable[str]) -> Iterator[tuple[str, str]]:
    for keyword in keywords:
        for item in items(header, keyword):
            yield keyword, word(item, "CodeMeaning")


def _word(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[answer]
