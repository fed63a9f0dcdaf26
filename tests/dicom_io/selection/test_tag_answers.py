"""What each tag says of body part and view, written out: PS3.16 CID 4009/4010 codes, defined terms, free text."""

from __future__ import annotations

import pytest
from factories import chest_radiograph
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_io.selection.site_rules import SiteRule
from dicom_io.selection.tag_answers import Question, TagAnswers, tag_answers

SILENT = dict.fromkeys(["BodyPartExamined", "ViewPosition", "PatientOrientation", "StudyDescription"])


def answers(**keywords: object) -> TagAnswers:
    return tag_answers(chest_radiograph(**SILENT | keywords))


def code(value: str, meaning: str = "", **more: object) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    for keyword, inner in more.items():
        setattr(item, keyword, inner)
    return [item]


CHEST = [
    ("BodyPartExamined", "CHEST", True),
    ("BodyPartExamined", "chest", True),
    ("BodyPartExamined", "THORAX", True),
    ("BodyPartExamined", "LUNG", True),
    ("BodyPartExamined", "Tórax", True),
    ("BodyPartExamined", "", None),
    ("BodyPartExamined", "CHESTABDOMEN", None),  # a defined term that says both
    ("BodyPartExamined", "NECKCHEST", None),
    ("BodyPartExamined", "ABDOMEN", False),
    ("BodyPartExamined", "TSPINE", False),
    ("BodyPartExamined", "T SPINE", False),
    ("BodyPartExamined", "SHOULDER", False),
    ("BodyPartExamined", "HAND", False),
    ("BodyPartExamined", "RIB", False),
    ("BodyPartExamined", "RIBS", False),
    ("BodyPartExamined", "EXTREMITY", False),
    ("BodyPartExamined", "CLAVICLE", False),
    ("BodyPartExamined", "WHOLEBODY", None),
    ("AnatomicRegionSequence", code("816094009"), True),
    ("AnatomicRegionSequence", code("51185008", "Chest"), True),
    ("AnatomicRegionSequence", code("43799004"), True),
    ("AnatomicRegionSequence", code("T-D3000"), True),
    ("AnatomicRegionSequence", code("t-d3000"), True),
    ("AnatomicRegionSequence", code("72696002", "Knee region"), False),
    ("AnatomicRegionSequence", code("818983003"), None),
    ("AnatomicRegionSequence", code("51185008", "Abdomen"), None),  # code and meaning contradict
    ("StudyDescription", "RX TORAX PA", True),
    ("StudyDescription", "Röntgen Thorax", True),
    ("StudyDescription", "Chest and ribs", True),
    ("StudyDescription", "CHEST WHEELCHAIR, INCIDENTAL, C-ARM", True),
    ("StudyDescription", "XR KNEE LT", False),
    ("StudyDescription", "Chest and knee", None),
    ("StudyDescription", "Trauma series", None),
    ("SeriesDescription", "chest_pa", True),
    ("SeriesDescription", "Ribs", False),
    ("ProtocolName", "W33 THORAX", True),
    ("RequestedProcedureDescription", "CXR", True),
    ("PerformedProcedureStepDescription", "Lungs", True),
    ("AcquisitionDeviceProcessingDescription", "CHEST", True),
    ("ProcedureCodeSequence", code("36643-5", "XR Chest 2 Views"), True),
    ("RequestedProcedureCodeSequence", code("X", "Hip"), False),
    ("PerformedProtocolCodeSequence", code("X", "Thorax"), True),
]
VIEW = [
    ("ViewPosition", "PA", True),
    ("ViewPosition", "AP", True),
    ("ViewPosition", "pa", True),
    ("ViewPosition", "AP_SUPINE", True),
    ("ViewPosition", "PA ERECT", True),
    ("ViewPosition", "", None),
    ("ViewPosition", "PATIENT", None),
    ("ViewPosition", "SPECIAL", None),
    ("ViewPosition", "LL", False),
    ("ViewPosition", "RL", False),
    ("ViewPosition", "LAT", False),
    ("ViewPosition", "LATERAL", False),
    ("ViewPosition", "left lateral", False),
    ("ViewPosition", "LLD", False),
    ("ViewPosition", "RLD", False),
    ("ViewPosition", "LLO", False),
    ("ViewPosition", "RLO", False),
    ("ViewPosition", "AP AXIAL", None),  # lordotic: both at once
    ("PatientOrientation", ["L", "F"], True),
    ("PatientOrientation", ["R", "F"], True),
    ("PatientOrientation", ["A", "F"], False),
    ("PatientOrientation", ["P", "F"], False),
    ("PatientOrientation", ["H", "L"], None),
    ("ViewCodeSequence", code("272479007"), True),
    ("ViewCodeSequence", code("R-10214"), True),
    ("ViewCodeSequence", code("R-40888"), True),
    ("ViewCodeSequence", code("399348003"), True),
    ("ViewCodeSequence", code("R-10206"), True),
    ("ViewCodeSequence", code("399033003"), True),
    ("ViewCodeSequence", code("R-10202"), True),
    ("ViewCodeSequence", code("L1", "Postero-anterior"), True),
    ("ViewCodeSequence", code("399067008"), False),
    ("ViewCodeSequence", code("R-102CD"), False),
    ("ViewCodeSequence", code("399173006"), False),
    ("ViewCodeSequence", code("R-10236"), False),
    ("ViewCodeSequence", code("399118008"), False),
    ("ViewCodeSequence", code("399198007"), False),
    ("ViewCodeSequence", code("R-10232"), False),
    ("ViewCodeSequence", code("399297009"), False),
    ("ViewCodeSequence", code("L2", "left anterior oblique"), False),
    ("ViewCodeSequence", code("L3", "Lateral decubitus"), False),
    (
        "ViewCodeSequence",
        code("272479007", "postero-anterior", ViewModifierCodeSequence=code("L4", "Oblique")),
        None,
    ),
    ("SeriesDescription", "W034 Chest LAT", False),
    ("SeriesDescription", "chest_lateral", False),
    ("SeriesDescription", "Thorax seitl.", False),
    ("SeriesDescription", "Thorax de profil", False),
    ("SeriesDescription", "TORAX PERFIL", False),
    ("SeriesDescription", "Torace latero-laterale", False),
    ("SeriesDescription", "CHEST LL", False),
    ("SeriesDescription", "Chest RAO", False),
    ("SeriesDescription", "Chest left decubitus", False),
    ("SeriesDescription", "CHEST DECUB_RT", False),
    ("SeriesDescription", "Tórax decúbito lateral", False),
    ("SeriesDescription", "Tórax decúbito supino", None),  # a patient in bed, whom nobody can make stand
    ("SeriesDescription", "Thorax au lit, décubitus dorsal", None),
    ("SeriesDescription", "Thorax en décubitus", None),
    ("ProtocolName", "Chest Oblique", False),
    ("AcquisitionDeviceProcessingDescription", "CHEST,LAT", False),
    ("PerformedProtocolCodeSequence", code("X", "Chest lateral"), False),
    ("SeriesDescription", "Chest PA", None),  # only the view's own tags prove a frontal one
    ("SeriesDescription", "Chest PA/LAT", None),  # both images of the study stand in it
    ("SeriesDescription", "Thorax p.a. und seitlich", None),
    ("SeriesDescription", "Chest frontal and lateral", None),
    ("SeriesDescription", "Face et profil", None),
    ("SeriesDescription", "Tórax frente/perfil", None),
    ("SeriesDescription", "Thorax d.v./seitl.", None),
    ("SeriesDescription", "CXR W/LAT", None),  # both images have it, though only one view is named
    ("SeriesDescription", "Thorax + seitl.", None),
    ("SeriesDescription", "Thorax stehend u. seitlich", None),
    ("ProtocolName", "Chest with lateral", None),
    ("AcquisitionDeviceProcessingDescription", "Profil 3", None),  # settings of the device
    ("SeriesDescription", "Chest, late; bilateral ribs", None),
    ("SeriesDescription", "Laterality left, high profile, platform, coaxial", None),
    ("StudyDescription", "Chest lateral", None),  # its frontal image has that, too
]


