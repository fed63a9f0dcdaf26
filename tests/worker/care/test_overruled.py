"""A person overrules the machine: results retracted, priorities set, images declared invalid."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph
from others_files import give_to_another_user
from peers import StandInPacs
from receivers import DROP, Hl7Receiver
from rejection_notes import named
from sqlalchemy import select, text, update
from study_rows import add_triaged_study
from typer.testing import CliRunner

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.storing.instance_store import StoreAway, StoreError
from dicom_io.ups.status import UpsStatus
from model.labels import LABELS
from worker.arrival.completion import queue_if_due, queue_run
from worker.care.administration import NotStated, mark_read, requeue_study
from worker.care.image_rejection import reject_by_hand
from worker.care.priority_override import OverrideRefused, override_priority
from worker.care.release import release_study
from worker.care.resend import resend_study
from worker.care.retraction import RetractionRefused, retract_study
from worker.care.whose_study import WhoseStudy
from worker.cli import app
from worker.foundation.errors import RunRefused
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import claim_run
from worker.rows.outcome import RunVerdict, finish_run
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import Priority, ResultKind, RunState, RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.rows.undoing import forget_answer
from worker.rows.workitem_tables import Workitem
from worker.runs.triage import triage
from worker.sending.delivery import deliver
from worker.settings.config import Settings
from worker.settings.ups import Ups
from worker.ups.scheduling import schedule, studies_to_schedule
from worker.ups.workitems import decoded
from worker.ups.worklist import DatabaseWorklist

pytestmark = pytest.mark.either_database

OBJECTS = 1 + len(FLAGGED)
IN_A_YEAR = datetime.now(UTC) + timedelta(days=365)


@pytest.fixture
def bench(
    make_settings: Callable[..., Settings],
    sessions: SessionFactory,
    tmp_path: Path,
    pacs: StandInPacs,
    ris: Hl7Receiver,
) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    archive = pacs.destination
    receiver = {"name": "ris", "host": "127.0.0.1", "port": ris.port}
    settings = make_settings(
        bundles={"default": tmp_path / "bundle"}, destinations=[archive], hl7_destinations=[receiver]
    )
    return Bench(settings, sessions)


def retract(bench: Bench, uid: str, reason: str = "side marker of another patient") -> str:
    with bench.sessions.begin() as session:
        return retract_study(session, uid, reason=reason, by="Ada Admin", settings=bench.settings).summary


def test_a_retraction_leaves_nothing_in_force_anywhere(bench: Bench, pacs: StandInPacs, ris: Hl7Receiver) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    bench.triage(chest_radiograph(StudyInstanceUID=uid))  # replaces the first report, which stays in the archive
    deliver(uid, bench.office)
    sent = {arrival.sop_instance_uid for arrival in pacs.stored}
    assert "HL7 messages are withdrawn" in retract(bench, uid)
    deliver(uid, bench.office)
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.priority) == ("not_analysed", "retracted", None)
    assert (study.priority_rank, study.flagged_at) == (0.0, None)
    assert study.reason == "Ada Admin took the results back: side marker of another patient"
    notes = [arrival.dataset for arrival in pacs.stored if arrival.dataset.Modality == "KO"]
    assert {uid for note in notes for uid in named(note)} == sent
    assert {note.ConceptNameCodeSequence[0].CodeValue for note in notes} == {"113037"}
    assert [str(message["OBR.F25"]) for message in ris.messages] == ["P", "P", "X", "X"]
    with bench.sessions() as session:
        leftovers = session.scalar(text("SELECT leftovers FROM triage_worklist"))
        event = session.scalars(select(Event).where(Event.kind == "retracted")).one()
    assert leftovers == 0
    assert (event.actor, event.from_state, event.to_state) == ("Ada Admin", "triaged", "not_analysed")
    with pytest.raises(RetractionRefused, match="already"):
        retract(bench, uid)


@pytest.mark.parametrize("left", [0.0, 0.02], ids=["nothing but zeros", "the first lines"])
def test_of_a_damaged_result_a_retraction_says_that_it_must_be_removed_by_hand(
    bench: Bench, pacs: StandInPacs, left: float
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    results = bench.results(bench.runs(uid)[-1])
    report = next(result for result in results if result.kind == ResultKind.STRUCTURED_REPORT)
    path = bench.settings.results_dir / report.path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))].ljust(len(whole), b"\0"))
    assert "1 sent objects must be removed from the archive by hand" in retract(bench, uid)
    deliver(uid, bench.office)
    sent = {arrival.sop_instance_uid for arrival in pacs.stored if arrival.dataset.Modality != "KO"}
    (note,) = (arrival.dataset for arrival in pacs.stored if arrival.dataset.Modality == "KO")
    assert named(note) == sent - {report.sop_instance_uid}
    assert bench.study(uid).state == "not_analysed"


@pytest.mark.parametrize("lost", [True, False], ids=["gone", "damaged"])
def test_a_lost_message_holds_up_no_retraction_which_says_who_must_be_told(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver, lost: bool
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    (message,) = (each for each in bench.results(bench.runs(uid)[-1]) if each.kind == ResultKind.HL7_MESSAGE)
    path = bench.settings.results_dir / message.path
    if lost:
        path.unlink()
    else:
        path.write_bytes(bytes(message.bytes))
    assert "the receivers of 1 HL7 messages must be told by a person" in retract(bench, uid)
    deliver(uid, bench.office)
    assert len([arrival for arrival in pacs.stored if arrival.dataset.Modality == "KO"]) == 1
    assert [str(each["OBR.F25"]) for each in ris.messages] == ["P"]
    assert bench.study(uid).state == "not_analysed"
    with bench.sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "announcement_withdrawn")).one()
    assert str(event.reason).startswith("ris must be told by a person")


def test_while_the_store_cannot_be_reached_no_message_is_taken_for_lost(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    beyond_reach = f"{uid}/{'1' * 300}.hl7"  # longer than any file system's names
    with bench.sessions.begin() as session:
        session.execute(update(Result).where(Result.kind == ResultKind.HL7_MESSAGE).values(path=beyond_reach))
    with pytest.raises(StoreError, match="cannot be read"):
        retract(bench, uid)
    assert bench.study(uid).state == "triaged"


def test_while_the_disk_of_results_is_not_mounted_nothing_is_taken_for_lost(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    mounted, elsewhere = bench.settings.results_dir, bench.settings.data_dir / "not mounted"
    mounted.rename(elsewhere)
    mounted.mkdir()
    with pytest.raises(StoreAway, match="mount its disk"):
        retract(bench, uid)
    assert bench.study(uid).state == "triaged"
    mounted.rmdir()
    elsewhere.rename(mounted)
    assert "by hand" not in retract(bench, uid)
    deliver(uid, bench.office)
    assert [str(each["OBR.F25"]) for each in ris.messages] == ["P", "X"]


def test_what_another_user_owns_is_not_taken_for_lost(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who may write to the database and read no file would leave every archive without its notes."""
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    messages = select(Result.id).where(Result.kind == ResultKind.HL7_MESSAGE)
    with bench.sessions.begin() as session:  # the archive's objects alone are to be taken back
        session.execute(update(Delivery).where(Delivery.result_id.in_(messages)).values(state="rejected"))
    with monkeypatch.context() as patch:
        give_to_another_user(bench.settings.results_dir, patch)
        with pytest.raises(StoreAway, match="Permission denied"):
            retract(bench, uid)
    assert bench.study(uid).state == "triaged"
    assert "by hand" not in retract(bench, uid)


