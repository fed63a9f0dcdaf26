"""The ORU^R01 itself: grammar, escaping, names of the world, orders, and what may never stand in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from reports import FLAGGED, QUIET, report_on, source_radiograph

from dicom_io.data_sets.header import text
from dicom_io.results.codes import FINDINGS, PRIORITY_CODES
from dicom_io.results.reporting import ReportedFinding
from hl7_io import observation_report
from hl7_io.addressing import Addressing
from hl7_io.announcement import Announcement
from hl7_io.observation_report import build_observation_report, control_id
from hl7_io.observations import DICOM_STUDY, DISCLAIMER
from hl7_io.reading import Message, read_message
from hl7_io.segments import InvalidMessageError
from hl7_io.text import escape, unescape
from worker.runs.announcement import CRITICAL

TO_RIS = Addressing("CXRAI", "RAD", "RIS", "HOSP")
NAMES = {
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 192": "Wang^XiaoDong=王^小东=",
    "GB18030": "Wang^XiaoDong=王^小东=",
    "ISO_IR 100": "Ærøskøbing^Bjørn^^Dr^Jr",
}


def built(source: Dataset, *more: Dataset, to: Addressing = TO_RIS, **changes: object) -> bytes:
    sources = [source, *more]
    fields = {"report": report_on(*sources), "headers": sources, "priority": "STAT", "critical": CRITICAL} | changes
    return build_observation_report(Announcement(**fields), to, control_id("study", "ris"))


def read(content: bytes, level: int = VALIDATION_LEVEL.STRICT) -> Message:
    """Read what was built, after two libraries have accepted it, too; hl7apy's strict level takes a TX for an ST."""
    message = read_message(content)
    as_text = content.decode(message.codec)
    assert parse_message(as_text, validation_level=level).validate()
    assert len(hl7.parse(as_text)) == len(message.segments)
    return message


def observations(message: Message, identifier: str) -> list[tuple[str, str, str, str]]:
    return [(o.text(4), o.text(5, 1), o.text(8), o.text(11)) for o in message.all("OBX") if o.text(3) == identifier]


@pytest.mark.parametrize(
    ("day", "time", "told"),
    [
        ("20260115", "101530.25", "20260115101530"),
        ("20260115", "1015", "202601151015"),
        ("20260115", "10", "2026011510"),
        ("20260115", "10:15:30", "20260115101530"),
        ("20260115", "101", "20260115"),
        ("20260115", "2561", "20260115"),
        ("2026.01.15", "", "20260115"),
        ("202611", "1015", ""),
        ("2026", "", ""),
    ],
)
def test_a_date_and_a_time_are_told_as_far_as_they_are_stated(day: str, time: str, told: str) -> None:
    message = read(built(source_radiograph(StudyDate=day, StudyTime=time, PatientBirthDate=day)))
    request, patient = message.first("OBR"), message.first("PID")
    assert request is not None
    assert patient is not None
    assert (request.text(7), patient.text(7)) == (told, told[:8])


@pytest.mark.parametrize("name", ["", "^", "^^^^=="])
def test_a_patient_without_a_name_is_announced_as_one_without(name: str) -> None:
    patient = read(built(source_radiograph(PatientName=name))).first("PID")
    assert patient is not None
    assert (patient.text(3), patient.text(5), patient.text(5, 7)) == ("T-0001", "", "U")


def test_it_has_the_segments_of_an_unsolicited_preliminary_result_in_order() -> None:
    message = read(built(source_radiograph()))
    names = [segment.name for segment in message.segments]
    assert names[:6] == ["MSH", "PID", "PV1", "ORC", "OBR", "TQ1"]
    assert set(names[6:]) == {"OBX"}
    assert [message.header.text(9, number) for number in (1, 2, 3)] == ["ORU", "R01", "ORU_R01"]
    assert message.header.text(12) == "2.5.1"
    assert len(message.header.text(10)) == 20
    order, request = message.first("ORC"), message.first("OBR")
    assert order is not None
    assert request is not None
    assert order.text(1) == "RE"
    assert request.text(25) == "P"
    assert {o.text(11) for o in message.all("OBX")} == {"P", "O"}
    assert [o.text(1) for o in message.all("OBX")] == [str(n + 1) for n in range(len(names) - 6)]


