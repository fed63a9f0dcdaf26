"""What the tags of one image say of its body part and its view: yes, no, or nothing to rely on.

Coded attributes count before free text; two that contradict are as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_io.header import text

_FRONTAL_CODES = frozenset(
    {"272479007", "399348003", "399033003", "R-10214", "R-40888", "R-10206", "R-10202"}  # PA, AP, frontal
)
_OTHER_VIEW_CODES = frozenset(
    {"399067008", "R-102CD", "399173006", "R-10236", "399118008", "399198007", "R-10232", "399297009"}  # laterals
)
_CHEST_CODES = frozenset({"816094009", "51185008", "43799004", "T-D3000"})
_CHEST = re.compile(r"CHEST|THORAX|THORACIC CAVITY|LUNG|TORAX|\bCXR\b")
_NOT_CHEST = re.compile(
    r"ABDOMEN|PELVIS|SPINE|SHOULDER|HAND\b|WRIST|ELBOW|FOREARM|HUMERUS|KNEE|FOOT|ANKLE|\bLEG\b|FEMUR|\bHIP\b|SKULL|HEAD"
    r"|NECK|SINUS|JAW|MANDIBLE|TEETH|DENTAL|BREAST|EXTREMIT|FINGER|\bTOE|\bRIBS?\b|STERNUM|CLAVICLE|SCAPULA|TIBIA|HEEL"
)
_FRONTAL_VIEW = re.compile(r"(PA|AP)\b|(PA|AP)[ /]|POSTERO.?ANTERIOR|ANTERO.?POSTERIOR|FRONTAL")
_OTHER_VIEW = re.compile(r"^(LL|RL|LLD|RLD|LLO|RLO|LAO|RAO|LPO|RPO)\b|LAT|OBLIQUE|\bOBL\b|DECUB|AXIAL|LORDOTIC")
_DESCRIPTIONS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "AcquisitionDeviceProcessingDescription",
)
_CODE_SEQUENCES = ("ProcedureCodeSequence", "RequestedProcedureCodeSequence", "PerformedProtocolCodeSequence")


@dataclass(frozen=True)
class TagAnswers:
    """What the tags of one image say; None = no tag says, or two contradict."""

    chest: bool | None
    frontal: bool | None

    @property
    def prove_frontal_chest(self) -> bool:
        """Whether both answers are yes."""
        return self.chest is True and self.frontal is True

    @property
    def words(self) -> str:
        """Both answers in words, without patient data."""
        return f"chest: {_word(self.chest)}, frontal: {_word(self.frontal)}"


def tag_answers(header: Dataset) -> TagAnswers:
    """Return what the tags say of body part and view; never raises, whatever stands in them."""
    return TagAnswers(_chest(header), _view(header))


def normalised(header: Dataset, keyword: str) -> str:
    """Return an attribute as capitals with single spaces; empty when it is absent or unreadable."""
    return re.sub(r"[\s_\-.]+", " ", text(header, keyword).upper()).strip()


def _chest(header: Dataset) -> bool | None:
    """Answer "is it the chest": True, False, or None when no tag says or two contradict."""
    codes = {text(item, "CodeValue").upper() for item in _items(header, "AnatomicRegionSequence")}
    coded = " ".join([normalised(header, "BodyPartExamined"), *_meanings(header, "AnatomicRegionSequence")])
    answers = _chest_answers(coded) | ({True} if codes & _CHEST_CODES else set())
    if not answers:  # free text counts only where nothing was coded
        words = [normalised(header, keyword) for keyword in _DESCRIPTIONS]
        for keyword in _CODE_SEQUENCES:
            words.extend(_meanings(header, keyword))
        answers = _chest_answers(" ".join(words))
    return answers.pop() if len(answers) == 1 else None


def _chest_answers(words: str) -> set[bool]:
    return {answer for answer, pattern in ((True, _CHEST), (False, _NOT_CHEST)) if pattern.search(words)}


def _view(header: Dataset) -> bool | None:
    """Answer "is it a frontal view": True, False, or None when no tag says or two contradict."""
    answers = set()
    codes = {text(item, "CodeValue").upper() for item in _items(header, "ViewCodeSequence")}
    words = [normalised(header, "ViewPosition"), *_meanings(header, "ViewCodeSequence")]
    if codes & _FRONTAL_CODES or any(_FRONTAL_VIEW.match(word) for word in words):
        answers.add(True)
    if codes & _OTHER_VIEW_CODES or any(_OTHER_VIEW.search(word) for word in words):
        answers.add(False)
    row_direction = text(header, "PatientOrientation").split("\\")[0][:1].upper()
    if row_direction in ("A", "P"):
        answers.add(False)
    elif row_direction in ("L", "R") and not answers:
        answers.add(True)
    return answers.pop() if len(answers) == 1 else None


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    value = header.get(keyword) if text(header, keyword) else None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _meanings(header: Dataset, keyword: str) -> list[str]:
    return [normalised(item, "CodeMeaning") for item in _items(header, keyword) if isinstance(item, Dataset)]


def _word(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[answer]