def test_what_was_to_be_sent_once_more_is_taken_back_where_it_already_is(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    sent = {arrival.sop_instance_uid for arrival in pacs.stored}
    with bench.sessions.begin() as session:
        resend_study(session, uid, (), "Ada Admin", bench.settings)
    retract(bench, uid)
    deliver(uid, bench.office)
    assert [named(arrival.dataset) for arrival in pacs.stored if arrival.dataset.Modality == "KO"] == [sent]
    assert [str(message["OBR.F25"]) for message in ris.messages] == ["P", "X"]


def test_a_retracted_study_stays_so_until_a_person_asks_for_it(bench: Bench, pacs: StandInPacs) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    retract(bench, uid)
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    with bench.sessions.begin() as session:
        assert queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper") is None
    with pytest.raises(RunRefused, match="took its results back"), bench.sessions.begin() as session:
        queue_run(session, session.get_one(Study, uid), RunTrigger.AUTO, bench.settings, actor="sweeper")
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("not_analysed", "retracted")
    assert len(bench.runs(uid)) == 1
    with bench.sessions.begin() as session:
        requeue_study(session, uid, bench.settings, "Ada Admin")
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    study = bench.study(uid)
    assert (study.state, study.retracted_at, study.reason_code) == ("triaged", None, None)
    assert len(pacs.stored) == OBJECTS
    assert "retraction_lifted" in bench.event_kinds(uid)


def test_a_run_that_waits_or_is_under_way_when_its_study_is_retracted_may_not_end(
    bench: Bench, pacs: StandInPacs
) -> None:
    uid = bench.receive(chest_radiograph())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "worker.runs.triage.failpoint", lambda name: retract(bench, uid) if name == "after_inference" else None
        )
        triage(uid, bench.workplace)
    waiting = bench.receive(chest_radiograph())
    retract(bench, waiting)
    triage(waiting, bench.workplace)
    for study in (uid, waiting):
        deliver(study, bench.office)
        assert bench.study(study).state == "not_analysed"
    assert pacs.arrivals == []


