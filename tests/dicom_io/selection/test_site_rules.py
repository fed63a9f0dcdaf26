"""Rules of a site over tags: what they say, and what is said of a mistake in one."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest
from factories import chest_radiograph
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset

from dicom_io.selection import site_rules
from dicom_io.selection.decision import SelectionRules, judge_tags
from dicom_io.selection.site_rules import Condition, Meaning, SiteRule, fitting
from worker.arrival.selection_rules import selection_rules
from worker.settings.config import ConfigurationError, Settings, load_settings


def condition(**fields: object) -> Condition:
    return Condition.model_validate(fields)


def coded(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99LOCAL", meaning
    return [item]


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"keyword": "ProtocolName", "equals": "thx pa"}, True),
        ({"keyword": "ProtocolName", "equals": "THX-PA"}, True),
        ({"keyword": "ProtocolName", "equals": "THX"}, False),
        ({"keyword": "ProtocolName", "contains": "thx"}, True),
        ({"keyword": "ProtocolName", "contains": "lat"}, False),
        ({"keyword": "ProtocolName", "matches": "^THX (PA|AP)$"}, True),
        ({"keyword": "ProtocolName", "matches": "^pa"}, False),
        ({"keyword": "ProtocolName", "present": True}, True),
        ({"keyword": "ProtocolName", "present": False}, False),
        ({"keyword": "StationName", "present": False}, True),
        ({"keyword": "StationName", "contains": "X"}, False),
        ({"keyword": "ImageType", "equals": "PRIMARY"}, True),  # any of several values
        ({"keyword": "ImageType", "equals": "ORIGINAL\\PRIMARY"}, False),
        ({"keyword": "ViewCodeSequence", "equals": "V7"}, True),  # code or meaning of any item
        ({"keyword": "ViewCodeSequence", "contains": "thorax"}, True),
        ({"keyword": "ViewCodeSequence", "equals": "V"}, False),
        ({"keyword": "Rows", "equals": "96"}, True),
        ({"keyword": "PresentationLUTShape", "equals": "identity"}, True),
    ],
)
def test_what_a_test_of_one_attribute_says(fields: dict[str, object], fits: bool) -> None:
    header = chest_radiograph(ProtocolName="thx_PA", ViewCodeSequence=coded("V7", "Thorax p.a."), StationName="")
    assert condition(**fields).fits(header) is fits


trees = st.recursive(
    st.booleans(),
    lambda inner: st.tuples(st.sampled_from(["all", "any", "none"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=12,
)


def as_fields(tree: object) -> dict[str, object]:
    if isinstance(tree, bool):
        return {"keyword": "Modality" if tree else "StationName", "present": True}
    joint, inner = tree
    return {joint: [as_fields(each) for each in inner]}


def truth(tree: object) -> bool:
    if isinstance(tree, bool):
        return tree
    joint, inner = tree
    values = [truth(each) for each in inner]
    return {"all": all(values), "any": any(values), "none": not any(values)}[joint]


TODAY = date(2026, 1, 15)
HEADER = chest_radiograph(StationName=None)


@given(trees)
def test_conditions_join_as_and_or_and_neither(tree: object) -> None:
    assert condition(**as_fields(tree)).fits(HEADER) is truth(tree)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"keyword": "ProtocollName", "equals": "x"}, "'ProtocollName' is no DICOM keyword; did you mean ProtocolName"),
        ({"keyword": "xyzzy", "equals": "x"}, "'xyzzy' is no DICOM keyword; see PS3.6"),
        ({"keyword": "PixelData", "present": True}, "PixelData is not read when an image arrives"),
        ({"keyword": "TransferSyntaxUID", "equals": "1.2"}, "TransferSyntaxUID is not read when an image arrives"),
        ({"keyword": "ProtocolName", "matches": "("}, "'(' is not a regular expression"),
        ({"keyword": "ProtocolName", "equals": " _"}, "is empty; to ask whether there is a value"),
        ({"keyword": "ProtocolName"}, "this one has keyword"),
        ({"keyword": "ProtocolName", "equals": "a", "contains": "b"}, "this one has keyword, equals, contains"),
        ({"equals": "a"}, "this one has equals"),
        ({"all": []}, "this one has all"),
        ({"all": [{"keyword": "Modality", "equals": "CR"}], "any": []}, "this one has all, any"),
        ({}, "this one has nothing"),
        ({"keyword": "ProtocolName", "equal": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_a_mistake_in_a_condition_is_named(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        condition(**fields)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ("frontal_chest", ("candidate", None)),
        ("chest", ("not_analysed", "needs_review")),
        ("frontal", ("not_analysed", "needs_review")),
        ("not_chest", ("out_of_scope", "not_chest")),
        ("not_frontal", ("not_analysed", "not_frontal")),
        ("ignore", ("ignored", "site_rule")),
        ("processed_copy", ("not_analysed", "needs_review")),
        ("standard_copy", ("not_analysed", "needs_review")),
    ],
)
def test_what_a_rule_makes_of_an_image_without_telling_tags(means: str, expected: tuple[str, str | None]) -> None:
    silent = dict.fromkeys(["BodyPartExamined", "ViewPosition", "PatientOrientation", "StudyDescription"])
    rule = SiteRule(name="room 2", means=Meaning(means), keyword="ProtocolName", contains="THX")
    for protocol, wanted in (("THX PA", expected), ("other", ("not_analysed", "needs_review"))):
        header = chest_radiograph(ProtocolName=protocol, **silent)
        verdict = judge_tags(header, SelectionRules(site_rules=(rule,)), TODAY)
        assert (verdict.disposition, verdict.reason_code) == wanted
        if verdict.reason_code == "site_rule" or verdict.disposition == "candidate":
            assert "site rule 'room 2'" in verdict.notes


@pytest.mark.parametrize(
    ("description", "means", "expected"),
    [
        ("Chest enhanced", None, ("ignored", "processed_copy")),
        ("Chest enhanced", "standard_copy", ("candidate", None)),
        ("Chest S2", None, ("candidate", None)),
        ("Chest S2", "processed_copy", ("ignored", "processed_copy")),
    ],
)
def test_a_rule_says_which_copies_are_standard(
    description: str, means: str | None, expected: tuple[str, str | None]
) -> None:
    rules = [SiteRule(name="copies", means=Meaning(means), keyword="Modality", present=True)] if means else []
    verdict = judge_tags(
        chest_radiograph(SeriesDescription=description), SelectionRules(site_rules=tuple(rules)), TODAY
    )
    assert (verdict.disposition, verdict.reason_code) == expected


def test_what_is_ignored_by_kind_keeps_that_reason() -> None:
    rule = SiteRule(name="all", means=Meaning.IGNORE, keyword="Modality", present=True)
    header = chest_radiograph(PresentationIntentType="FOR PROCESSING")
    assert judge_tags(header, SelectionRules(site_rules=(rule,)), TODAY).reason_code == "for_processing"


def written(folder: Path, text: str) -> Settings:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


RULES = """
[[sources]]
ae_title = "ROOM1"
[[sources]]
ae_title = "ROOM2"
[[site_rules]]
name = "no scouts"
means = "ignore"
keyword = "SeriesDescription"
contains = "scout"
[[site_rules]]
name = "thorax protocols of room 2"
means = "frontal_chest"
sources = ["ROOM2"]
all = [
  { keyword = "Manufacturer", contains = "factory" },
  { any = [{ keyword = "ProtocolName", equals = "THX PA" }, { keyword = "ProtocolName", equals = "THX AP" }] },
]
"""


def test_rules_are_written_in_the_configuration_and_hold_for_their_sources(tmp_path: Path) -> None:
    settings = written(tmp_path, RULES)
    header = chest_radiograph(ProtocolName="thx ap", SeriesDescription="Scout")
    names = {source: [rule.name for rule in fitting(selection_rules(settings, source).site_rules, header)]
             for source in ("ROOM1", "ROOM2")}  # fmt: skip
    assert names == {"ROOM1": ["no scouts"], "ROOM2": ["no scouts", "thorax protocols of room 2"]}


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('"ProtocolName", equals = "THX PA"', '"Protocol", equals = "x"', "site_rules.1.all.1.any.0.keyword: "),
        ('means = "ignore"', 'means = "drop"', "site_rules.0.means: "),
        ('sources = ["ROOM2"]', 'sources = ["ROOM3"]', "site_rules name sources that are not configured: ROOM3"),
        ('name = "no scouts"', 'name = "thorax protocols of room 2"', "each name may stand once among site_rules"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_with_its_place(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    assert before in RULES
    with pytest.raises(ConfigurationError) as caught:
        written(tmp_path, RULES.replace(before, after))
    assert complaint in str(caught.value)


def test_the_example_in_the_module_is_a_rule() -> None:
    example = (site_rules.__doc__ or "").split("::\n", 1)[1]
    (fields,) = tomllib.loads(example)["site_rules"]
    rule = SiteRule.model_validate(fields)
    header = chest_radiograph(Manufacturer="Example Inc.", ProtocolName="W21 THX")
    assert rule.fits(header)
