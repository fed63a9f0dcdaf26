from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from study_rows import NOW, add_instance, add_study, add_triaged_study

from worker.care.administration import (
    UnknownStudy,
    mark_read,
    mark_unread,
    requeue_study,
    resend_failed_deliveries,
)
from worker.foundation.errors import RunRefused
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, RunState, StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings
from worker.views.patient_history import milestones
from worker.views.rendering import csv_text, inert
from worker.views.studies import Group, StudyFilter, as_json, count_studies, list_studies, why
from worker.views.study_detail import study_detail
from worker.views.worklist_groups import read_worklist

pytestmark = pytest.mark.either_database

UPPER_WAIT = timedelta(minutes=60)


def listed(sessions: SessionFactory, **wanted: Any) -> list[Any]:
    with sessions() as session:
        return list_studies(session, NOW, UPPER_WAIT, StudyFilter(**wanted))


def test_reading_order_is_overdue_then_priority_then_rank_then_arrival(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        routine = add_triaged_study(session, {"Mass": 0.1}, minutes_ago=9)
        stat_late = add_triaged_study(session, {"Pneumothorax": 0.7}, minutes_ago=3, priority_rank=5.6)
        stat_early = add_triaged_study(session, {"Pneumothorax": 0.7}, minutes_ago=4, priority_rank=5.6)
        stat_surer = add_triaged_study(session, {"Pneumothorax": 0.9}, minutes_ago=2, priority_rank=5.8)
        urgent = add_triaged_study(session, {"Effusion": 0.8}, minutes_ago=30)
        overdue = add_triaged_study(session, {"Mass": 0.1}, minutes_ago=61)
        read = add_triaged_study(session, {"Pneumothorax": 0.99}, minutes_ago=90, read_at=NOW, read_by="somebody")
        waiting = add_study(session, minutes_ago=1)
        expected = [study.study_instance_uid for study in (
            overdue, stat_surer, stat_early, stat_late, urgent, routine, waiting, read,
        )]  # fmt: skip
    lines = listed(sessions)
    assert [line.study_instance_uid for line in lines] == expected
    assert [line.group for line in lines] == [
        Group.OVERDUE, Group.STAT, Group.STAT, Group.STAT, Group.URGENT, Group.ROUTINE, Group.IN_PROGRESS, Group.READ,
    ]  # fmt: skip


def test_failed_held_and_not_analysed_stand_apart_even_when_they_waited_too_long(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for state in (StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE):
            add_study(session, minutes_ago=500, state=state, reason_code="age", reason="A reason.")
    groups = {line.group: line for line in listed(sessions)}
    assert set(groups) == {Group.FAILED, Group.HELD, Group.NOT_ANALYSED, Group.OUT_OF_SCOPE}
    assert groups[Group.FAILED].overdue
    assert not groups[Group.OUT_OF_SCOPE].overdue
    assert all(line.priority is None and line.findings is None for line in groups.values())


@pytest.mark.parametrize("state", [StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED])
def test_what_was_flagged_keeps_its_place_when_the_study_fails_or_is_held_since(
    sessions: SessionFactory, state: StudyState
) -> None:
    """A later image broke the analysis, say: the pneumothorax of the first must not sink below what is routine."""
    with sessions.begin() as session:
        add_triaged_study(session, {"Mass": 0.1}, minutes_ago=9)
        uid = add_triaged_study(session, {"Pneumothorax": 0.9}, state=state, reason="It broke.").study_instance_uid
        add_triaged_study(session, {"Pneumothorax": 0.9}, state=state, reason_code="x", minutes_ago=90)
    with sessions() as session:
        worklist = read_worklist(session, NOW, UPPER_WAIT)
    (line,) = worklist.lines(Group.STAT)
    assert (line.study_instance_uid, line.state, line.priority, line.overdue) == (uid, state, "STAT", False)
    assert why(line) == "It broke. Pneumothorax 90% (threshold 60%)"
    assert [late.priority for late in worklist.lines(Group.OVERDUE)] == ["STAT"]
    assert listed(sessions, priorities=("STAT",))[1] == line


@pytest.mark.parametrize("state", [StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED])
def test_a_study_without_an_answer_is_never_called_routine(sessions: SessionFactory, state: StudyState) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Mass": 0.1}, state=state, reason_code="poison", reason="It broke.")
        add_triaged_study(session, {"Mass": 0.1})
    without, answered = sorted(listed(sessions), key=lambda line: line.state == StudyState.TRIAGED)
    assert (without.group, without.priority, without.priority_reason) == (Group(state.value), None, None)
    assert (without.findings, why(without)) == (None, "It broke.")
    assert (answered.priority, answered.findings) == ("ROUTINE", ())
    rows = csv.DictReader(io.StringIO(csv_text([without, answered])))
    assert [(row["priority"], row["findings"]) for row in rows] == [("", "not known"), ("ROUTINE", "")]
    assert [line.state for line in listed(sessions, priorities=("ROUTINE",))] == [StudyState.TRIAGED]


def test_a_study_analysed_again_keeps_its_place(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, state=StudyState.QUEUED)
    assert [line.group for line in listed(sessions)] == [Group.STAT]


def test_findings_are_the_flagged_ones_of_the_current_run_most_urgent_first(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Effusion": 0.95, "Pneumothorax": 0.91, "Mass": 0.59})
    (line,) = listed(sessions)
    assert [(item.finding, item.probability, item.threshold) for item in line.findings] == [
        ("Pneumothorax", 0.91, 0.6),
        ("Effusion", 0.95, 0.6),
    ]


@pytest.mark.parametrize(
    ("state", "summary"),
    [
        (None, ("none", 0, 0)),
        (DeliveryState.PENDING, ("pending", 2, 0)),
        (DeliveryState.SENT, ("delivered", 2, 2)),
        (DeliveryState.COMMITTED, ("delivered", 2, 2)),
        (DeliveryState.REFUSED, ("failed", 2, 0)),
        (DeliveryState.FAILED, ("failed", 2, 0)),
        (DeliveryState.SUPERSEDED, ("none", 0, 0)),
    ],
)
def test_delivery_summary_is_the_worst_of_all_results(
    sessions: SessionFactory, state: DeliveryState | None, summary: tuple[str, int, int]
) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.91}, delivery_state=state)
    (line,) = listed(sessions)
    assert (line.delivery.state, line.delivery.total, line.delivery.delivered) == summary


def test_one_refused_of_two_is_a_failure_with_its_comment(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.91})
        refused = session.query(Delivery).first()
        assert refused is not None
        refused.state, refused.last_comment = DeliveryState.REFUSED, "no room"
    (line,) = listed(sessions)
    assert (line.delivery.state, line.delivery.delivered, line.delivery.comment) == ("failed", 1, "no room")