def test_a_retraction_while_the_results_are_being_sent_reaches_the_archive_after_them(
    bench: Bench, pacs: StandInPacs
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid

    def retract_meanwhile(sop_class_uid: str, sop_instance_uid: str) -> int:
        if len(pacs.arrivals) == 0:
            retract(bench, uid)
        return 0x0000

    pacs.status = retract_meanwhile
    deliver(uid, bench.office)
    deliver(uid, bench.office)
    assert [arrival.dataset.Modality for arrival in pacs.stored].count("KO") == 0, "not before they are all there"
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).where(Delivery.state == "pending").values(next_attempt_at=None))
    deliver(uid, bench.office)
    *results, note = [arrival.dataset for arrival in pacs.stored]
    assert named(note) == {result.SOPInstanceUID for result in results}
    with bench.sessions() as session:
        assert session.scalar(text("SELECT leftovers FROM triage_worklist")) == 0


def test_a_held_study_is_retracted_and_told_of_and_stays_held(
    bench: Bench, pacs: StandInPacs, ris: Hl7Receiver
) -> None:
    """Else a requeue would analyse the images of two patients as one's."""
    uid = bench.triage(chest_radiograph(PatientID="ONE")).study_instance_uid
    deliver(uid, bench.office)
    sent = {arrival.sop_instance_uid for arrival in pacs.stored}
    bench.receive(chest_radiograph(StudyInstanceUID=uid, PatientID="TWO"))
    retract(bench, uid)
    deliver(uid, bench.office)
    study = bench.study(uid)
    assert (study.state, study.reason_code, study.retracted_at is not None) == ("held", "identity_conflict", True)
    assert [named(a.dataset) for a in pacs.stored if a.dataset.Modality == "KO"] == [sent]
    assert str(ris.messages[-1]["OBR.F25"]) == "X"
    with pytest.raises(RunRefused, match="identity is in doubt"), bench.sessions.begin() as session:
        requeue_study(session, uid, bench.settings, "Ada Admin")
    with bench.sessions.begin() as session:
        release_study(session, bench.workplace.instances, uid, WhoseStudy("TWO"), "Ada Admin", settings=bench.settings)
    with bench.sessions.begin() as session:
        assert queue_if_due(session, uid, bench.settings, database_now(session), actor="sweeper") is None
    assert (bench.study(uid).state, bench.study(uid).reason_code) == ("not_analysed", "retracted")
    with bench.sessions.begin() as session:
        requeue_study(session, uid, bench.settings, "Ada Admin")
    triage(uid, bench.workplace)
    deliver(uid, bench.office)
    assert {a.dataset.PatientID for a in pacs.stored if a.sop_instance_uid not in sent} == {"ONE", "TWO"}
    assert {a.dataset.PatientID for a in pacs.stored if a.dataset.Modality == "SR"} == {"ONE", "TWO"}
    assert pacs.stored[-1].dataset.PatientID == "TWO"


