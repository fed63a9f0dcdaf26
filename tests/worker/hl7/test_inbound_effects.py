"""What HL7 messages change: identities corrected and results issued again, studies marked read; or nothing at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from benches import Bench, run_if_due
from factories import chest_radiograph
from hl7_bench import apply_due, receive
from hl7_messages import merge, message, patient, report, update
from one_database import database_url  # noqa: F401 (a fixture; `test_hl7_postgresql` has the other)
from peers import StandInPacs
from pydicom.dataset import Dataset
from receivers import Hl7Receiver, running_receiver
from rejection_notes import named
from sqlalchemy import select
from sqlalchemy import update as change

from worker.hl7.inbound import apply_message, forget_old_messages, give_up_message
from worker.hl7.inbox import Inbox
from worker.rows.database import database_now
from worker.rows.site_tables import Event, InboundMessage
from worker.rows.states import RunState
from worker.rows.study_tables import IdentityCorrection, Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

pytestmark = pytest.mark.either_database


@pytest.fixture
def bench(bench_with: Callable[..., Bench], pacs: StandInPacs) -> Bench:
    archive = pacs.destination
    return bench_with(destinations=[archive], hl7_listener={})


def at_site(bench: Bench, listener: dict[str, Any]) -> Bench:
    """Return the bench with its listener configured so."""
    settings = bench.settings.model_copy(update={"hl7_listener": Hl7Listener.model_validate(listener)})
    return Bench(settings, bench.sessions)


def delivered(bench: Bench, **keywords: Any) -> str:
    uid = bench.triage(chest_radiograph(**keywords)).study_instance_uid
    deliver(uid, bench.office)
    return uid


def results_and_notes(pacs: StandInPacs, since: int) -> tuple[list[Dataset], list[Dataset]]:
    """Return the results and the rejection notes that arrived since."""
    arrived = [arrival.dataset for arrival in pacs.stored[since:]]
    return [o for o in arrived if o.Modality != "KO"], [o for o in arrived if o.Modality == "KO"]


def test_an_update_issues_the_results_again_under_the_new_name_without_inference(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = delivered(bench)
    before = len(pacs.stored)
    row = receive(bench, update(patient(name="Phantomas^Testina", sex="F")))
    assert (row.state, row.reason) == ("applied", "1 of 1 studies of this patient corrected")
    study = bench.study(uid)
    assert (study.patient_name, study.patient_sex, study.patient_id) == ("Phantomas^Testina", "F", "PHANTOM-1")

    def no_inference(*arguments: object) -> None:
        pytest.fail("looked at the picture again")

    monkeypatch.setattr("worker.runs.triage.analyse", no_inference)
    assert run_if_due(bench, uid)
    again, notes = results_and_notes(pacs, before)
    assert len(again) == before
    assert [(str(note.PatientName), named(note)) for note in notes] == [
        ("Phantom^Test", {arrival.sop_instance_uid for arrival in pacs.stored[:before]})
    ]
    assert {(str(o.PatientName), o.PatientSex, o.PatientID) for o in again} == {("Phantomas^Testina", "F", "PHANTOM-1")}
    (report_again,) = [o for o in again if o.Modality == "SR"]
    assert len(report_again.PredecessorDocumentsSequence) == 1
    assert not {o.SOPInstanceUID for o in again} & {arrival.sop_instance_uid for arrival in pacs.stored[:before]}
    assert [run.state for run in bench.runs(uid)] == [RunState.SUPERSEDED, RunState.DONE]
    assert not run_if_due(bench, uid), "one correction makes one run"
    assert "identity_corrected" in bench.event_kinds(uid)


def test_a_merge_moves_the_study_to_the_surviving_identifier(bench: Bench, pacs: StandInPacs) -> None:
    uid = delivered(bench, IssuerOfPatientID="HOSP")
    before = len(pacs.stored)
    row = receive(bench, merge(patient("SURVIVOR^^^HOSP^PI"), "PHANTOM-1^^^HOSP^PI"))
    assert row.state == "applied"
    assert run_if_due(bench, uid)
    again, notes = results_and_notes(pacs, before)
    assert {(o.PatientID, o.IssuerOfPatientID) for o in again} == {("SURVIVOR", "HOSP")}
    assert [note.PatientID for note in notes] == ["PHANTOM-1"], "filed where the rejected objects are"
    assert bench.study(uid).patient_id == "SURVIVOR"


def test_images_that_come_later_under_the_old_identifier_are_the_same_patients(bench: Bench, pacs: StandInPacs) -> None:
    uid = delivered(bench)
    receive(bench, message("EVN|A47|", patient("SURVIVOR"), "MRG|PHANTOM-1", kind="ADT^A47^ADT_A30"))
    run_if_due(bench, uid)
    before = len(pacs.stored)
    study = bench.triage(chest_radiograph(StudyInstanceUID=uid))
    deliver(uid, bench.office)
    assert (study.state, study.patient_id) == ("triaged", "SURVIVOR")
    assert {arrival.dataset.PatientID for arrival in pacs.stored[before:]} == {"SURVIVOR"}
    assert bench.triage(chest_radiograph(StudyInstanceUID=uid, PatientID="THIRD")).state == "held"


def test_a_correction_before_the_analysis_is_in_its_first_results(bench: Bench, pacs: StandInPacs) -> None:
    uid = bench.receive(chest_radiograph())
    receive(bench, update(patient(name="Right^Name")))
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert {str(arrival.dataset.PatientName) for arrival in pacs.stored} == {"Right^Name"}
    assert not run_if_due(bench, uid)


def test_a_correction_during_a_run_stops_its_results_and_makes_another_run(
    bench: Bench, pacs: StandInPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = bench.receive(chest_radiograph())

    def corrected_meanwhile(name: str) -> None:
        if name == "after_inference":
            receive(bench, update(patient(name="Right^Name")))

    with monkeypatch.context() as patch:
        patch.setattr("worker.runs.triage.failpoint", corrected_meanwhile)
        triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert pacs.stored == [], "sent under a name that was known to be wrong"
    assert run_if_due(bench, uid)
    assert {str(arrival.dataset.PatientName) for arrival in pacs.stored} == {"Right^Name"}


def test_what_waits_to_be_sent_under_the_old_identity_is_stopped(bench: Bench, pacs: StandInPacs) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    receive(bench, merge(patient("SURVIVOR"), "PHANTOM-1"))
    deliver(uid, bench.office)
    assert pacs.stored == []
    run_if_due(bench, uid)
    assert {arrival.dataset.PatientID for arrival in pacs.stored} == {"SURVIVOR"}


@pytest.mark.parametrize("character_set", ["ISO_IR 100", None])
def test_a_corrected_name_in_letters_the_images_could_not_write_arrives_whole(
    bench: Bench, pacs: StandInPacs, character_set: str | None
) -> None:
    uid = delivered(bench, SpecificCharacterSet=character_set)
    before = len(pacs.stored)
    receive(bench, update(patient(name="Wang^XiaoDong^^^^^L^A~王^小东^^^^^L^I")))
    assert run_if_due(bench, uid)
    names = {str(result.PatientName) for result in results_and_notes(pacs, before)[0]}
    assert {name.rstrip("=") for name in names} == {"Wang^XiaoDong=王^小东"}


def test_a_transcoded_copy_after_a_correction_changes_nothing(bench: Bench, pacs: StandInPacs) -> None:
    from pydicom.uid import ImplicitVRLittleEndian

    source = chest_radiograph()
    uid = bench.triage(source).study_instance_uid
    receive(bench, update(patient(name="Right^Name")))
    run_if_due(bench, uid)
    deliver(uid, bench.office)
    sent = len(pacs.stored)
    source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    study = bench.triage(source)
    deliver(uid, bench.office)
    assert len(pacs.stored) == sent
    assert bench.runs(uid)[-1].outcome == "unchanged"
    assert study.patient_name == "Right^Name"


@pytest.mark.parametrize(
    "content",
    [
        update(patient(name="PHANTOM^TEST")),
        update(patient(name="Phantom^Test^^^")),
        update("PID|1||PHANTOM-1^^^^PI||||"),
        update('PID|1||PHANTOM-1^^^^PI||""||""|""'),
        update(patient(birth_date="19600101120000", sex="U")),
        update(patient(birth_date="1960")),
        update(patient(birth_date="19600000")),
        update(patient(birth_date="00000000")),
        merge(patient(), "PHANTOM-1"),
    ],
    ids=["case", "empty parts", "nothing said", "nulls", "unknown sex", "year", "year, zeros", "zeros", "into itself"],
)
def test_an_update_that_says_nothing_new_changes_nothing(bench: Bench, content: bytes) -> None:
    uid = delivered(bench)
    row = receive(bench, content)
    assert (row.state, row.reason) == ("applied", "0 of 1 studies of this patient corrected")
    assert not run_if_due(bench, uid)
    with bench.sessions() as session:
        assert session.scalars(select(IdentityCorrection)).all() == []


def test_messages_about_others_change_nothing_and_are_put_aside(bench: Bench) -> None:
    uid = delivered(bench, IssuerOfPatientID="HOSP")
    for content in (
        update(patient("SOMEBODY", name="Other^Name")),
        update(patient("PHANTOM-1^^^ELSEWHERE^PI", name="Other^Name")),
        update(patient("PHANTOM-1^^^&1.2.3.4&ISO^PI", name="Other^Name")),
        merge(patient("X"), "SOMEBODY"),
        message("EVN|A01|", patient(name="Other^Name"), kind="ADT^A01^ADT_A01"),
        report(patient(), status="P", accession="A0001"),
    ):
        assert receive(bench, content).state == "ignored"
    study = bench.study(uid)
    assert (study.patient_name, study.read_at) == ("Phantom^Test", None)


def test_two_patients_with_one_identifier_and_no_issuer_named_are_left_to_a_person(bench: Bench) -> None:
    first, second = delivered(bench, IssuerOfPatientID="HOSP"), delivered(bench, IssuerOfPatientID="CLINIC")
    for numbers in ("PHANTOM-1", "PHANTOM-1^^^HOSP^PI~PHANTOM-1^^^^PI"):
        assert receive(bench, update(patient(numbers, name="Whose^Name"))).state == "unmatched"
    row = receive(bench, update(patient("PHANTOM-1^^^CLINIC^PI", name="Clinic^Name")))
    assert row.state == "applied"
    assert [bench.study(uid).patient_name for uid in (first, second)] == ["Phantom^Test", "Clinic^Name"]


ANNA = "100234"
"""A Patient ID that is somebody else's account number, too."""


