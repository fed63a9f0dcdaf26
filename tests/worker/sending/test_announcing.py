"""Findings announced by HL7: a real MLLP receiver takes the message, refuses it, keeps silent or hangs up."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from certificates import certificate_files
from factories import chest_radiograph
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message
from one_database import database_url  # noqa: F401 (a fixture; `test_hl7_postgresql` has the other)
from receivers import (
    BROKEN_OFF,
    DROP,
    ERROR_SEGMENT,
    GARBAGE,
    NO_MSA,
    SILENCE,
    TRICKLE,
    TWICE,
    WRONG_ID,
    Hl7Receiver,
    running_receiver,
)
from sqlalchemy import select, text, update

from worker.care.administration import mark_read
from worker.care.release import release_study
from worker.care.retraction import retract_study
from worker.care.whose_study import WhoseStudy
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, Notification
from worker.rows.run_tables import Run
from worker.rows.site_tables import Event
from worker.rows.states import Priority, ResultKind
from worker.rows.study_tables import Study
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.sending.hl7_delivery import ATTEMPTS_IN_ORDER
from worker.sending.withdrawal import withdraw_announcements
from worker.settings.config import Settings
from worker.views.studies import StudyFilter, list_studies

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]


@pytest.fixture
def receiver() -> Iterator[Hl7Receiver]:
    with running_receiver() as started:
        yield started


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(port: int, settings: dict[str, object] | None = None, **destination: object) -> Bench:
        ris = {"name": "ris", "host": "127.0.0.1", "port": port, "answer_timeout_seconds": 10.0} | destination
        fields = {"bundles": {"default": tmp_path / "bundle"}, "hl7_destinations": [ris]} | (settings or {})
        return Bench(make_settings(**fields), sessions)

    return make


def announced(bench: Bench, **keywords: Any) -> Study:
    study = bench.triage(chest_radiograph(**keywords))
    deliver(study.study_instance_uid, bench.office)
    return study


def messages_of(bench: Bench, study: Study) -> list[Delivery]:
    """Return the outbox rows of the study's messages, oldest first."""
    return [
        row
        for run in bench.runs(study.study_instance_uid)
        for result in bench.results(run)
        if result.kind == ResultKind.HL7_MESSAGE
        for row in bench.deliveries(run)
        if row.result_id == result.id
    ]


def try_again(bench: Bench, study: Study) -> None:
    bench.make_due()
    deliver(study.study_instance_uid, bench.office)