def override(sessions: SessionFactory, uid: str, priority: Priority, reason: str = "looked at it") -> None:
    with sessions.begin() as session:
        override_priority(session, uid, priority, reason=reason, by="Dr Read")


def run_again(sessions: SessionFactory, settings: Settings, uid: str, levels: dict[str, Priority]) -> Study:
    """End another run of the study that flags these findings."""
    with sessions.begin() as session:
        requeue_study(session, uid, settings, "sweeper")
    with sessions.begin() as session:
        claim = claim_run(session, uid, "w", settings)
        assert claim is not None
        (instance,) = session.scalars(select(Instance.id).where(Instance.study_instance_uid == uid))
        for finding in levels:
            values = {"finding": finding, "probability": 0.9, "threshold": 0.6, "flagged": True}
            session.add(Prediction(run_id=claim.run_id, instance_id=instance, **values))
        order = [Priority.ROUTINE, Priority.URGENT, Priority.STAT]
        highest = max(levels.values(), key=order.index, default=Priority.ROUTINE)
        finish_run(session, claim, RunVerdict(StudyState.TRIAGED, highest, 0.9, "the machine's", levels=levels))
    with sessions() as session:
        return session.get_one(Study, uid)


def test_what_a_person_lowered_the_same_findings_do_not_raise_and_a_new_one_does(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Mass": 0.9})  # of another study, to which it is no news
        study = add_triaged_study(session, {"Pneumothorax": 0.9, "Nodule": 0.7})
        uid, two_news = study.study_instance_uid, add_triaged_study(session, {"Nodule": 0.7}).study_instance_uid
        shadow = {"run_number": 2, "shadow": True, "state": RunState.DONE, "queued_at": study.first_received_at}
        unseen = Prediction(instance_id=study.instances[0].id, finding="Mass", probability=0.9, flagged=True)
        study.runs.append(Run(predictions=[unseen], **shadow))
    stat, urgent = {"Pneumothorax": Priority.STAT}, {"Mass": Priority.URGENT}
    run_again(sessions, settings, uid, stat)  # of which a person knows, and not of the one in the shadow
    override(sessions, uid, Priority.ROUTINE)
    override(sessions, two_news, Priority.ROUTINE)
    assert run_again(sessions, settings, two_news, urgent | stat).priority == "STAT", "the most urgent of them decides"
    study = run_again(sessions, settings, uid, stat)
    assert (study.priority, study.priority_set_by) == ("ROUTINE", "Dr Read")
    assert study.priority_reason == "Set by Dr Read: looked at it"
    study = run_again(sessions, settings, uid, stat | urgent)
    assert (study.priority, study.priority_set_by) == ("URGENT", None), "to the level of what is new"
    assert run_again(sessions, settings, uid, stat).priority == "STAT", "the person's word is spent"


def test_a_read_study_that_a_person_lowered_is_unread_again_for_a_new_finding_only(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.9, "Nodule": 0.7}).study_instance_uid
    with sessions.begin() as session:
        mark_read(session, uid, "Dr Read")
    override(sessions, uid, Priority.ROUTINE)
    stat, urgent = {"Pneumothorax": Priority.STAT}, {"Mass": Priority.URGENT}
    assert run_again(sessions, settings, uid, stat).read_by == "Dr Read"
    study = run_again(sessions, settings, uid, stat | urgent)
    assert (study.priority, study.read_by) == ("URGENT", None)