@pytest.mark.parametrize(
    ("identifiers", "listener", "corrected"),
    [
        ("555^^^HOSP^MR~100234^^^BILLING^AN", {}, ["555"]),
        ("555^^^^MR~100234^^^^VN", {}, ["555"]),
        ("100234^^^CLINIC^MR~555^^^HOSP^MR", {"patient_id_authority": "HOSP"}, ["555"]),
        ("100234^^^CLINIC^MR~555", {"patient_id_authority": "HOSP"}, None),
        ("100234^^^CLINIC^MR~555^^^HOSP^MR", {}, None),
        ("100234^^^BILLING^AN", {}, None),
        ("100234^^^NAT^NNESP", {}, None),
        ("100234^^^HOSP^MRN", {}, [ANNA]),
        ("555^^^HOSP^MR~100234^^^HOSP^EPI", {}, ["555"]),
        ("100234^^^CLINIC^MR", {"patient_id_authority": "HOSP"}, []),
        ("100234^^^^MR", {"patient_id_authority": "HOSP"}, [ANNA]),
        ("100234^^^&1.2.3&ISO^MR~555^^^NAT^NI", {}, [ANNA]),
        ("100234^^^HOSP^MR~100234^^^HOSP^PI", {}, [ANNA]),
        ("555^^^HOSP^MR~100234^^^NAT^NI", {"patient_id_types": ["NI"]}, [ANNA]),
        ("555^^^HOSP^MR~666^^^BILLING^AN~777^^^NAT^SS", {}, ["555"]),
    ],
)
def test_a_number_of_another_domain_never_corrects_a_study_whose_images_name_no_issuer(
    bench: Bench, identifiers: str, listener: dict[str, Any], corrected: list[str] | None
) -> None:
    site = at_site(bench, listener)
    uids = {identifier: delivered(site, PatientID=identifier) for identifier in (ANNA, "555")}
    row = receive(site, update(patient(identifiers, name="Right^Name")))
    assert row.state == ("unmatched" if corrected is None else "applied" if corrected else "ignored")
    changed = [identifier for identifier, uid in uids.items() if site.study(uid).patient_name == "Right^Name"]
    assert changed == (corrected or [])