def test_flagged_findings_are_named_with_code_certainty_threshold_and_urgency() -> None:
    message = read(built(source_radiograph()))
    flagged = sorted(FLAGGED, key=lambda finding: -finding.probability)
    codes = [FINDINGS[finding.label].precoordinated.value for finding in flagged]
    found = observations(message, "121071")
    assert sorted(value for _, value, _, _ in found) == sorted(codes)
    assert {value: flag for _, value, flag, _ in found} == {
        FINDINGS[f.label].precoordinated.value: "AA" if f.label == "Pneumothorax" else "A" for f in flagged
    }
    certainties = {o.text(4): (o.text(5), o.text(6), o.text(7)) for o in message.all("OBX") if o.text(3) == "111012"}
    by_sub_id = {sub_id: value for sub_id, value, _, _ in found}
    assert {by_sub_id[sub_id]: seen for sub_id, seen in certainties.items()} == {
        FINDINGS[f.label].precoordinated.value: (f"{100 * f.probability:.1f}", "%", f"<{100 * f.threshold:.1f}")
        for f in flagged
    }
    assert not {FINDINGS[f.label].precoordinated.value for f in QUIET} & set(by_sub_id.values())


def test_it_says_that_it_is_preliminary_and_not_for_the_chart() -> None:
    for findings in (FLAGGED, ()):
        source = source_radiograph()
        message = read(built(source, report=report_on(source, findings=findings)))
        comments = [value for _, value, _, _ in observations(message, "121106")]
        assert DISCLAIMER in comments
        assert "PRELIMINARY" in DISCLAIMER
        assert "not for the patient's chart" in DISCLAIMER
        assert any("DEMONSTRATION" in comment for comment in comments)
        assert len(DISCLAIMER) <= 199, "longer than an ST may be"


def test_a_study_full_of_findings_is_announced_with_all_of_them() -> None:
    source = source_radiograph()
    findings = tuple(ReportedFinding(label, 0.9, 0.5) for label in FINDINGS)
    reason = "; ".join(f"{label} 90 % (threshold 50 %)" for label in FINDINGS)
    content = built(source, report=report_on(source, findings=findings, priority_reason=reason))
    message = read(content, VALIDATION_LEVEL.TOLERANT)
    assert len(observations(message, "121071")) == len(FINDINGS) == 14
    assert any(reason in value for _, value, _, _ in observations(message, "121106"))


@pytest.mark.parametrize(
    "keyword", ["PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDescription", "PatientName"]
)
def test_the_longest_values_dicom_allows_arrive_whole(keyword: str) -> None:
    source = source_radiograph(IssuerOfPatientID="HOSP")
    source[keyword]._value = "9" * 64
    message = read_message(built(source))
    assert sum("9" * 64 in field for segment in message.segments for field in segment.fields) >= 1


def test_nothing_flagged_is_without_findings_and_never_normal() -> None:
    source = source_radiograph()
    message = read(built(source, report=report_on(source, findings=QUIET), priority="ROUTINE"))
    assert observations(message, "121071") == []
    assert [value for _, value, _, _ in observations(message, "111017")] == ["111241"]
    assert {flag for _, _, flag, _ in observations(message, "111017")} == {""}


@pytest.mark.parametrize("level", sorted(PRIORITY_CODES))
def test_the_level_stands_in_tq1_9(level: str) -> None:
    timing = read(built(source_radiograph(), priority=level)).first("TQ1")
    assert timing is not None
    assert timing.text(9) == PRIORITY_CODES[level].hl7_tq1_9
    assert timing.text(9, 3) == "HL70485"