def test_a_study_read_as_stat_stays_read_when_it_is_stat_again_without_a_rejected_image(
    sessions: SessionFactory, settings: Settings
) -> None:
    stat, urgent = {"Pneumothorax": Priority.STAT}, {"Mass": Priority.URGENT}
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.9}).study_instance_uid
    with sessions.begin() as session:
        mark_read(session, uid, "Dr First")
    assert run_again(sessions, settings, uid, stat).read_by is None
    with sessions.begin() as session:
        mark_read(session, uid, "Dr Read")
        forget_answer(session.get_one(Study, uid), keep_set_priority=True)
    for levels in (urgent, stat):
        assert run_again(sessions, settings, uid, levels).read_by == "Dr Read"


def test_what_was_read_in_another_study_is_news_in_this_one(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.9}).study_instance_uid
        other = add_triaged_study(session, {"Pneumothorax": 0.9}).study_instance_uid
    for each in (uid, other):
        with sessions.begin() as session:
            mark_read(session, each, "Dr Read")
    study = run_again(sessions, settings, uid, {"Pneumothorax": Priority.STAT})
    assert (study.priority, study.read_by) == ("STAT", None)


def test_what_a_person_raised_the_machine_does_not_lower(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Nodule": 0.1}).study_instance_uid
    override(sessions, uid, Priority.STAT)
    study = run_again(sessions, settings, uid, {"Mass": Priority.URGENT})
    assert (study.priority, study.priority_set_by, study.flagged_at is not None) == ("STAT", "Dr Read", True)
    with sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "priority_set")).one()
    assert (event.actor, event.details["from"], event.details["to"]) == ("Dr Read", "ROUTINE", "STAT")


def test_a_study_that_was_not_analysed_has_no_priority_to_set(bench: Bench) -> None:
    uid = bench.receive(chest_radiograph())
    with pytest.raises(OverrideRefused, match="queued"):
        override(bench.sessions, uid, Priority.STAT)
    with pytest.raises(NotStated, match="reason"):
        override(bench.sessions, uid, Priority.STAT, " ")


def test_receivers_are_not_told_again_at_the_level_a_person_has_lowered(bench: Bench, ris: Hl7Receiver) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    override(bench.sessions, uid, Priority.ROUTINE)
    bench.triage(chest_radiograph(StudyInstanceUID=uid))
    deliver(uid, bench.office)
    assert len(ris.messages) == 1
    assert bench.study(uid).priority == "ROUTINE"


def workitems(bench: Bench, uid: str) -> list[tuple[str, str]]:
    """Compare the study's workitem with the study, as the sweeper does; return state and priority of each."""
    ups = Ups(peers=[{"ae_title": "RIS", "host": "127.0.0.1", "port": 11112}])
    with bench.sessions.begin() as session:
        if uid in studies_to_schedule(session, ups):
            schedule(session, uid, bench.workplace.instances, ups, bench.settings)
    with bench.sessions() as session:
        rows = session.scalars(select(Workitem).order_by(Workitem.ordinal)).all()
        priorities = [decoded(row.attributes).ScheduledProcedureStepPriority for row in rows]
        return [(row.state, priority) for row, priority in zip(rows, priorities, strict=True)]


def test_workitems_are_made_for_the_more_urgent_first_as_a_person_has_set_it(bench: Bench) -> None:
    lowered, stat = (bench.triage(chest_radiograph()).study_instance_uid for _ in range(2))
    assert bench.study(lowered).priority_rank == bench.study(stat).priority_rank
    override(bench.sessions, lowered, Priority.ROUTINE)
    ups = Ups(peers=[{"ae_title": "RIS", "host": "127.0.0.1", "port": 11112}])
    with bench.sessions() as session:
        assert studies_to_schedule(session, ups) == [stat, lowered]