@pytest.mark.parametrize(
    ("survivors", "prior", "listener", "patient_id"),
    [
        ("555^^^HOSP^MR", "444^^^HOSP^MR~100234^^^BILLING^AN", {}, ANNA),
        ("555^^^HOSP^MR", "444^^^HOSP^MR~100234^^^CLINIC^MR", {}, ANNA),
        ("555^^^HOSP^MR", "444^^^HOSP^MR~100234^^^CLINIC^MR", {"patient_id_authority": "HOSP"}, ANNA),
        ("77^^^BILLING^AN", "100234^^^HOSP^MR", {}, ANNA),
        ("77^^^BILLING^AN~555^^^HOSP^MR", "100234^^^HOSP^MR~66^^^BILLING^AN", {}, "555"),
        ("R9^^^REGION^MR~555^^^HOSP^MR", "100234", {"patient_id_authority": "HOSP"}, "555"),
    ],
)
def test_a_number_of_another_domain_never_moves_a_study_to_another_patient(
    bench: Bench, survivors: str, prior: str, listener: dict[str, Any], patient_id: str
) -> None:
    site = at_site(bench, listener)
    uid = delivered(site, PatientID=ANNA)
    assert receive(site, merge(patient(survivors), prior)).state in (
        ("applied",) if patient_id != ANNA else ("ignored", "unmatched")
    )
    study = site.study(uid)
    assert study.patient_id == patient_id
    if "HOSP" in prior:
        assert study.issuer_of_patient_id == "", "images that name no issuer get none within one domain"


