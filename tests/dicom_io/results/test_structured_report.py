"""The structured report: valid for three validators, right where none of them looks, and always the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from reports import CREATED_AT, QUIET, concept, groups, report_on, source_radiograph
from validators import dcentvfy_errors, dciodvfy_errors, dsrdump, pixelmed_complaints

from dicom_io.results.codes import FINDINGS
from dicom_io.results.report_class import REPORT_CLASSES
from dicom_io.results.reporting import DEMONSTRATION_NOTICE, InvalidReportError, Predecessor, Report, ReportedFinding
from dicom_io.results.result_file import write_result
from dicom_io.results.structured_report import build_structured_report

IDENTITY = (
    "StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "IssuerOfPatientID",
    "TimezoneOffsetFromUTC",
)  # fmt: skip


def read_back(dataset: Dataset) -> Dataset:
    return dcmread(BytesIO(write_result(dataset)))


def value(items: dict[str, list[Dataset]], code: str) -> str:
    (item,) = items[code]
    if item.ValueType == "CODE":
        return str(item.ConceptCodeSequence[0].CodeValue)
    if item.ValueType == "NUM":
        return str(item.MeasuredValueSequence[0].NumericValue)
    return str(item.UID if item.ValueType == "UIDREF" else item.TextValue)


def save(dataset: Dataset, path: Path) -> Path:
    path.write_bytes(write_result(dataset))
    return path


def rg1() -> Dataset:
    path = get_testdata_file("RG1_J2KI.dcm", download=False)
    assert isinstance(path, str)
    return dcmread(path)


SOURCES: dict[str, Any] = {
    "digital": source_radiograph,
    "without identity": lambda: source_radiograph(PatientID="", PatientName="", PatientBirthDate="", StudyID=""),
    "japanese": lambda: source_radiograph(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "without geometry": lambda: source_radiograph(PatientOrientation=None, ImagerPixelSpacing=None),
    "computed radiograph RG1": rg1,
}


@pytest.mark.parametrize("name", SOURCES)
def test_dicom3tools_and_dcmtk_find_no_error_whatever_the_source(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]()
    path = save(build_structured_report([source], report_on(source)), tmp_path / "report.dcm")
    source_path = tmp_path / "source.dcm"
    source.save_as(source_path, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
    assert dcentvfy_errors(source_path, path) == []
    assert "AI summary" in dsrdump(path)


@pytest.mark.parametrize("written", [b"0,143\\0,143 ", b"0.143 ", b"0\\0 ", b"unknown ", b"0.1\\0.1\\0.1 "])
def test_a_spacing_that_is_none_costs_the_report_nothing_but_the_spacing(written: bytes) -> None:
    source = source_radiograph()
    tag = Tag("ImagerPixelSpacing")
    source[tag] = RawDataElement(tag, "DS", len(written), written, 0, False, True)
    document = build_structured_report([source], report_on(source))
    without = source_radiograph(ImagerPixelSpacing=None)
    assert write_result(document) == write_result(build_structured_report([without], report_on(without)))


def test_an_orientation_of_one_value_names_no_row_and_no_column() -> None:
    source, without = source_radiograph(PatientOrientation="LF"), source_radiograph(PatientOrientation=None)
    documents = [write_result(build_structured_report([each], report_on(each))) for each in (source, without)]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("findings", [None, QUIET], ids=["positive", "negative"])
@pytest.mark.parametrize("sop_class_uid", REPORT_CLASSES)
def test_every_sop_class_is_valid(
    sop_class_uid: str, findings: tuple[ReportedFinding, ...] | None, tmp_path: Path
) -> None:
    source = source_radiograph()
    report = report_on(source, **({} if findings is None else {"findings": findings}))
    path = save(build_structured_report([source], report, sop_class_uid=sop_class_uid), tmp_path / "report.dcm")
    assert dcmread(path).SOPClassUID == sop_class_uid
    assert dciodvfy_errors(path) == []
    dsrdump(path)


def test_each_finding_names_the_one_of_two_images_that_shows_it(tmp_path: Path) -> None:
    sources = [source_radiograph("1.2.3.10"), source_radiograph("1.2.3.11", SeriesInstanceUID="1.2.3.2")]
    findings = (ReportedFinding("Effusion", 0.6, 0.5, 1), ReportedFinding("Pneumothorax", 0.9, 0.5, 0), *QUIET)
    report = report_on(*sources, findings=findings)
    path = save(build_structured_report(sources, report, include_negatives=True), tmp_path / "report.dcm")
    assert dciodvfy_errors(path) == []
    images = {
        value(group, "121071"): group["121112"][0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in groups(dcmread(path))[1:]
    }
    assert images["36118008"] == "1.2.3.10"
    assert images["60046008"] == "1.2.3.11"


@pytest.mark.slow  # by default PixelMed reads a report that an archive keeps (`test_orthanc.py`): it takes ten seconds
@pytest.mark.timeout(400)
@pytest.mark.parametrize("findings", [QUIET, (ReportedFinding("Effusion", 0.6, 0.5, 1), *QUIET)], ids=len)
def test_pixelmed_accepts_the_tree_of_two_images(tmp_path: Path, findings: tuple[ReportedFinding, ...]) -> None:
    sources = [source_radiograph("1.2.3.10"), source_radiograph("1.2.3.11", SeriesInstanceUID="1.2.3.2")]
    report = build_structured_report(sources, report_on(*sources, findings=findings), include_negatives=True)
    assert pixelmed_complaints(save(report, tmp_path / "report.dcm")) == []


def test_the_summary_says_outcome_priority_and_that_it_is_a_demonstration() -> None:
    source = source_radiograph()
    document = read_back(build_structured_report([source], report_on(source)))
    summary = groups(document)[0]
    assert value(summary, "111017") == "111242"
    assert value(summary, "260870009") == "25876001"
    assert DEMONSTRATION_NOTICE in [item.TextValue for item in summary["121106"]]
    assert all(DEMONSTRATION_NOTICE in value(group, "111001") for group in groups(document))


def test_a_real_model_is_not_for_diagnostic_use_either_but_no_demonstration() -> None:
    source = source_radiograph()
    document = read_back(build_structured_report([source], report_on(source, demonstration=False)))
    summary = groups(document)[0]
    assert "NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE" in [item.TextValue for item in summary["121106"]]
    assert value(summary, "111001") == "phantom-densenet121"


def test_findings_come_with_certainty_threshold_and_presence_most_probable_first() -> None:
    source = source_radiograph()
    found = groups(read_back(build_structured_report([source], report_on(source))))[1:]
    assert [value(group, "121071") for group in found] == ["36118008", "60046008", "RID28509"]
    assert [float(value(group, "111012")) for group in found] == [91.3, 66.0, 55.0]
    assert {value(group, "111002") for group in found} == {"operating_threshold=0.5"}
    assert {value(group, "121052") for group in found} == {"52101004"}


def test_what_no_validator_sees_is_there() -> None:
    source = source_radiograph()
    document = read_back(build_structured_report([source], report_on(source)))
    assert concept(document) == "126000"
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert document.ContentTemplateSequence[0].MappingResource == "DCMR"
    assert {"111028", "126010"} <= {concept(item) for item in document.ContentSequence}
    for group in groups(document):
        assert all(len(group[code]) == 1 for code in ("112039", "112040", "111001", "111003", "122405"))
        assert value(group, "111003") == "0.1.0+weights.3f9c1a7e"
    tracking = [value(group, "112040") for group in groups(document)]
    assert len(set(tracking)) == len(tracking)
    assert (document.CompletionFlag, document.VerificationFlag, document.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (document.SeriesNumber, document.SeriesDescription, document.Modality) == (
        9001,
        "AI CXR triage report",
        "SR",
    )


def test_below_the_threshold_nothing_is_reported_unless_wanted() -> None:
    source = source_radiograph()
    report = report_on(source, findings=QUIET)
    (summary,) = groups(build_structured_report([source], report))
    assert value(summary, "111017") == "111241"
    assert value(summary, "260870009") == "50811001"
    _, *negatives = groups(build_structured_report([source], report, include_negatives=True))
    assert [value(group, "121052") for group in negatives] == ["272519000"] * 2


@pytest.mark.parametrize("name", SOURCES)
def test_patient_and_study_are_those_of_the_source(name: str) -> None:
    source = SOURCES[name]()
    document = read_back(build_structured_report([source], report_on(source)))
    for keyword in IDENTITY:
        assert document.get(keyword, "") == source.get(keyword, ""), keyword
    assert document.SeriesInstanceUID != source.SeriesInstanceUID


# (charset of the source, name in it): the examples of PS3.5 annexes H, I and J, and two 8-bit ones
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_a_name_survives_whatever_character_set_it_came_in(character_set: Any, name: str) -> None:
    source = source_radiograph()
    source.SpecificCharacterSet = character_set
    source.PatientName = name
    source = dcmread(BytesIO(write_result(source)))
    document = read_back(build_structured_report([source], report_on(source)))
    assert str(document.PatientName) == name
    assert document.SpecificCharacterSet == source.SpecificCharacterSet


def test_undeclared_bytes_go_out_as_they_came_in() -> None:
    source = source_radiograph()
    del source.SpecificCharacterSet
    source.PatientName = "Müller^Ä"  # pydicom writes Latin-1 where nothing is declared
    source = dcmread(BytesIO(write_result(source)))
    written = write_result(build_structured_report([source], report_on(source)))
    assert b"M\xfcller^\xc4" in written
    assert "SpecificCharacterSet" not in dcmread(BytesIO(written))


def test_equal_input_gives_equal_bytes_in_another_process_too() -> None:
    source = source_radiograph()
    program = (
        "import hashlib, sys; sys.path[:0] = ['tests/support/documents', '.'];"
        "from reports import *; from dicom_io.results.structured_report import *;"
        "from dicom_io.results.result_file import *;"
        "s = source_radiograph(); d = build_structured_report([s], report_on(s));"
        "print(hashlib.sha256(write_result(d)).hexdigest())"
    )
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    first, second = (write_result(build_structured_report([source], report_on(source))) for _ in range(2))
    assert first == second
    assert finished.stdout.strip() == hashlib.sha256(first).hexdigest()


def test_uids_follow_the_analysis_and_not_the_time() -> None:
    sources = [source_radiograph("1.2.3.10"), source_radiograph("1.2.3.11")]
    report = report_on(*sources)

    def uid(changed: Report, headers: list[Dataset] = sources) -> str:
        return str(build_structured_report(headers, changed).SOPInstanceUID)

    later = dataclasses.replace(report, created_at=CREATED_AT + timedelta(hours=1))
    reordered = dataclasses.replace(report, images=report.images[::-1])
    assert uid(report) == uid(later) == uid(reordered, sources[::-1])
    others = [
        dataclasses.replace(report, revision=2),
        dataclasses.replace(report, policy_hash="another"),
        dataclasses.replace(report, algorithm=dataclasses.replace(report.algorithm, version="0.2.0+weights.00000000")),
        report_on(sources[0]),
    ]
    uids = {uid(report), *(uid(other, sources[: len(other.images)]) for other in others)}
    assert len(uids) == 5


def test_each_sop_class_has_its_own_instance_uid() -> None:
    source = source_radiograph()
    uids = {
        build_structured_report([source], report_on(source), sop_class_uid=uid).SOPInstanceUID for uid in REPORT_CLASSES
    }
    assert len(uids) == 3


@pytest.mark.parametrize(
    ("offset", "site_zone", "expected"),
    [
        ("+0900", timezone(timedelta(hours=2)), "20260116 083005"),
        (None, timezone(timedelta(hours=-5)), "20260115 183005"),
        ("rubbish", timezone(timedelta(hours=2)), "20260116 013005"),
    ],
)
def test_times_are_in_the_zone_of_the_study(offset: str | None, site_zone: timezone, expected: str) -> None:
    source = source_radiograph()
    if offset == "rubbish":
        source.add_new("TimezoneOffsetFromUTC", "SH", "+9:00")
    elif offset:
        source.TimezoneOffsetFromUTC = offset
    document = build_structured_report([source], report_on(source), site_zone=site_zone)
    assert f"{document.ContentDate} {document.ContentTime}" == expected
    assert f"{document.SeriesDate} {document.SeriesTime}" == expected
    assert ("TimezoneOffsetFromUTC" in document) == (offset is not None)


def test_orders_and_predecessor_are_named(tmp_path: Path) -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.AccessionNumber = "ACC0001"
    request.ScheduledProcedureStepID = "SPS1"
    source = source_radiograph(RequestAttributesSequence=[request])
    predecessors = tuple(Predecessor(REPORT_CLASSES[n], f"2.25.{n + 1}", "2.25.9") for n in (0, 1))
    report = report_on(source, predecessors=predecessors, reissue_reason="an image was added")
    path = save(build_structured_report([source], report), tmp_path / "report.dcm")
    document = dcmread(path)
    (order,) = document.ReferencedRequestSequence
    assert (order.RequestedProcedureID, order.StudyInstanceUID) == ("RP1", "1.2.3")
    assert "ScheduledProcedureStepID" not in order
    (study,) = document.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.9"
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == ["2.25.1", "2.25.2"]
    comments = [item.TextValue for item in groups(document)[0]["121106"]]
    assert "Replaces the earlier AI report of this study: an image was added" in comments
    assert dciodvfy_errors(path) == []


def test_every_analysed_image_is_evidence() -> None:
    sources = [source_radiograph("1.2.3.10"), source_radiograph("1.2.3.11", SeriesInstanceUID="1.2.3.2")]
    document = build_structured_report(sources, report_on(*sources))
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    listed = {
        instance.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert listed == {"1.2.3.10", "1.2.3.11"}


def test_a_contradiction_is_refused_with_its_reason() -> None:
    source, other = source_radiograph(), source_radiograph("1.2.4.10", StudyInstanceUID="1.2.4")
    with pytest.raises(InvalidReportError, match="same order"):
        build_structured_report([other], report_on(source))
    with pytest.raises(InvalidReportError, match="of one study"):
        build_structured_report([source, other], report_on(source, other))
    with pytest.raises(InvalidReportError, match="no code for Gout"):
        build_structured_report([source], report_on(source, findings=(ReportedFinding("Gout", 0.9, 0.5),)))
    with pytest.raises(InvalidReportError, match="sop_class_uid"):
        build_structured_report([source], report_on(source), sop_class_uid="1.2.840.10008.5.1.4.1.1.88.65")
    with pytest.raises(InvalidReportError, match="time zone"):
        report_on(source, created_at=datetime(2026, 1, 15))
    with pytest.raises(InvalidReportError, match="probability of Mass"):
        ReportedFinding("Mass", 1.2, 0.5)


def test_no_model_is_said_to_be_sure() -> None:
    source = source_radiograph()
    findings = (ReportedFinding("Mass", 0.99996, 0.5), ReportedFinding("Hernia", 0.0, 0.5))
    document = build_structured_report([source], report_on(source, findings=findings), include_negatives=True)
    assert [float(value(group, "111012")) for group in groups(document)[1:]] == [99.9, 0.1]


def test_no_side_is_claimed_for_any_finding() -> None:
    source = source_radiograph()
    findings = tuple(ReportedFinding(label, 0.9, 0.5) for label in FINDINGS)
    document = build_structured_report([source], report_on(source, findings=findings))
    for group in groups(document):
        (site,) = group["363698007"]
        assert "ContentSequence" not in site  # where TID 1501 would have the laterality
    # Laterality: SCT 272741003, SRT G-C171
    assert not {"272741003", "G-C171"} & {
        element.value for element in document.iterall() if element.keyword == "CodeValue"
    }


def test_the_summary_names_the_policy_that_set_the_priority() -> None:
    source = source_radiograph()
    summary = groups(build_structured_report([source], report_on(source)))[0]
    assert value(summary, "111002") == "policy_sha256=c0ffee"


def test_a_predecessor_needs_its_reason() -> None:
    source = source_radiograph()
    with pytest.raises(InvalidReportError, match="belong together"):
        report_on(source, predecessors=(Predecessor(REPORT_CLASSES[0], "2.25.1", "2.25.2"),))
