"""Which instances are analysed, by their tags."""

from __future__ import annotations

import csv
from datetime import date

import pydicom
import pytest
from factories import chest_radiograph, computed_radiograph
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from samples import public_sample, shared

from dicom_io.data_sets.header import parse_header
from dicom_io.foundation.product import DEVICE_SERIAL_NUMBER, MANUFACTURER_MODEL_NAME
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.selection.decision import SelectionRules, Verdict, judge_tags, study_reason

TODAY = date(2026, 1, 15)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def judged(rules: SelectionRules | None = None, **keywords: object) -> tuple[str, str | None]:
    verdict = judge_tags(chest_radiograph(**keywords), rules or SelectionRules(), TODAY)
    return verdict.disposition, verdict.reason_code


def code(value: str, meaning: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return [item]


UNTAGGED = {
    "BodyPartExamined": None,
    "ViewPosition": None,
    "PatientOrientation": None,
    "StudyDescription": None,
}


def test_a_tagged_frontal_chest_of_an_adult_is_a_candidate():
    assert judged() == ("candidate", None)
    assert judge_tags(computed_radiograph(), SelectionRules(), TODAY).disposition == "candidate"


@pytest.mark.parametrize(
    "keywords",
    [
        {"ViewPosition": "AP"},
        {"ViewPosition": "pa"},
        {"ViewPosition": "AP_SUPINE"},
        {"ViewPosition": None},  # the orientation L\F says frontal
        {"ViewPosition": "", "PatientOrientation": None, "ViewCodeSequence": code("399348003")},
        {"ViewPosition": "", "PatientOrientation": None, "ViewCodeSequence": code("R-10206")},
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "", "StudyDescription": "RX TORAX"},
        {"BodyPartExamined": "", "StudyDescription": "", "AnatomicRegionSequence": code("51185008")},
        {"BodyPartExamined": "", "StudyDescription": "", "SeriesDescription": "chest_pa"},
        {"StudyDescription": "Chest and knee"},  # a study of both says nothing of this image
    ],
)
def test_one_cue_for_chest_and_one_for_frontal_are_enough(keywords):
    assert judged(**keywords) == ("candidate", None)


@pytest.mark.parametrize(
    "description",
    [
        "Tuberculosis screening PA", "Tuberkulose-Screening", "Wedge view PA", "Chest PA after chest tube",
        "CHEST 1 VIEW LINE PLACEMENT", "Chest AP post catheter removal", "Portable chest NG tube position",
        "Thorax Lagekontrolle Tube",
    ],
)  # fmt: skip
def test_an_ordinary_radiograph_is_no_processed_copy_for_a_word_in_its_description(description: str) -> None:
    """After a tube or line a pneumothorax is likeliest."""
    assert judged(SeriesDescription=description) == ("candidate", None)


@pytest.mark.parametrize("position", ["LL", "RL", "LATERAL", "LLD", "RLD", "LLO", "RLO", "left lateral"])
def test_other_views_of_the_chest_are_not_frontal(position):
    assert judged(ViewPosition=position, PatientOrientation=None) == ("not_analysed", "not_frontal")


@pytest.mark.parametrize("value", ["399067008", "R-102CD", "399173006", "399198007"])
def test_coded_lateral_views_are_not_frontal(value):
    keywords = {"ViewPosition": None, "PatientOrientation": None, "ViewCodeSequence": code(value)}
    assert judged(**keywords) == ("not_analysed", "not_frontal")


@pytest.mark.parametrize(
    "keywords",
    [
        UNTAGGED,
        {"ViewPosition": None, "PatientOrientation": None},
        {"BodyPartExamined": None, "StudyDescription": None},
        {"ViewPosition": "PA", "PatientOrientation": ["A", "F"]},
        {"ViewPosition": "PA", "ViewCodeSequence": code("399067008")},
        {"BodyPartExamined": "CHEST ABDOMEN"},
        {"BodyPartExamined": "KNEE"},  # and the study says chest
        {"StudyDescription": "Abdomen and knee"},  # and the image says chest
        {"BodyPartExamined": None, "StudyDescription": "Chest and knee"},
        {"ViewPosition": "SPECIAL", "PatientOrientation": None},
    ],
)
def test_missing_or_contradicting_tags_need_a_person(keywords):
    assert judged(**keywords) == ("not_analysed", "needs_review")