@pytest.mark.parametrize(
    "pid", ["555^^^HOSP^MR~100234^^^HOSP^AN", "555^^^HOSP^MR~100234^^^HOSP^MR", "555^^^HOSP^MR~100234"]
)
def test_of_several_numbers_only_the_one_that_is_surely_the_patient_id_counts_where_images_name_their_issuer(
    bench: Bench, pid: str
) -> None:
    uid = delivered(bench, PatientID=ANNA, IssuerOfPatientID="HOSP")
    assert receive(bench, update(patient(pid, name="Other^Name"))).state in ("ignored", "unmatched")
    assert receive(bench, report(patient(pid), accession="A0001")).state == "unmatched"
    study = bench.study(uid)
    assert (study.patient_name, study.read_at) == ("Phantom^Test", None)


def test_each_domains_studies_follow_the_number_that_names_it(bench: Bench) -> None:
    hospital = delivered(bench, PatientID="555", IssuerOfPatientID="HOSP")
    clinic = delivered(bench, PatientID="C-9", IssuerOfPatientID="CLINIC")
    assert receive(bench, update(patient("555^^^HOSP^MR~C-9^^^CLINIC^MR", name="Right^Name"))).state == "applied"
    assert [bench.study(uid).patient_name for uid in (hospital, clinic)] == ["Right^Name", "Right^Name"]
    doubtful = delivered(bench, PatientID="C-9")
    row = receive(bench, update(patient("555^^^HOSP^MR~C-9^^^CLINIC^MR", name="New^Name")))
    assert row.state == "unmatched"
    assert bench.study(doubtful).patient_name == "Phantom^Test"
    assert bench.study(hospital).patient_name == "Right^Name", "a person decides on all of it"