def test_filters_narrow_by_state_priority_read_mark_and_text(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        stat = add_triaged_study(session, {"Pneumothorax": 0.91}, patient_name="MÜLLER^ANNA", accession_number="A%1")
        add_triaged_study(session, {"Mass": 0.1}, read_at=NOW, read_by="x", accession_number="AB1")
        held = add_study(session, state=StudyState.HELD)
        uids = {"stat": stat.study_instance_uid, "held": held.study_instance_uid}
    assert [line.study_instance_uid for line in listed(sessions, priorities=("STAT",))] == [uids["stat"]]
    assert [line.study_instance_uid for line in listed(sessions, states=("held",))] == [uids["held"]]
    assert len(listed(sessions, unread_only=True)) == 2
    assert [line.study_instance_uid for line in listed(sessions, text="anna")] == [uids["stat"]]
    assert [line.study_instance_uid for line in listed(sessions, text="a%1")] == [uids["stat"]], "% is a character here"
    assert [line.study_instance_uid for line in listed(sessions, text=uids["held"])] == [uids["held"]]


def test_pages_do_not_overlap_and_the_count_ignores_the_limit(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for _ in range(5):
            add_study(session, minutes_ago=3)
    pages = [listed(sessions, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert len({line.study_instance_uid for page in pages for line in page}) == 5
    with sessions() as session:
        assert count_studies(session, StudyFilter(limit=2)) == 5


def test_worklist_cuts_finished_studies_and_counts_them_all(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for _ in range(53):
            add_study(session, state=StudyState.TRIAGED, priority="ROUTINE", read_at=NOW, read_by="x")
        add_triaged_study(session, {"Pneumothorax": 0.91})
    with sessions() as session:
        worklist = read_worklist(session, NOW, UPPER_WAIT)
    assert worklist.unread_total == 1
    assert len(worklist.lines(Group.READ)) == 50
    assert {group.group: group.total for group in worklist.groups}[Group.READ] == 53
    assert [group.group for group in worklist.groups] == list(Group)


def test_detail_holds_everything_and_is_json(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Pneumothorax": 0.91, "Mass": 0.2}).study_instance_uid
        add_instance(session, session.get_one(Study, uid), disposition="ignored", reason_code="sop_class")
    with sessions() as session:
        detail = study_detail(session, uid, NOW, UPPER_WAIT)
    assert detail is not None
    assert detail.current_run is not None
    known = [item for item in detail.current_run.predictions if item.probability is not None]
    assert (len(detail.current_run.predictions), len(known)) == (14, 2)
    assert [result.kind for result in detail.current_run.results] == ["structured_report", "secondary_capture"]
    assert len(detail.instances) == 2
    assert sorted(item.disposition for item in detail.instances) == ["analysed", "ignored"]
    assert [event.kind for event in detail.events] == ["received", "queued", "claimed", "triaged"]
    described = json.loads(json.dumps(as_json(detail)))
    assert described["line"]["first_received_at"].endswith("+00:00")


def test_the_steps_of_a_study_that_was_not_analysed_wait_for_no_delivery(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        left_out = add_triaged_study(session, {"Mass": 0.1}, state=StudyState.OUT_OF_SCOPE, delivery_state=None)
        answered = add_triaged_study(session, {"Mass": 0.9}, delivery_state=DeliveryState.PENDING)
        waiting = add_study(session, state=StudyState.QUEUED)
        steps = {}
        for study in (left_out, answered, waiting):
            detail = study_detail(session, study.study_instance_uid, NOW, UPPER_WAIT)
            assert detail is not None
            steps[study.study_instance_uid] = [step.name for step in milestones(detail)]
    assert steps[left_out.study_instance_uid] == ["Received", "Queued", "Not analysed", "Read"]
    for study in (answered, waiting):
        assert steps[study.study_instance_uid] == ["Received", "Queued", "Analysed", "Delivered", "Read"]


def test_an_unknown_study_has_no_detail(sessions: SessionFactory) -> None:
    with sessions() as session:
        assert study_detail(session, "1.2.3", NOW, UPPER_WAIT) is None


def test_read_mark_is_kept_audited_and_can_be_taken_back(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.1}).study_instance_uid
    with sessions.begin() as session:
        mark_read(session, uid, "first")
    with sessions.begin() as session:
        mark_read(session, uid, "second")
        assert session.get_one(Study, uid).read_by == "first"
    with sessions.begin() as session:
        mark_unread(session, uid, "third")
        study = session.get_one(Study, uid)
        assert (study.read_at, study.read_by) == (None, None)
    with sessions() as session:
        marks = session.query(Event).filter(Event.kind.in_(("read", "unread"))).order_by(Event.id).all()
        assert [(event.kind, event.actor) for event in marks] == [("read", "first"), ("unread", "third")]


def test_reading_a_study_nobody_sent_is_refused(sessions: SessionFactory) -> None:
    with sessions.begin() as session, pytest.raises(UnknownStudy, match=r"no study 1\.2\.3 was received"):
        mark_read(session, "1.2.3", "somebody")


def test_requeue_makes_a_manual_run_and_wakes_stopped_deliveries(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(
            session, {"Pneumothorax": 0.91}, delivery_state=DeliveryState.REFUSED
        ).study_instance_uid
    with sessions.begin() as session:
        requeued = requeue_study(session, uid, settings, "admin")
    assert (requeued.run_number, requeued.deliveries) == (2, 2)
    with sessions() as session:
        run = session.query(Run).filter_by(run_number=2).one()
        assert (run.state, run.trigger) == (RunState.QUEUED, "manual")
        assert {delivery.state for delivery in session.query(Delivery)} == {DeliveryState.PENDING}
        assert {"resend", "queued"} <= {event.kind for event in session.query(Event).filter_by(actor="admin")}


def test_a_second_requeue_is_refused_while_the_first_waits(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        uid = add_triaged_study(session, {"Mass": 0.1}).study_instance_uid
        requeue_study(session, uid, settings, "admin")
    with sessions.begin() as session, pytest.raises(RunRefused, match="already"):
        requeue_study(session, uid, settings, "admin")


def test_delivered_results_are_not_sent_again(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.91})
        assert resend_failed_deliveries(session, study, "admin") == 0


def test_csv_cells_that_look_like_formulas_are_defused(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Mass": 0.1}, accession_number='=HYPERLINK("http://x")', patient_id="@SUM(A1)")
    text = csv_text(listed(sessions))
    assert """"'=HYPERLINK(""http://x"")\"""" in text
    assert "'@SUM(A1)" in text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_whatever_a_spreadsheet_takes_for_the_start_of_a_formula_is_defused(start: str) -> None:
    assert inert(f"{start}1+1") == f"'{start}1+1"
    assert inert(f"a{start}1") == f"a{start}1"