@pytest.mark.parametrize(
    "body_part", ["ABDOMEN", "CSPINE", "SHOULDER", "HAND", "RIBS", "EXTREMITY", "ELBOW LT", "KNEE"]
)
def test_other_body_parts_are_out_of_scope_whatever_else_is_wrong(body_part):
    keywords = {"BodyPartExamined": body_part, "StudyDescription": None, "PatientAge": "005Y", "ViewPosition": "LL"}
    assert judged(**keywords) == ("out_of_scope", "not_chest")


@pytest.mark.parametrize(
    ("keywords", "reason_code"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "sop_class"),
        ({"SOPClassUID": SECONDARY_CAPTURE}, "sop_class"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "for_processing"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        ({"ManufacturerModelName": MANUFACTURER_MODEL_NAME, "DeviceSerialNumber": DEVICE_SERIAL_NUMBER}, "own_result"),
        ({"SeriesDescription": "Chest PA Bone suppressed"}, "processed_copy"),
        ({"SeriesDescription": "CHEST SOFT_TISSUE"}, "processed_copy"),
        ({"SeriesDescription": "Tube and Line"}, "processed_copy"),
        ({"SeriesDescription": "Chest AP Catheters"}, "processed_copy"),
    ],
)
def test_what_is_kept_and_left_alone(keywords, reason_code):
    assert judged(**keywords) == ("ignored", reason_code)


def test_secondary_capture_is_analysed_where_the_site_says_so():
    rules = SelectionRules(accept_secondary_capture=True)
    assert judged(rules, SOPClassUID=SECONDARY_CAPTURE) == ("candidate", None)
    assert judged(rules, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2", NumberOfFrames=3) == ("not_analysed", "multi_frame")


def test_our_own_results_are_known_by_model_and_serial_number():
    keywords = {"ManufacturerModelName": MANUFACTURER_MODEL_NAME, "DeviceSerialNumber": "9999"}
    assert judged(SelectionRules(own_device_serial_number="9999"), **keywords) == ("ignored", "own_result")
    assert judged(**keywords) == ("candidate", None)  # a radiograph of a unit that happens to share our name


def test_two_workers_behind_one_archive_do_not_answer_each_other():
    drawn_elsewhere = {"ManufacturerModelName": MANUFACTURER_MODEL_NAME, "DeviceSerialNumber": "9999"}
    rules = SelectionRules(accept_secondary_capture=True)
    assert judged(rules, SOPClassUID=SECONDARY_CAPTURE, **drawn_elsewhere) == ("ignored", "own_result")


@pytest.mark.parametrize("rows", [None, ""])
def test_an_image_without_rows_has_no_pixels(rows):
    assert judged(Rows=rows) == ("not_analysed", "no_pixels")


def test_children_are_not_analysed_unless_the_site_says_so():
    assert judged(PatientAge="005Y") == ("not_analysed", "age")
    assert judged(SelectionRules(include_under_18=True), PatientAge="005Y") == ("candidate", None)
    assert judged(PatientAge="018Y") == ("candidate", None)
    assert judged(PatientAge=None, PatientBirthDate=None) == ("candidate", None)


def test_old_studies_are_left_alone_only_where_the_site_says_so():
    old, limit_day = {"StudyDate": "20260107"}, {"StudyDate": "20260108"}
    assert judged(**old) == ("candidate", None)
    rules = SelectionRules(oldest_days=7)
    assert judged(rules, **old) == ("not_analysed", "historical")
    assert judged(rules, **limit_day) == ("candidate", None)
    assert judged(rules, StudyDate=None) == ("candidate", None)
    assert judged(rules, **old, BodyPartExamined="KNEE", StudyDescription="") == ("out_of_scope", "not_chest")


def verdict(disposition: str, reason_code: ReasonCode | None = None) -> Verdict:
    return Verdict(disposition, reason_code)


CANDIDATE = verdict("candidate")
SR = verdict("ignored", ReasonCode.SOP_CLASS)
KNEE = verdict("out_of_scope", ReasonCode.NOT_CHEST)
LATERAL = verdict("not_analysed", ReasonCode.NOT_FRONTAL)
UNCLEAR = verdict("not_analysed", ReasonCode.NEEDS_REVIEW)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], ("out_of_scope", "no_image")),
        ([SR, SR], ("out_of_scope", "no_image")),
        ([SR, KNEE], ("out_of_scope", "not_chest")),
        ([KNEE, UNCLEAR], ("not_analysed", "needs_review")),
        ([LATERAL, UNCLEAR], ("not_analysed", "needs_review")),
        ([KNEE, LATERAL], ("not_analysed", "not_frontal")),
        ([verdict("ignored", ReasonCode.FOR_PROCESSING), SR], ("not_analysed", "for_processing")),
        ([LATERAL, verdict("not_analysed", ReasonCode.HISTORICAL)], ("not_analysed", "historical")),
        ([SR, verdict("ignored", ReasonCode.PROCESSED_COPY), LATERAL], ("not_analysed", "processed_copy")),
        ([verdict("ignored", ReasonCode.FOR_PROCESSING), KNEE], ("out_of_scope", "not_chest")),
        ([verdict("ignored", ReasonCode.SITE_RULE), SR], ("out_of_scope", "site_rule")),
        ([UNCLEAR, CANDIDATE, KNEE], ("candidate", None)),
    ],
)
def test_a_study_is_told_its_most_telling_reason(verdicts, expected):
    assert study_reason(verdicts) == expected