@pytest.mark.parametrize(("keyword", "value", "expected"), CHEST)
def test_what_one_tag_says_of_the_body_part(keyword: str, value: object, expected: bool | None) -> None:
    assert answers(**{keyword: value}).chest is expected


@pytest.mark.parametrize(("keyword", "value", "expected"), VIEW)
def test_what_one_tag_says_of_the_view(keyword: str, value: object, expected: bool | None) -> None:
    assert answers(**{keyword: value}).frontal is expected


@pytest.mark.parametrize("table", [CHEST, VIEW], ids=["chest", "view"])
@given(data=st.data())
def test_tags_that_agree_confirm_each_other_and_two_that_contradict_say_nothing(
    table: list[tuple[str, object, bool | None]], data: st.DataObject
) -> None:
    sure = st.sampled_from([row for row in table if row[2] is not None])
    first, second = data.draw(sure), data.draw(sure)
    if first[0] == second[0]:
        return
    found = answers(**{first[0]: first[1], second[0]: second[1]})
    expected = first[2] if first[2] == second[2] else None
    assert (found.chest if table is CHEST else found.frontal) is expected


def test_every_tag_that_had_a_say_is_named_with_what_stands_in_it() -> None:
    found = answers(BodyPartExamined="chest", ViewPosition="LL", PatientOrientation=["L", "F"])
    assert [(cue.question, cue.answer, cue.source, cue.value) for cue in found.cues] == [
        (Question.CHEST, True, "BodyPartExamined", "CHEST"),
        (Question.FRONTAL, False, "ViewPosition", "LL"),
        (Question.FRONTAL, True, "PatientOrientation", "L\\F"),
    ]
    assert found.words == "chest: yes, frontal: unknown"


def rule(means: str, name: str = "ours") -> SiteRule:
    return SiteRule.model_validate({"name": name, "means": means, "keyword": "Modality", "present": True})


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ("frontal_chest", (True, True)),
        ("chest", (True, False)),
        ("not_chest", (False, False)),
        ("frontal", (None, True)),
        ("not_frontal", (None, False)),
        ("standard_copy", (None, False)),
    ],
)
def test_a_rule_of_the_site_outranks_the_tags(means: str, expected: tuple[bool | None, bool | None]) -> None:
    header = chest_radiograph(**SILENT | {"BodyPartExamined": "CHESTABDOMEN", "ViewPosition": "LL"})
    found = tag_answers(header, [rule(means)])
    assert (found.chest, found.frontal) == expected


def test_of_two_rules_the_first_that_answers_has_the_last_word() -> None:
    rules = [rule("standard_copy", "a"), rule("not_frontal", "b"), rule("frontal_chest", "c")]
    found = tag_answers(chest_radiograph(**SILENT), rules)
    assert (found.chest, found.frontal) == (True, False)
    assert found.words == "chest: yes, frontal: no, by site rule 'b', site rule 'c'"