def test_a_receiver_takes_and_parses_the_message_and_its_row_says_sent(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port, receiving_application="RIS", receiving_facility="HOSP^1.2.3^ISO")
    study = announced(bench, IssuerOfPatientID="HOSP")
    (message,) = receiver.messages
    (row,) = messages_of(bench, study)
    assert (row.state, row.attempts, row.last_status) == ("sent", 1, None)
    assert row.last_comment == f"AA (control id {receiver.control_ids[0]})"
    assert str(message.segment("MSH")[6]) == "HOSP^1.2.3^ISO"
    assert str(message["PID.F3.R1.C1"]) == "PHANTOM-1"
    assert str(message["PID.F3.R1.C4"]) == "HOSP"
    assert str(message["OBR.F18"]) == "A0001"
    assert str(message["OBR.F25"]) == "P"
    assert str(message["TQ1.F9.R1.C1"]) == {"STAT": "S", "URGENT": "A"}[str(study.priority)]
    found = [str(obx[5][0][1]) for obx in message.segments("OBX") if str(obx[3][0][0]) == "121071"]
    assert len(found) == len(FLAGGED)
    parse_message(str(message), validation_level=VALIDATION_LEVEL.STRICT).validate()
    assert bench.event_kinds(study.study_instance_uid).count("delivered") == 1


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("AE", "AE (control id"),
        ("AR", "AR (control id"),
        ("CE", "CE (control id"),
        ("CR", "CR (control id"),
        (ERROR_SEGMENT, "AE, error 204 (control id"),
        (SILENCE, "no complete message came in time"),
        (TRICKLE, "no complete message came in time"),
        (DROP, "closed the connection without an answer"),
        (BROKEN_OFF, "in the middle of a message"),
        (WRONG_ID, "acknowledges another message"),
        (GARBAGE, "does not begin with an MLLP start block"),
        (NO_MSA, "no MSA segment"),
        ("XX", "no known acknowledgement code"),
    ],
)
def test_whatever_is_not_an_acceptance_is_tried_again_under_the_same_control_id(
    make_bench: MakeBench, receiver: Hl7Receiver, deed: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda control_id: deed
    answers = {"answer_timeout_seconds": 2.0 if deed in (SILENCE, TRICKLE) else 10.0}
    bench = make_bench(receiver.port, {"delivery_first_retry_seconds": 60.0}, **answers)  # also on a busy machine
    with caplog.at_level(logging.INFO):
        study = announced(bench, PatientName="Secret^Name", PatientID="SECRET-ID")
    (row,) = messages_of(bench, study)
    assert (row.state, row.attempts, row.last_status) == ("pending", 1, None)
    assert words in str(row.last_comment)
    assert row.next_attempt_at is not None
    receiver.answer = lambda control_id: "CA"
    try_again(bench, study)
    (row,) = messages_of(bench, study)
    assert (row.state, row.attempts) == ("sent", 2)
    assert len(set(receiver.control_ids)) == 1
    assert len({str(message) for message in receiver.messages}) == 1, "a retry sends other bytes"
    assert "ecret" not in caplog.text.lower().replace("secret_key", "")
    assert "Müller" not in caplog.text


def test_a_receiver_that_is_down_costs_only_time_and_holds_up_nobody_else(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    with running_receiver() as dead:
        port = dead.port
    other = {"name": "engine", "host": "127.0.0.1", "port": receiver.port}
    dead_one = {"name": "ris", "host": "127.0.0.1", "port": port}
    bench = make_bench(0, settings={"hl7_destinations": [dead_one, other]})
    study = announced(bench)
    assert [(row.destination, row.state) for row in messages_of(bench, study)] == [
        ("ris", "pending"),
        ("engine", "sent"),
    ]
    back = Hl7Receiver(port=port)
    back.start()
    try_again(bench, study)
    back.stop()
    assert [row.state for row in messages_of(bench, study)] == ["sent", "sent"]
    assert set(back.control_ids).isdisjoint(receiver.control_ids), "each destination has its own control id"


def test_a_duplicate_keeps_its_control_id(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    bench = make_bench(receiver.port)
    study = announced(bench)
    with bench.sessions.begin() as session:  # as after a crash between the answer and the row
        session.execute(update(Delivery).values(state="pending", lease_until=None))
    deliver(study.study_instance_uid, bench.office)
    assert len(receiver.messages) == 2
    assert len(set(receiver.control_ids)) == 1


def test_an_attempt_repeated_after_its_files_were_written_makes_the_same_control_id(
    make_bench: MakeBench, receiver: Hl7Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(receiver.port, settings={"lease_seconds": 0.2, "lease_renewal_seconds": 0.1})
    uid = bench.receive(chest_radiograph())

    class Died(BaseException):
        """Stands for kill -9."""

    def die(name: str) -> None:
        if name == "after_result_files":
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr("worker.runs.triage.failpoint", die)
        with pytest.raises(Died):
            triage(uid, bench.workplace)
    (first,) = bench.office.results.root.glob(f"{uid}/*.hl7")
    time.sleep(0.5)
    assert triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert receiver.control_ids == [first.read_bytes().split(b"|")[9].decode()]


def test_a_corrected_patient_is_announced_again_under_another_control_id(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port)
    source = chest_radiograph()
    study = bench.triage(source)
    deliver(study.study_instance_uid, bench.office)
    source.PatientName = "Corrected^Name"
    bench.triage(source)
    deliver(study.study_instance_uid, bench.office)
    first, second = receiver.messages
    assert str(second["PID.F5.R1.C1"]) == "Corrected"
    assert first["MSH.F10"] != second["MSH.F10"]
    comments = [str(obx[5][0]) for obx in second.segments("OBX") if str(obx[3][0][0]) == "121106"]
    assert any("Replaces the earlier AI result" in comment for comment in comments)


def test_a_historical_study_is_never_announced(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    bench = make_bench(receiver.port, announce=["STAT", "URGENT", "ROUTINE"])
    study = announced(bench, StudyDate=f"{date.today() - timedelta(days=30):%Y%m%d}")
    assert study.historical
    assert receiver.messages == []
    assert messages_of(bench, study) == []


@pytest.mark.parametrize("keywords", [{"BodyPartExamined": "KNEE"}, {"HighBit": 10}])
def test_what_was_not_analysed_is_never_announced(
    make_bench: MakeBench, receiver: Hl7Receiver, keywords: dict[str, object]
) -> None:
    bench = make_bench(receiver.port, announce=["STAT", "URGENT", "ROUTINE"])
    study = announced(bench, **keywords)
    assert study.priority is None
    assert receiver.messages == []


def test_a_study_that_was_read_already_is_announced_only_to_who_knows_of_it(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port)
    read_first, told_first = chest_radiograph(), chest_radiograph()
    uid = bench.receive(read_first)
    with bench.sessions.begin() as session:
        mark_read(session, uid, "final report")
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert receiver.messages == []
    study = bench.triage(told_first)
    deliver(study.study_instance_uid, bench.office)
    with bench.sessions.begin() as session:
        mark_read(session, study.study_instance_uid, "final report")
    told_first.PatientName = "Corrected^Name"
    bench.triage(told_first)
    deliver(study.study_instance_uid, bench.office)
    assert [str(message["PID.F5.R1.C1"]) for message in receiver.messages] == ["Phantom", "Corrected"]


ROUTINE_AT_FIRST = dict.fromkeys(FLAGGED, 0.99)
URGENT_AT_FIRST = {"Pneumothorax": 0.99}


def read_then_another_image(bench: Bench, **keywords: Any) -> str:
    """Mark a study read at the level the bench's thresholds give it; then an image comes that shows more."""
    uid = announced(bench, **keywords).study_instance_uid
    with bench.sessions.begin() as session:
        mark_read(session, uid, "Dr. Reader")
    seeing_all = Bench(bench.settings.model_copy(update={"thresholds": {}}), bench.sessions)
    seeing_all.triage(chest_radiograph(StudyInstanceUID=uid, **keywords))
    deliver(uid, seeing_all.office)
    return uid


@pytest.mark.parametrize(("thresholds", "level"), [(ROUTINE_AT_FIRST, "ROUTINE"), (URGENT_AT_FIRST, "URGENT")])
def test_a_late_image_that_makes_a_read_study_more_urgent_makes_it_unread_everywhere(
    make_bench: MakeBench, receiver: Hl7Receiver, thresholds: dict[str, float], level: str
) -> None:
    hook = {"name": "on call", "url": "http://127.0.0.1:9/"}
    bench = make_bench(receiver.port, {"thresholds": thresholds, "webhooks": [hook]}, announce=["STAT"])
    uid = read_then_another_image(bench)
    study = bench.study(uid)
    assert (study.priority, study.read_at, study.read_by) == ("STAT", None, None)
    assert study.flagged_at is not None
    assert [str(message["TQ1.F9.R1.C1"]) for message in receiver.messages] == ["S"]
    with bench.sessions() as session:
        assert session.scalars(select(Notification.priority)).all() == ["STAT"]
        (line,) = list_studies(session, database_now(session), timedelta(minutes=60), StudyFilter(unread_only=True))
        assert line.group == "STAT"
        assert session.execute(text("SELECT list_order, read_at FROM triage_worklist")).all() == [(1, None)]
        event = session.scalars(select(Event).where(Event.kind == "reopened")).one()
        read = session.scalars(select(Event).where(Event.kind == "read")).one()
    assert event.details == {"read_by": "Dr. Reader", "read_at": read.at.isoformat(), "from": level, "to": "STAT"}
    assert "Dr. Reader" in (event.reason or "")


@pytest.mark.parametrize(
    ("thresholds", "keywords"),
    [
        ({}, {}),
        (ROUTINE_AT_FIRST, {"StudyDate": f"{date.today() - timedelta(days=30):%Y%m%d}"}),
    ],
    ids=["STAT again", "historical"],
)
def test_a_late_image_with_no_news_leaves_a_read_study_read(
    make_bench: MakeBench, receiver: Hl7Receiver, thresholds: dict[str, float], keywords: dict[str, str]
) -> None:
    bench = make_bench(receiver.port, {"thresholds": thresholds})
    before = read_then_another_image(bench, **keywords)
    assert bench.study(before).read_by == "Dr. Reader"
    assert "reopened" not in bench.event_kinds(before)
    assert len(bench.runs(before)) == 2


def test_a_read_study_whose_late_image_shows_nothing_stays_read(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    bench = make_bench(receiver.port, {"thresholds": URGENT_AT_FIRST})
    uid = announced(bench).study_instance_uid
    with bench.sessions.begin() as session:
        mark_read(session, uid, "Dr. Reader")
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    assert bench.study(uid).read_by == "Dr. Reader"


def test_what_was_read_before_its_analysis_is_unread_again_for_an_image_that_nobody_has_seen(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port)
    uid = bench.receive(chest_radiograph())
    with bench.sessions.begin() as session:
        mark_read(session, uid, "Dr. Reader")
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    deliver(uid, bench.office)
    assert bench.study(uid).read_at is None
    assert len(receiver.messages) == 1


def test_a_silent_receiver_does_not_hold_up_the_others(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    with running_receiver(lambda control_id: SILENCE) as silent:
        ris = {"host": "127.0.0.1", "answer_timeout_seconds": 5.0}
        both = [ris | {"name": "a", "port": silent.port}, ris | {"name": "b", "port": receiver.port}]
        bench = make_bench(0, settings={"hl7_destinations": both})
        study = bench.triage(chest_radiograph())
        began = time.monotonic()
        delivery = threading.Thread(target=deliver, args=(study.study_instance_uid, bench.office))
        delivery.start()
        while not receiver.messages and time.monotonic() - began < 4:
            time.sleep(0.02)
        waited = time.monotonic() - began
        delivery.join(20)
    assert waited < 4
    assert [(row.destination, row.state) for row in messages_of(bench, study)] == [("a", "pending"), ("b", "sent")]


def test_a_level_that_is_not_asked_for_is_not_announced(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    nothing = {"thresholds": dict.fromkeys(FLAGGED, 1.0)}
    bench = make_bench(receiver.port, settings=nothing)
    study = announced(bench)
    assert study.priority == Priority.ROUTINE
    assert receiver.messages == []


def test_routine_is_announced_where_asked_for_and_never_says_normal(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port, settings={"thresholds": dict.fromkeys(FLAGGED, 1.0)}, announce=["ROUTINE"])
    announced(bench)
    (message,) = receiver.messages
    assert str(message["TQ1.F9.R1.C1"]) == "R"
    assert {str(obx[8]) for obx in message.segments("OBX") if len(obx) > 8} == {""}, "N in OBX-8 would mean normal"
    assert "normal" not in str(message).lower()


def test_a_level_once_announced_is_kept_and_findings_no_longer_seen_are_deleted(
    make_bench: MakeBench, receiver: Hl7Receiver, make_settings: Callable[..., Settings]
) -> None:
    bench = make_bench(receiver.port)
    study = bench.triage(chest_radiograph())
    deliver(study.study_instance_uid, bench.office)
    for thresholds in ({"Effusion": 1.0}, dict.fromkeys(FLAGGED, 1.0)):
        stricter = make_bench(receiver.port, settings={"thresholds": thresholds})
        stricter.triage(chest_radiograph(StudyInstanceUID=study.study_instance_uid))
        deliver(study.study_instance_uid, stricter.office)
    first, second, third = receiver.messages
    assert second["TQ1.F9.R1.C1"] == third["TQ1.F9.R1.C1"] == first["TQ1.F9.R1.C1"]
    found = {(str(o[4]), str(o[5][0][0])) for o in first.segments("OBX") if str(o[3][0][0]) == "121071"}
    assert len(deleted(second)) == 1, "what is still seen is not deleted"
    assert deleted(second) < found
    assert deleted(third) == found
    assert "only a person lowers it" in str(third)


def deleted(message: Any) -> set[tuple[str, str]]:
    """Return the findings that a message takes back: sub-ID and code."""
    gone = [o for o in message.segments("OBX") if str(o[11]) == "D" and str(o[2]) == "CWE"]
    return {(str(o[4]), str(o[5][0][0])) for o in gone}


def test_a_study_without_patient_id_is_noted_and_its_objects_still_go(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port)
    study = announced(bench, PatientID="")
    assert study.state == "triaged"
    assert receiver.messages == []
    assert "not_announced" in bench.event_kinds(study.study_instance_uid)
    with bench.sessions() as session:
        reason = session.scalars(select(Event.reason).where(Event.kind == "not_announced")).one()
    assert reason is not None
    assert "no Patient ID" in reason


def test_tls_is_used_where_configured_and_a_stranger_is_refused(make_bench: MakeBench, tmp_path: Path) -> None:
    ours, strangers = certificate_files(tmp_path / "ours"), certificate_files(tmp_path / "strangers")
    context = ours.context(server_side=True)
    assert context.verify_mode == ssl.CERT_REQUIRED
    with running_receiver(tls=context) as receiver:
        files = {"certificate_file": ours.certificate, "key_file": ours.key, "ca_file": ours.ca}
        study = announced(bench := make_bench(receiver.port, tls=files, answer_timeout_seconds=5.0))
        assert [row.state for row in messages_of(bench, study)] == ["sent"]
        wrong = {"certificate_file": strangers.certificate, "key_file": strangers.key, "ca_file": strangers.ca}
        study = announced(bench := make_bench(receiver.port, tls=wrong))
        (row,) = messages_of(bench, study)
        assert row.state == "pending"
        assert "no TLS with 127.0.0.1" in str(row.last_comment)
        assert len(receiver.messages) == 1


def test_a_study_released_as_another_patients_is_withdrawn_from_whoever_was_told(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port)
    study = announced(bench, PatientID="WRONG")
    uid = study.study_instance_uid
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="RIGHT"))
    with bench.sessions.begin() as session:
        store = bench.workplace.instances
        released = release_study(session, store, uid, WhoseStudy("RIGHT"), "admin", settings=bench.settings)
    assert released.taken_back.messages == 1
    assert "1 HL7 messages are withdrawn" in released.summary
    deliver(uid, bench.office)
    first, withdrawal = receiver.messages
    for place in ("PID.F3.R1.C1", "OBR.F3", "OBR.F18"):
        assert str(withdrawal[place]) == str(first[place])
    assert str(withdrawal["OBR.F25"]) == "X"
    assert str(withdrawal["TQ1.F9.R1.C1"]) == "R"
    told = {(str(o[3][0][0]), str(o[11])) for o in withdrawal.segments("OBX")}
    assert ("121071", "W") in told
    assert ("121071", "P") not in told
    assert ("113014", "O") in told
    assert "WITHDRAWN" in str(withdrawal)
    assert withdrawal["MSH.F10"] != first["MSH.F10"]
    parse_message(str(withdrawal), validation_level=VALIDATION_LEVEL.STRICT).validate()
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert [str(message["PID.F3.R1.C1"]) for message in receiver.messages] == ["WRONG", "WRONG", "RIGHT"]


def told_of_the_wrong_patient(bench: Bench) -> str:
    """Return a study that was announced and corrected: its withdrawal and another message wait."""
    uid = announced(bench, PatientID="WRONG").study_instance_uid
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="RIGHT"))
    with bench.sessions.begin() as session:
        store = bench.workplace.instances
        release_study(session, store, uid, WhoseStudy("RIGHT"), "admin", settings=bench.settings)
    triage(uid, bench.workplace)
    return uid


def test_a_receiver_may_say_twice_that_it_has_a_message(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    """Some engines send the acknowledgements of both modes, whichever is asked for (HL7 v2.5.1 2.9.2, 2.9.3)."""
    bench = make_bench(receiver.port)
    uid = told_of_the_wrong_patient(bench)
    receiver.answer = lambda control_id: TWICE
    deliver(uid, bench.office)
    assert [str(message["PID.F3.R1.C1"]) for message in receiver.messages] == ["WRONG", "WRONG", "RIGHT"]
    rows = [row for row in messages_of(bench, bench.study(uid)) if row.state != "rejected"]
    assert [(row.state, row.attempts) for row in rows] == [("sent", 1), ("sent", 1)]


@pytest.mark.parametrize(("refusals", "order"), [(2, ["X", "P"]), (99, ["P"])], ids=["for a while", "for ever"])
def test_what_is_announced_anew_waits_for_the_withdrawal_but_not_for_ever(
    make_bench: MakeBench, receiver: Hl7Receiver, refusals: int, order: list[str]
) -> None:
    """A withdrawal that is taken last would take the newer finding off the list; one never taken may not hide it."""
    bench = make_bench(receiver.port, {"delivery_first_retry_seconds": 0.01, "delivery_longest_retry_seconds": 0.01})
    uid = told_of_the_wrong_patient(bench)
    accepted: list[str] = []
    left = [refusals]

    def answer(_control_id: str) -> str:
        status = str(receiver.messages[-1]["OBR.F25"])
        if status == "X" and left[0]:
            left[0] -= 1
            return "AE"
        accepted.append(status)
        return "AA"

    receiver.answer = answer
    for _ in range(ATTEMPTS_IN_ORDER):
        try_again(bench, bench.study(uid))
    assert accepted == order


def test_a_reason_in_letters_that_the_message_lacks_holds_up_no_withdrawal(
    make_bench: MakeBench, receiver: Hl7Receiver
) -> None:
    bench = make_bench(receiver.port, character_set="8859/1")
    uid = announced(bench).study_instance_uid
    with bench.sessions.begin() as session:
        retract_study(session, uid, reason="Größe, Оля", by="A", settings=bench.settings)
    withdrawal = bench.results(bench.runs(uid)[0])[-1]
    content = bench.workplace.results.open_path(withdrawal.path).read_bytes()
    assert "Größe, ???" in content.decode("iso8859-1")


def test_a_withdrawal_is_made_once_and_only_of_what_was_told(make_bench: MakeBench, receiver: Hl7Receiver) -> None:
    bench = make_bench(receiver.port, answer_timeout_seconds=2.0)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    store = bench.workplace.results

    def withdraw() -> tuple[int, int]:
        with bench.sessions.begin() as session:
            runs = session.scalars(select(Run).where(Run.study_instance_uid == uid)).all()
            return withdraw_announcements(session, runs, store, "a person said so", "admin")

    assert withdraw() == (0, 0), "nobody was told yet"
    receiver.answer = lambda control_id: SILENCE  # may have it, may not
    deliver(uid, bench.office)
    assert [withdraw(), withdraw()] == [(1, 0), (0, 0)]
    receiver.answer = lambda control_id: "AA"
    deliver(uid, bench.office)
    assert withdraw() == (0, 0), "a withdrawal is not withdrawn"
    assert str(receiver.messages[-1]["OBR.F25"]) == "X"


def test_the_receiver_of_another_library_takes_it_too(make_bench: MakeBench) -> None:
    """hl7apy's server reads byte by byte, wants a strict frame and hangs up after each message."""
    taken: list[str] = []

    class Accept(AbstractHandler):
        def reply(self) -> str:
            taken.append(self.incoming_message)
            read = parse_message(self.incoming_message)
            answer = Message("ACK", version="2.5.1")
            answer.msh.msh_9, answer.msh.msh_10 = "ACK^R01^ACK", "1"
            answer.msa.msa_1, answer.msa.msa_2 = "AA", read.msh.msh_10.value
            return str(answer.to_mllp())

    server = MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (Accept,)})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        bench = make_bench(server.server_address[1], answer_timeout_seconds=10.0)
        study = announced(bench, PatientName="Wang^XiaoDong=王^小东")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    assert [row.state for row in messages_of(bench, study)] == ["sent"]
    assert "王^小东" in taken[0]