@pytest.mark.parametrize(
    "reason_code",
    [
        "age", "historical", "multi_frame", "needs_review", "undecodable", "unsupported_pixels", "too_large",
        "too_small", "blank", "no_pixels", "not_frontal", "processed_copy", "rejected",
    ],
)  # fmt: skip
def test_an_image_that_was_not_analysed_never_makes_a_study_look_out_of_scope(reason_code):
    left_out = verdict("not_analysed", ReasonCode(reason_code))
    assert study_reason([SR, KNEE, left_out]) == ("not_analysed", reason_code)


def test_every_reason_has_a_sentence():
    for reason in ReasonCode:
        assert reason.sentence.endswith(".")


def test_the_public_chest_is_a_candidate_and_the_leg_is_not():
    for name, expected in (("RG1_UNCR.dcm", ("candidate", None)), ("RG3_J2KR.dcm", ("out_of_scope", "not_chest"))):
        verdict = judge_tags(pydicom.dcmread(public_sample(name), stop_before_pixels=True), SelectionRules(), TODAY)
        assert (verdict.disposition, verdict.reason_code) == expected


def test_real_files_are_judged_as_the_manifest_says():
    with shared("data/dicom_manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        header = pydicom.dcmread(shared("data/dicom") / row["file"], stop_before_pixels=True)
        verdict = judge_tags(header, SelectionRules(), TODAY)
        expected = {"analysed": "candidate"}.get(row["expected_disposition"], row["expected_disposition"])
        assert (verdict.disposition, verdict.reason_code or "") == (expected, row["expected_reason"]), row["file"]


@pytest.mark.filterwarnings("ignore:Found unknown escape sequence")
@example({"00080016": ("LO", b"\x1b(")})
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(
            ["00080016", "00080060", "00180015", "00185101", "00101010", "00280008", "00082218", "00540220"]
        ),
        st.tuples(st.sampled_from(["UI", "CS", "AS", "IS", "SQ", "UN", "LO"]), st.binary(max_size=40)),
    )
)
def test_whatever_bytes_stand_in_a_tag_the_verdict_comes(elements):
    encoded = b"\x08\x00\x05\x00CS\x00\x00"
    for tag, (representation, value) in sorted(elements.items()):
        value += b" " * (len(value) % 2)
        head = bytes.fromhex(tag[2:4] + tag[0:2] + tag[6:8] + tag[4:6]) + representation.encode()
        long_form = representation in ("SQ", "UN")
        length = b"\0\0" + len(value).to_bytes(4, "little") if long_form else len(value).to_bytes(2, "little")
        encoded += head + length + value
    header = parse_header(encoded, "1.2.840.10008.1.2.1")
    assert judge_tags(header, SelectionRules(), TODAY).disposition != "candidate"