@pytest.mark.parametrize(
    ("survivors", "state", "identity"),
    [
        ("A^^^HOSP~B^^^NATIONAL", "applied", ("A", "HOSP")),
        ("A^^^ELSEWHERE", "applied", ("A", "ELSEWHERE")),
        ("A^^^X~B^^^Y", "unmatched", ("PHANTOM-1", "HOSP")),
        ("A^^^HOSP~B^^^HOSP", "unmatched", ("PHANTOM-1", "HOSP")),
    ],
)
def test_the_surviving_identifier_is_that_of_the_same_domain_or_none(
    bench: Bench, survivors: str, state: str, identity: tuple[str, str]
) -> None:
    uid = delivered(bench, IssuerOfPatientID="HOSP")
    assert receive(bench, merge(patient(survivors), "PHANTOM-1^^^HOSP")).state == state
    study = bench.study(uid)
    assert (study.patient_id, study.issuer_of_patient_id) == identity


def test_two_merges_in_one_message_are_done_in_their_order(bench: Bench) -> None:
    uid = delivered(bench)
    content = message(
        "EVN|A40|", patient("SECOND"), "MRG|PHANTOM-1", patient("THIRD"), "MRG|SECOND", kind="ADT^A40^ADT_A39"
    )
    receive(bench, content)
    assert bench.study(uid).patient_id == "THIRD"
    with bench.sessions() as session:
        assert len(session.scalars(select(IdentityCorrection)).all()) == 2


@pytest.mark.parametrize("how", ["uid", "accession", "filler", "corrected final"])
def test_a_final_report_marks_the_study_read(bench: Bench, how: str) -> None:
    uid = delivered(bench)
    content = {
        "uid": report(patient(), uid=uid),
        "accession": report(patient(), accession="A0001"),
        "filler": report(patient(), filler="A0001^RIS"),
        "corrected final": report(patient(), accession="A0001", status="C"),
    }[how]
    assert receive(bench, content).state == "applied"
    study = bench.study(uid)
    assert study.read_at is not None
    assert study.read_by == "final report (HIS at HOSPITAL)"
    assert "read" in bench.event_kinds(uid)
    first = study.read_at
    assert receive(bench, report(patient(), uid=uid)).state == "applied"
    assert bench.study(uid).read_at == first


def request(status: str, *named: str) -> list[str]:
    """Return a report's OBR, and an OBX for each study it names."""
    studies = [f"OBX|{number}|ST|110180^Study Instance UID^DCM||{uid}||||||O" for number, uid in enumerate(named, 1)]
    return [f"OBR|1||RIS-1|36643-5^XR Chest 2 Views^LN{'|' * 21}{status}", *studies]


def test_each_report_of_a_message_is_about_its_own_studies_and_no_other_of_the_patient(bench: Bench) -> None:
    first, second, third, preliminary, other = (bench.receive(chest_radiograph()) for _ in range(5))
    both = message(patient(), *request("F", first, second), *request("P", preliminary), kind="ORU^R01")
    assert receive(bench, both).state == "applied"
    assert [bench.study(uid).read_at is not None for uid in (first, second, preliminary)] == [True, True, False]
    early = message(patient(), *request("F", third), *request("F", "1.2.3.4.5"), kind="ORU^R01")
    assert receive(bench, early).state == "waiting", "until the other one is here, too"
    third_read = bench.study(third).read_at
    named_once = message(patient(), *request("F"), f"ZDS|{preliminary}^RIS^Application^DICOM", kind="ORU^R01")
    assert receive(bench, named_once).state == "applied"
    assert None not in (third_read, bench.study(preliminary).read_at)
    no_uid = report(patient(), uid="none", accession="A0001")
    assert receive(bench, no_uid).state == "unmatched", "known by its accession number, which several studies have"
    assert bench.study(other).read_at is None