def test_workitems_follow_what_was_overruled(bench: Bench) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    assert workitems(bench, uid) == [("SCHEDULED", "HIGH")]
    override(bench.sessions, uid, Priority.ROUTINE)
    assert workitems(bench, uid) == [("SCHEDULED", "MEDIUM")]
    override(bench.sessions, uid, Priority.STAT)
    assert workitems(bench, uid) == [("SCHEDULED", "HIGH")]
    retract(bench, uid)
    assert [state for state, _ in workitems(bench, uid)] == ["CANCELED"]


def test_a_read_study_that_becomes_more_urgent_gets_another_workitem(
    bench: Bench, sessions: SessionFactory, settings: Settings
) -> None:
    urgent, stat = {"Effusion": Priority.URGENT}, {"Pneumothorax": Priority.STAT}
    low = Bench(bench.settings.model_copy(update={"thresholds": {"Pneumothorax": 0.99}}), sessions)
    uid = low.triage(chest_radiograph()).study_instance_uid
    assert workitems(bench, uid) == [("SCHEDULED", "HIGH")]
    with sessions.begin() as session:
        mark_read(session, uid, "Dr Read")
    assert workitems(bench, uid) == [("CANCELED", "HIGH")]
    run_again(sessions, settings, uid, urgent)
    assert workitems(bench, uid) == [("CANCELED", "HIGH")]
    run_again(sessions, settings, uid, stat)
    assert workitems(bench, uid) == [("CANCELED", "HIGH"), ("SCHEDULED", "HIGH")]
    with sessions.begin() as session:  # as a peer that read it and said so (`completion_marks_read`)
        session.execute(update(Workitem).where(Workitem.current).values(state="COMPLETED", closed_by_us=False))
        mark_read(session, uid, "READING")
    run_again(sessions, settings, uid, stat)
    assert [state for state, _ in workitems(bench, uid)] == ["CANCELED", "COMPLETED"]


def test_a_workitem_that_a_peer_completed_as_urgent_is_followed_by_one_for_stat(
    bench: Bench, sessions: SessionFactory, settings: Settings
) -> None:
    low = Bench(bench.settings.model_copy(update={"thresholds": {"Pneumothorax": 0.99}}), sessions)
    uid = low.triage(chest_radiograph()).study_instance_uid
    assert workitems(bench, uid) == [("SCHEDULED", "HIGH")]
    with sessions.begin() as session:
        session.execute(update(Workitem).values(state="COMPLETED"))
        mark_read(session, uid, "READING")
    assert [state for state, _ in workitems(bench, uid)] == ["COMPLETED"]
    run_again(sessions, settings, uid, {"Pneumothorax": Priority.STAT})
    assert workitems(bench, uid) == [("COMPLETED", "HIGH"), ("SCHEDULED", "HIGH")]


@pytest.mark.parametrize("marks_read", [False, True])
@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize(
    ("claimed_as", "then", "news"),
    [
        ({}, {"Pneumothorax": Priority.STAT}, True),
        ({}, {"Effusion": Priority.URGENT}, True),
        ({"Effusion": Priority.URGENT}, {"Pneumothorax": Priority.STAT}, True),
        ({"Effusion": Priority.URGENT}, {"Mass": Priority.URGENT}, False),
        ({"Pneumothorax": Priority.STAT}, {"Effusion": Priority.URGENT}, False),
        ({}, {}, False),
    ],
)
def test_what_a_study_became_while_its_workitem_was_worked_off_is_read_by_nobody_yet(
    bench: Bench, sessions: SessionFactory, settings: Settings, claimed_as: Any, then: Any, *,
    news: bool, compared: bool, marks_read: bool,
) -> None:  # fmt: skip
    """Whoever completes it may have looked before the late image came; the flag stays, and another workitem follows."""
    everything = dict.fromkeys(LABELS, 0.999)
    uid = (
        Bench(bench.settings.model_copy(update={"thresholds": everything}), sessions)
        .triage(chest_radiograph())
        .study_instance_uid
    )
    if claimed_as:
        run_again(sessions, settings, uid, claimed_as)
    workitems(bench, uid)
    ups = Ups(peers=[{"ae_title": "READER"}], completion_marks_read=marks_read, fill_in_final_state=True)
    worklist = DatabaseWorklist(settings, ups, sessions, sessions, lambda: None)
    with sessions() as session:
        item, key = session.scalars(select(Workitem.sop_instance_uid)).one(), "1.2.3.4"
    assert worklist.change_state(item, "IN PROGRESS", key, "READER") is UpsStatus.SUCCESS
    run_again(sessions, settings, uid, then)
    if compared:
        workitems(bench, uid)
    assert worklist.change_state(item, "COMPLETED", key, "READER") is UpsStatus.SUCCESS
    assert (bench.study(uid).read_at is not None) is (marks_read and not news)
    states = [state for state, _ in workitems(bench, uid)]
    assert states == (["COMPLETED", "SCHEDULED"] if news else ["COMPLETED"])