@pytest.mark.parametrize(("character_set", "name"), NAMES.items())
def test_names_arrive_in_every_script_and_representation(character_set: str, name: str) -> None:
    message = read(built(source_radiograph(SpecificCharacterSet=character_set, PatientName=name)))
    assert message.header.text(18) == "UNICODE UTF-8"
    patient = message.first("PID")
    assert patient is not None
    groups = [group for group in name.split("=") if group]
    found = patient.repetitions(5)
    assert len(found) == len(groups)
    for repetition, group, representation in zip(found, groups, "AIP", strict=False):
        parts = [*group.split("^"), "", "", "", ""][:5]
        assert [repetition[n][0] for n in range(5)] == [parts[0], parts[1], parts[2], parts[4], parts[3]]
        assert repetition[7][0] == representation


@pytest.mark.parametrize(
    ("wanted", "name", "written"),
    [
        ("8859/1", "Müller^Jörg", "8859/1"),
        ("8859/5", "Люкceмбypг", "8859/5"),
        ("8859/1", "Люкceмбypг", "UNICODE UTF-8"),
        ("GB 18030-2000", "王^小东", "GB 18030-2000"),
        ("ASCII", "Mueller", "ASCII"),
        ("ASCII", "Müller", "UNICODE UTF-8"),
    ],
)
def test_a_receivers_character_set_is_used_where_the_letters_fit(wanted: str, name: str, written: str) -> None:
    to = Addressing("CXRAI", "", "RIS", "", character_set=wanted)
    content = built(source_radiograph(SpecificCharacterSet="ISO_IR 192", PatientName=name), to=to)
    message = read(content)
    assert message.header.text(18) == written
    patient = message.first("PID")
    assert patient is not None
    assert patient.text(5) == name.split("^")[0]


@pytest.mark.parametrize(
    "identifier", ["A|B^C&D~E", "A\\B", "A\\T\\B", "\\", "\\.br\\", "\\X41\\", "a\\E\\", "^", "O'Neil&Sons"]
)
def test_delimiters_and_backslashes_in_values_survive(identifier: str) -> None:
    source = source_radiograph(AccessionNumber=identifier, IssuerOfPatientID=identifier)
    source.PatientID = identifier
    message = read(built(source))
    patient, request = message.first("PID"), message.first("OBR")
    assert patient is not None
    assert request is not None
    assert patient.text(3, 1) == patient.text(3, 4) == request.text(18) == text(source, "PatientID")
    other = hl7.parse(built(source).decode())
    assert other.unescape(str(other["PID"][0][3][0][0])) == patient.text(3, 1)


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=40))
@settings(max_examples=300, deadline=None)
def test_escaping_is_undone_by_unescaping(value: str) -> None:
    assert unescape(escape(value)) == "".join(" " if c < " " or "\x7f" <= c <= "\x9f" else c for c in value).strip()
    assert not set(escape(value)) & set("|^&~\r\n\x0b\x1c")


def test_orders_are_named_by_their_own_numbers_one_group_each() -> None:
    first, second = Dataset(), Dataset()
    first.AccessionNumber, second.AccessionNumber = "ACC-1", "ACC-2"
    first.RequestedProcedureID, second.RequestedProcedureID = "RP-1", "RP-2"
    first.PlacerOrderNumberImagingServiceRequest = "PLACER-1"
    first.FillerOrderNumberImagingServiceRequest = "FILLER-1"
    issuer, code = Dataset(), Dataset()
    issuer.LocalNamespaceEntityID, issuer.UniversalEntityID, issuer.UniversalEntityIDType = "HIS", "1.2.3", "ISO"
    first.OrderPlacerIdentifierSequence = [issuer]
    code.CodeValue, code.CodeMeaning, code.CodingSchemeDesignator = "THX2", "Thorax in 2 Ebenen", "99LOCAL"
    first.RequestedProcedureCodeSequence = [code]
    second.RequestedProcedureDescription = "Chest again"
    message = read(built(source_radiograph(AccessionNumber="ACC-1", RequestAttributesSequence=[first, second])))
    requests = list(message.all("OBR"))
    assert [(o.text(1), o.text(18), o.text(19)) for o in requests] == [("1", "ACC-1", "RP-1"), ("2", "ACC-2", "RP-2")]
    assert [requests[0].text(2, number) for number in (1, 2, 3, 4)] == ["PLACER-1", "HIS", "1.2.3", "ISO"]
    assert [o.text(3) for o in requests] == ["FILLER-1", "ACC-2"]
    assert [requests[0].text(4, n) for n in (1, 2, 3)] == ["THX2", "Thorax in 2 Ebenen", "99LOCAL"]
    assert requests[1].text(4, 2) == "Chest again"
    halves = len(observations(message, "121071"))
    assert halves == 2 * len(FLAGGED), "every order carries the findings"