@pytest.mark.parametrize(
    ("fields", "pid", "state"),
    [
        ({"accession": "A0001"}, patient("SOMEBODY"), "unmatched"),
        ({"uid": "HERE"}, patient("SOMEBODY"), "unmatched"),
        ({"accession": "A0001"}, patient("PHANTOM-1^^^ELSEWHERE"), "unmatched"),
        ({"uid": "1.2.3.4.5", "accession": "A0001"}, patient(), "waiting"),
        ({"accession": "OTHER"}, patient(), "waiting"),
        ({"filler": ""}, patient(), "unmatched"),
        ({"accession": "A0001", "status": "R"}, patient(), "ignored"),
        ({"accession": "A0001", "status": "X"}, patient(), "ignored"),
    ],
)
def test_a_report_that_does_not_fit_marks_nothing(bench: Bench, fields: dict[str, str], pid: str, state: str) -> None:
    uid = delivered(bench, IssuerOfPatientID="HOSP")
    fields = {key: uid if value == "HERE" else value for key, value in fields.items()}
    assert receive(bench, report(pid, **fields)).state == state
    assert bench.study(uid).read_at is None


def test_one_accession_number_on_two_studies_marks_neither(bench: Bench) -> None:
    uids = [delivered(bench), delivered(bench)]
    assert receive(bench, report(patient(), accession="A0001")).state == "unmatched"
    assert [bench.study(uid).read_at for uid in uids] == [None, None]


def test_a_report_that_is_faster_than_its_images_waits_for_them(bench: Bench) -> None:
    source = chest_radiograph()
    content = report(patient(), uid=str(source.StudyInstanceUID))
    assert receive(bench, content).state == "waiting"
    uid = bench.triage(source).study_instance_uid
    apply_due(bench)
    assert bench.study(uid).read_at is None, "looked again before its time"
    with bench.sessions.begin() as session:
        long_ago = database_now(session) - timedelta(hours=25)
        session.execute(change(InboundMessage).values(next_attempt_at=None, received_at=long_ago))
    apply_due(bench)
    assert bench.study(uid).read_at is not None
    with bench.sessions() as session:
        assert session.scalars(select(InboundMessage.state)).all() == ["applied"], "late, but not in vain"


def after_its_report(bench: Bench, **keywords: Any) -> tuple[str, str]:
    """Receive a report by accession number, then its study; return what became of message and study's read mark."""
    content = report(patient(), accession="A0001")
    assert receive(bench, content).state == "waiting"
    uid = bench.triage(chest_radiograph(**keywords)).study_instance_uid
    with bench.sessions.begin() as session:
        session.execute(change(InboundMessage).values(next_attempt_at=None))
    apply_due(bench)
    with bench.sessions() as session:
        row = session.scalars(select(InboundMessage)).one()
    return row.state, "read" if bench.study(uid).read_at else "unread"


def hours_ago(hours: float) -> dict[str, str]:
    """Return Study Date and Time on a clock in Berlin."""
    then = datetime.now(ZoneInfo("Europe/Berlin")) - timedelta(hours=hours)
    return {"StudyDate": f"{then:%Y%m%d}", "StudyTime": f"{then:%H%M%S.123}"}


@pytest.fixture
def berlin(bench: Bench) -> Bench:
    """Return the bench of a site whose clock is an hour or two before UTC."""
    return Bench(bench.settings.model_copy(update={"time_zone": "Europe/Berlin"}), bench.sessions)


def test_a_report_by_accession_number_waits_for_images_that_were_taken_before_it(berlin: Bench) -> None:
    assert after_its_report(berlin, **hours_ago(0.5)) == ("applied", "read")