def test_the_workitem_of_a_study_whose_image_was_rejected_is_high_no_longer(bench: Bench) -> None:
    image = chest_radiograph()
    uid = bench.triage(image).study_instance_uid
    assert workitems(bench, uid) == [("SCHEDULED", "HIGH")]
    with bench.sessions.begin() as session:
        names = {"title": RejectionTitle.QUALITY, "reason": "moved", "by": "Ada Admin"}
        assert reject_by_hand(session, uid, [image.SOPInstanceUID], **names, settings=bench.settings) is None
    bench.intake.association_closed({uid}, False)
    assert bench.study(uid).reason_code == "rejected"
    assert workitems(bench, uid) == [("SCHEDULED", "MEDIUM")]


def test_a_receiver_that_was_away_hears_of_the_withdrawal_before_the_next_message(
    bench: Bench, ris: Hl7Receiver
) -> None:
    uid = bench.triage(chest_radiograph()).study_instance_uid
    deliver(uid, bench.office)
    retract(bench, uid)
    ris.answer = lambda control_id: DROP
    deliver(uid, bench.office)  # in vain: the withdrawal waits
    with bench.sessions.begin() as session:
        session.execute(update(Delivery).where(Delivery.state == "pending").values(next_attempt_at=IN_A_YEAR))
        requeue_study(session, uid, bench.settings, "Ada Admin")
    triage(uid, bench.workplace)
    ris.answer = lambda control_id: "AA"
    before = len(ris.messages)
    deliver(uid, bench.office)
    assert [str(message["OBR.F25"]) for message in ris.messages[before:]] == ["X", "P"]


@pytest.fixture
def command(bench: Bench, database_url: str, tmp_path: Path) -> Callable[..., Any]:
    settings = bench.settings
    bundle = settings.bundles["default"]
    config = tmp_path / "site.toml"
    config.write_text(
        f'data_dir = "{settings.data_dir}"\ndatabase_url = "{database_url}"\n[bundles]\ndefault = "{bundle}"\n'
    )

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json", "--config", str(config)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def test_the_commands_do_it_in_a_persons_name(bench: Bench, command: Callable[..., Any]) -> None:
    image = chest_radiograph(AccessionNumber="A77")
    second = chest_radiograph(StudyInstanceUID=image.StudyInstanceUID, AccessionNumber="A77")
    uid = bench.triage(image, second).study_instance_uid
    deliver(uid, bench.office)
    why = ("--reason", "looked at it", "--by", "Dr Read")
    assert command("override", "A77", "--priority", "ROUTINE", *why)["priority"] == "ROUTINE"
    assert command("reject", "A77", "--image", str(second.SOPInstanceUID), *why)["run_number"] == 2
    triage(uid, bench.workplace)
    assert command("correct", "A77", "--sex", "F", *why)["columns"] == ["patient_sex"]
    assert command("retract", "A77", "--because", "quality", *why)["study_instance_uid"] == uid
    with bench.sessions() as session:
        events = session.execute(select(Event.kind, Event.actor).where(Event.actor == "Dr Read")).all()
    kinds = {kind for kind, _actor in events}
    assert {"priority_set", "images_rejected", "identity_corrected", "retracted", "results_rejected"} <= kinds