def test_a_qualified_issuer_becomes_the_assigning_authority() -> None:
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.276.0", "ISO"
    source = source_radiograph(IssuerOfPatientID="HOSP", IssuerOfPatientIDQualifiersSequence=[issuer])
    patient = read(built(source)).first("PID")
    assert patient is not None
    assert [patient.text(3, 4, number) for number in (1, 2, 3)] == ["HOSP", "1.2.276.0", "ISO"]
    assert patient.text(3, 5) == "PI"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "19991399"),
        ("PatientBirthDate", "1999"),
        ("PatientSex", "UNSURE"),
        ("StudyDate", "yesterday"),
    ],
)
def test_values_that_are_none_are_left_out_and_the_message_still_goes(keyword: str, value: str) -> None:
    source = source_radiograph()
    source[keyword]._value = value
    message = read(built(source))
    assert value not in "|".join("|".join(segment.fields) for segment in message.segments)


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientID", ""), ("PatientID", "9" * 65), ("AccessionNumber", "9" * 65)]
)
def test_an_identifier_that_nobody_could_use_is_never_cut_but_refused(keyword: str, value: str) -> None:
    source = source_radiograph()
    source[keyword]._value = value
    with pytest.raises(InvalidMessageError) as caught:
        built(source)
    assert "9" * 60 not in str(caught.value)


@pytest.mark.parametrize("zone", [ZoneInfo("Europe/Berlin"), UTC])
def test_times_carry_the_offset_of_the_study_or_the_site(zone: ZoneInfo) -> None:
    moment = datetime(2026, 1, 15, 23, 30, 5, tzinfo=UTC)
    assert (
        read(built(source_radiograph(), site_zone=zone)).header.text(7) == f"{moment.astimezone(zone):%Y%m%d%H%M%S%z}"
    )
    theirs = read(built(source_radiograph(TimezoneOffsetFromUTC="-0500"), site_zone=zone)).header.text(7)
    assert theirs == f"{moment.astimezone(timezone(timedelta(hours=-5))):%Y%m%d%H%M%S%z}"


def test_the_control_id_changes_with_every_part_and_with_nothing_else() -> None:
    ids = {control_id(*parts) for parts in (("1", "ris"), ("1", "pacs"), ("2", "ris"), ("1r", "is"))}
    assert len(ids) == 4
    assert control_id("1", "ris") == control_id("1", "ris")
    assert all(len(made) == 20 and made.isalnum() for made in ids)


@pytest.mark.parametrize(
    ("keyword", "sabotage"),
    [
        ("PatientID", {3: "OTHER^^^^PI"}),
        ("PatientName", {5: ["Somebody^Else"]}),
        ("IssuerOfPatientID", {3: "T-0001^^^WRONG^PI"}),
    ],
)
def test_a_message_about_somebody_else_cannot_leave(
    keyword: str, sabotage: dict[int, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = observation_report.patient_fields
    monkeypatch.setattr(observation_report, "patient_fields", lambda study: {**honest(study), **sabotage})
    with pytest.raises(InvalidMessageError, match=keyword):
        built(source_radiograph())


def test_a_message_about_another_study_or_order_cannot_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    other = source_radiograph(AccessionNumber="OTHER")
    orders = observation_report.order_identifiers([other])
    with monkeypatch.context() as patch:
        patch.setattr(observation_report, "order_identifiers", lambda headers: orders)
        with pytest.raises(InvalidMessageError, match="AccessionNumber"):
            built(source_radiograph())
    elsewhere = DICOM_STUDY._replace(value="113015")
    monkeypatch.setattr("hl7_io.observations.DICOM_STUDY", elsewhere)
    with pytest.raises(InvalidMessageError, match="StudyInstanceUID"):
        built(source_radiograph())
