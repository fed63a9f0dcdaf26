"""When a study gets a run, which one, and what is said of studies that get none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from worker.arrival.completion import due_studies, queue_if_due, queue_run
from worker.arrival.queued import QueuedRun
from worker.foundation.errors import RunRefused
from worker.rows.database import SessionFactory, database_now
from worker.rows.leases import claim_run
from worker.rows.outcome import RunVerdict, fail_run, finish_run
from worker.rows.run_tables import Run
from worker.rows.site_tables import Event
from worker.rows.states import Priority, RunTrigger, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

UID = "1.2.826.0.1"
ROUTINE = RunVerdict(StudyState.TRIAGED, Priority.ROUTINE, 0.1, "x")


def add_study(sessions: SessionFactory, uid: str = UID, **columns: object) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.add(Study(study_instance_uid=uid, first_received_at=now, last_received_at=now, **columns))


def add_instance(
    sessions: SessionFactory, disposition: str = "candidate", code: str | None = None, uid: str = UID
) -> None:
    """Add an instance and make its study due a second ago."""
    with sessions.begin() as session:
        now = database_now(session)
        number = len(session.scalars(select(Instance.id)).all())
        session.add(
            Instance(
                sop_instance_uid=f"{uid}.{number}",
                study_instance_uid=uid,
                series_instance_uid="1",
                sop_class_uid="1",
                transfer_syntax_uid="1",
                path="x",
                bytes=1,
                sha256="",
                received_at=now,
                disposition=disposition,
                reason_code=code,
            )
        )
        session.get_one(Study, uid).due_at = now - timedelta(seconds=1)


def queue(sessions: SessionFactory, settings: Settings) -> list[QueuedRun]:
    """Queue a run for each study that is due, as the sweeper does."""
    with sessions.begin() as session:
        now = database_now(session)
        queued = [queue_if_due(session, uid, settings, now, actor="sweeper") for uid in due_studies(session, now)]
        return [run for run in queued if run is not None]


def claim_and(sessions: SessionFactory, settings: Settings, *, finish: bool) -> None:
    with sessions.begin() as session:
        claim = claim_run(session, UID, "w", settings)
        assert claim is not None
        if finish:
            for instance in session.scalars(select(Instance).where(Instance.disposition == "candidate")):
                instance.disposition = "analysed"
            finish_run(session, claim, ROUTINE)


def the_study(sessions: SessionFactory) -> Study:
    with sessions() as session:
        return session.get_one(Study, UID)


def test_a_due_study_with_a_candidate_gets_its_first_run(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions)
    (queued,) = queue(sessions, settings)
    assert (queued.study_instance_uid, queued.run_number, queued.queue) == (UID, 1, "routine")
    study = the_study(sessions)
    assert (study.state, study.due_at) == (StudyState.QUEUED, None)
    assert queue(sessions, settings) == []
    with sessions() as session:
        assert session.scalars(select(Run.trigger)).all() == [RunTrigger.AUTO]
        assert session.scalars(select(Event.kind)).all() == ["queued"]


def test_a_study_is_left_alone_until_it_is_due(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions)
    with sessions.begin() as session:
        past = database_now(session) - timedelta(minutes=1)
        assert due_studies(session, past) == []
        assert queue_if_due(session, UID, settings, past, actor="sweeper") is None


def test_a_queued_run_takes_along_what_arrives_before_it_is_claimed(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    add_instance(sessions)
    queue(sessions, settings)
    add_instance(sessions)
    assert queue(sessions, settings) == []
    assert the_study(sessions).due_at is None
    with sessions() as session:
        assert len(session.scalars(select(Run)).all()) == 1


def test_an_image_that_arrives_during_a_run_makes_another_one_after_it(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    add_instance(sessions)
    queue(sessions, settings)
    with sessions.begin() as session:
        claim = claim_run(session, UID, "w", settings)
    assert claim is not None
    add_instance(sessions)
    assert queue(sessions, settings) == []
    assert the_study(sessions).due_at is not None
    with sessions.begin() as session:
        finish_run(session, claim, ROUTINE)
    (late,) = queue(sessions, settings)
    assert late.run_number == 2
    with sessions() as session:
        assert session.scalars(select(Run.trigger).order_by(Run.id)).all() == ["auto", "late_image"]


def test_a_late_image_leaves_the_priority_in_place_while_it_waits(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions)
    queue(sessions, settings)
    claim_and(sessions, settings, finish=True)
    add_instance(sessions)
    queue(sessions, settings)
    study = the_study(sessions)
    assert (study.state, study.priority) == (StudyState.QUEUED, Priority.ROUTINE)
    assert study.current_run_id is not None


@pytest.mark.parametrize(
    ("judged", "state", "code"),
    [
        ([("out_of_scope", "not_chest")], StudyState.OUT_OF_SCOPE, "not_chest"),
        ([("ignored", "sop_class")], StudyState.OUT_OF_SCOPE, "no_image"),
        ([("ignored", "sop_class"), ("not_analysed", "age")], StudyState.NOT_ANALYSED, "age"),
        ([("out_of_scope", "not_frontal"), ("not_analysed", "needs_review")], StudyState.NOT_ANALYSED, "needs_review"),
        ([("ignored", "for_processing")], StudyState.NOT_ANALYSED, "for_processing"),
    ],
)
def test_a_study_without_a_candidate_says_why(
    sessions: SessionFactory,
    settings: Settings,
    judged: list[tuple[str, str]],
    state: StudyState,
    code: str,
) -> None:
    add_study(sessions)
    for disposition, reason_code in judged:
        add_instance(sessions, disposition, reason_code)
    assert queue(sessions, settings) == []
    study = the_study(sessions)
    assert (study.state, study.reason_code, study.priority, study.due_at) == (state, code, None, None)
    assert study.reason


def test_a_candidate_that_comes_after_the_verdict_out_of_scope_is_analysed(
    sessions: SessionFactory, settings: Settings
) -> None:
    add_study(sessions)
    add_instance(sessions, "out_of_scope", "not_chest")
    queue(sessions, settings)
    add_instance(sessions)
    assert len(queue(sessions, settings)) == 1


def test_a_failure_stays_visible_when_a_report_arrives_later(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions)
    queue(sessions, settings)
    with sessions.begin() as session:
        claim = claim_run(session, UID, "w", settings)
        assert claim is not None
        fail_run(session, claim, "undecodable", "x", retryable=False, settings=settings)
        session.scalars(select(Instance)).one().disposition = "not_analysed"
    add_instance(sessions, "ignored", "sop_class")
    assert queue(sessions, settings) == []
    assert (the_study(sessions).state, the_study(sessions).reason_code) == (StudyState.FAILED, "undecodable")


def test_a_held_study_is_never_queued(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions, state=StudyState.HELD)
    add_instance(sessions)
    assert queue(sessions, settings) == []
    with pytest.raises(RunRefused, match="identity"), sessions.begin() as session:
        queue_run(session, session.get_one(Study, UID), RunTrigger.MANUAL, settings, actor="anna")


def test_a_person_can_queue_a_study_again(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions, order_priority="STAT")
    add_instance(sessions)
    queue(sessions, settings)
    claim_and(sessions, settings, finish=True)
    with sessions.begin() as session:
        queued = queue_run(session, session.get_one(Study, UID), RunTrigger.MANUAL, settings, actor="anna")
    assert (queued.run_number, queued.queue) == (2, "stat")
    with sessions() as session:
        assert session.scalars(select(Event.actor).order_by(Event.id.desc())).first() == "anna"


def test_a_study_whose_run_is_under_way_cannot_be_queued_again(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions)
    queue(sessions, settings)
    claim_and(sessions, settings, finish=False)
    with pytest.raises(RunRefused, match="running already"), sessions.begin() as session:
        queue_run(session, session.get_one(Study, UID), RunTrigger.MANUAL, settings, actor="anna")


def test_a_study_without_any_image_to_analyse_cannot_be_queued(sessions: SessionFactory, settings: Settings) -> None:
    add_study(sessions)
    add_instance(sessions, "out_of_scope", "not_chest")
    with pytest.raises(RunRefused, match="none of its images"), sessions.begin() as session:
        queue_run(session, session.get_one(Study, UID), RunTrigger.MANUAL, settings, actor="anna")


def test_the_longest_waiting_studies_come_first(
    sessions: SessionFactory, make_settings: Callable[..., Settings]
) -> None:
    for number in (1, 2, 3):
        add_study(sessions, f"1.{number}")
        add_instance(sessions, uid=f"1.{number}")
    with sessions.begin() as session:
        session.get_one(Study, "1.3").due_at = database_now(session) - timedelta(hours=1)
    assert queue(sessions, make_settings())[0].study_instance_uid == "1.3"