@pytest.mark.parametrize(
    ("hours", "keywords"),
    [
        (-0.5, {}),
        (0, {"StudyTime": ""}),
        (0, {"StudyTime": "soon"}),
        (0, {"StudyDate": "", "StudyTime": "000000"}),
        (0, {"StudyDate": "202611", "StudyTime": "000000"}),
    ],
)
def test_a_report_by_accession_number_marks_no_study_that_may_have_been_taken_after_it(
    berlin: Bench, hours: float, keywords: dict[str, str]
) -> None:
    """One order, two films: the report on the first one comes where only the second one does."""
    assert after_its_report(berlin, **hours_ago(hours) | keywords) == ("unmatched", "unread")


@pytest.mark.parametrize(("reported", "became"), [("01:00", "unmatched"), ("01:30", "applied")])
def test_a_film_of_the_hour_that_comes_twice_may_be_of_its_second_time(
    bench: Bench, reported: str, became: str
) -> None:
    """Clocks in Berlin showed 02:30 at 00:30 and at 01:30 UTC."""
    there = {"time_zone": "Europe/Berlin", "hl7_listener": Hl7Listener(match_hours=1_000_000)}
    berlin = Bench(bench.settings.model_copy(update=there), bench.sessions)
    receive(berlin, report(patient(), accession="A0001"))
    berlin.triage(chest_radiograph(StudyDate="20261025", StudyTime="023000"))
    at = datetime.fromisoformat(f"2026-10-25T{reported}:00+00:00")
    with berlin.sessions.begin() as session:
        session.execute(change(InboundMessage).values(next_attempt_at=None, received_at=at))
    apply_due(berlin)
    with berlin.sessions() as session:
        assert session.scalars(select(InboundMessage.state)).one() == became


def test_a_report_whose_study_never_comes_ends_unmatched(bench: Bench) -> None:
    receive(bench, report(patient(), uid="1.2.3.4.5"))
    with bench.sessions.begin() as session:
        long_ago = database_now(session) - timedelta(hours=25)
        session.execute(change(InboundMessage).values(next_attempt_at=None, received_at=long_ago))
    apply_due(bench)
    with bench.sessions() as session:
        assert session.scalars(select(InboundMessage.state)).all() == ["unmatched"]


def test_a_message_applied_twice_changes_nothing_more(bench: Bench, pacs: StandInPacs) -> None:
    uid = delivered(bench)
    receive(bench, merge(patient("SURVIVOR", name="New^Name"), "PHANTOM-1"))
    run_if_due(bench, uid)
    sent = len(pacs.stored)
    with bench.sessions.begin() as session:  # as after a crash between its effect and its row
        session.execute(change(InboundMessage).values(state="waiting", next_attempt_at=None))
    apply_due(bench)
    assert not run_if_due(bench, uid)
    assert len(pacs.stored) == sent


def test_a_corrected_study_is_announced_again_with_the_new_identity(
    bench: Bench, make_settings: Callable[..., Settings]
) -> None:
    with running_receiver() as ris:
        told = {"name": "ris", "host": "127.0.0.1", "port": ris.port}
        kept = {"bundles": bench.settings.bundles, "hl7_listener": {}}
        with_ris = Bench(make_settings(**kept, hl7_destinations=[told]), bench.sessions)
        uid = delivered(with_ris)
        receive(with_ris, merge(patient("SURVIVOR"), "PHANTOM-1"))
        run_if_due(with_ris, uid)
        _require_announced_under(ris, ["PHANTOM-1", "SURVIVOR"])


def _require_announced_under(ris: Hl7Receiver, identifiers: list[str]) -> None:
    assert [str(sent["PID.F3.R1.C1"]) for sent in ris.messages] == identifiers
    assert len(set(ris.control_ids)) == len(identifiers)


def test_a_held_study_keeps_the_correction_until_it_is_released(bench: Bench) -> None:
    uid = delivered(bench)
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="OTHER"))
    assert bench.study(uid).state == "held"
    assert receive(bench, update(patient(name="Right^Name"))).state == "applied"
    assert not run_if_due(bench, uid)
    assert bench.study(uid).patient_name == "Right^Name"


def test_no_patient_data_reach_the_log_the_audit_trail_or_the_list_of_messages(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        uid = delivered(bench, PatientName="Oldsecret^Name", PatientID="SECRET-1")
        rows = [
            receive(bench, merge(patient("SECRET-2", name="Newsecret^Name"), "SECRET-1")),
            receive(bench, report(patient("SECRET-2"), accession="A0001")),
            receive(bench, report(patient("SECRET-9"), accession="A0001")),
        ]
        run_if_due(bench, uid)
    with bench.sessions() as session:
        events = session.scalars(select(Event)).all()
        trail = "".join(f"{event.reason}{event.details}{event.actor}" for event in events)
    shown = "".join(f"{row.reason}{row.sender}{row.control_id}{row.message_type}" for row in rows)
    assert "secret" not in (caplog.text + trail + shown).lower()


def test_old_messages_lose_their_content_and_those_about_nobody_here_go(bench: Bench) -> None:
    delivered(bench)
    receive(bench, update(patient(name="New^Name")))
    receive(bench, update(patient("SOMEBODY")))
    receive(bench, report(patient(), uid="1.2.3.4.5"))
    with bench.sessions.begin() as session:
        forget_old_messages(session, bench.settings)
        assert len(session.scalars(select(InboundMessage).where(InboundMessage.content.is_not(None))).all()) == 3
        session.execute(change(InboundMessage).values(received_at=database_now(session) - timedelta(days=31)))
        forget_old_messages(session, bench.settings)
    with bench.sessions() as session:
        left = session.scalars(select(InboundMessage).order_by(InboundMessage.id)).all()
    assert [(row.state, row.content is None) for row in left] == [("applied", True), ("waiting", False)]


def test_a_message_that_cannot_be_applied_is_tried_again_and_ends_visibly(bench: Bench) -> None:
    receive(bench, report(patient(), uid="1.2.3.4.5"))
    for hours, state in ((0, "waiting"), (25, "unmatched")):
        with bench.sessions.begin() as session:
            row = session.scalars(select(InboundMessage)).one()
            row.received_at -= timedelta(hours=hours)
            give_up_message(session, row.id, bench.settings)
            assert row.state == state
            assert "could not be applied" in str(row.reason)


def test_messages_are_applied_in_the_order_in_which_they_came(bench: Bench) -> None:
    uid = delivered(bench)
    inbox = Inbox(bench.settings, Hl7Listener(), bench.sessions)
    for name in ("First^Name", "Second^Name", "Third^Name"):
        inbox.take(update(patient(name=name)), "127.0.0.1")
    apply_due(bench)
    with bench.sessions.begin() as session:
        first = session.scalars(select(InboundMessage.id).order_by(InboundMessage.id)).first()
        assert first is not None
        assert apply_message(session, first, bench.settings, bench.workplace.instances) is None, (
            "settled, whoever comes late"
        )
    assert bench.study(uid).patient_name == "Third^Name"


def test_a_message_that_names_no_character_set_is_in_that_of_the_site(bench: Bench) -> None:
    uid = bench.receive(chest_radiograph())
    told = message("EVN|A31|", patient(name="Müller^Ä"), kind="ADT^A31^ADT_A05", character_set="")
    content = told.decode().encode("latin-1")
    assert receive(at_site(bench, {"character_set": "8859/1"}), content).state == "applied"
    assert bench.study(uid).patient_name == "Müller^Ä"


def test_a_study_whose_patient_id_is_missing_matches_no_message(bench: Bench) -> None:
    uid = delivered(bench, PatientID="")
    assert receive(bench, report(patient(), uid=uid)).state == "unmatched"
    with bench.sessions() as session:
        assert session.get_one(Study, uid).read_at is None
