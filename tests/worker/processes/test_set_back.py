"""After the database's clock was set back nothing waits for the hour that it showed; no wait is cut short."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update
from study_rows import add_instance, add_study, add_triaged_study

from dicom_io.storing.instance_store import InstanceStore
from worker.processes import sweep
from worker.processes.ringing import Bells
from worker.processes.set_back import PARK_SECONDS, ClockWatch, mend_waits
from worker.processes.sweep import Sweeper
from worker.rows import service_lease
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Delivery, DestinationOutage, Notification
from worker.rows.leases import claim_run
from worker.rows.reopening import reopen_failed
from worker.rows.run_tables import Run
from worker.rows.service_lease import take_service
from worker.rows.site_tables import Event, InboundMessage, ProcessHeartbeat, ReceptionGap
from worker.rows.states import DeliveryState, Disposition, RunState
from worker.rows.study_tables import ReceivedNote, Study
from worker.sending.outbox import due_deliveries
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

JUMP = timedelta(hours=2)
SOON = timedelta(seconds=1)
CHANNEL = {"name": "desk", "url": "https://example.org/told"}


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(webhooks=[CHANNEL])


def fill(sessions: SessionFactory, ahead: timedelta) -> None:
    """Write a row of everything that waits, all of it until ``ahead`` of now."""
    with sessions.begin() as session:
        now = database_now(session)
        then = now + ahead
        add_study(session, now=now, due_at=then)
        study = add_triaged_study(session, {"Mass": 0.9}, delivery_state=DeliveryState.PENDING, now=now)
        sent = add_triaged_study(session, {"Mass": 0.9}, delivery_state=DeliveryState.SENT, now=now)
        mine = select(Run.id).where(Run.study_instance_uid == study.study_instance_uid)
        running = {"state": RunState.RUNNING, "lease_until": then, "rung_at": then}
        session.execute(update(Run).where(Run.id.in_(mine)).values(running))
        session.execute(update(Delivery).values(rung_at=then))
        pending, stored = Delivery.state == DeliveryState.PENDING, Delivery.state == DeliveryState.SENT
        session.execute(update(Delivery).where(pending).values(next_attempt_at=then, lease_until=then))
        session.execute(update(Delivery).where(stored).values(commitment_due_at=then, commitment_requests=1))
        session.add(DestinationOutage(destination="pacs", since=now, attempts=1, next_attempt_at=then))
        told: dict[str, Any] = {"channel": "desk", "priority": "STAT", "created_at": now}
        session.add(
            Notification(
                study_instance_uid=study.study_instance_uid,
                run_id=session.scalars(mine).one(),
                **told,
                next_attempt_at=then,
                lease_until=then,
                rung_at=then,
            )
        )
        session.add(ReceivedNote(instance_id=add_instance(session, sent).id, attempts=1, next_attempt_at=then))
        session.add(ReceptionGap(begins_at=now, ends_at=now, attempts=1, next_attempt_at=then))
        session.add(ProcessHeartbeat(name="w", role="w", version="0", device="", started_at=now, seen_at=then))


COLUMNS = (
    Study.due_at, Run.lease_until, Run.rung_at, Delivery.next_attempt_at, Delivery.lease_until, Delivery.rung_at,
    Delivery.commitment_due_at, DestinationOutage.next_attempt_at, Notification.next_attempt_at,
    Notification.lease_until, Notification.rung_at, ReceivedNote.next_attempt_at, ReceptionGap.next_attempt_at,
    ProcessHeartbeat.seen_at, Run.started_at, Study.read_at,
)  # fmt: skip


def latest(sessions: SessionFactory) -> dict[str, float]:
    """Return for each column how many seconds ahead of now its latest moment lies."""
    with sessions() as session:
        now = database_now(session)
        found = {str(column): session.scalars(select(column).where(column.is_not(None))).all() for column in COLUMNS}
    ahead = {name: [(moment - now).total_seconds() for moment in moments] for name, moments in found.items()}
    return {name: max(seconds) for name, seconds in ahead.items() if seconds}


def test_nothing_waits_for_an_hour_that_a_wrong_clock_showed(sessions: SessionFactory, settings: Settings) -> None:
    fill(sessions, JUMP)
    assert mend_waits(sessions, settings, "sweeper") > 0
    longest = settings.lease_seconds + 4 * settings.channels[0].timeout_seconds
    still = {name: seconds for name, seconds in latest(sessions).items() if seconds > longest}
    assert set(still) == set(), "these still wait for hours"
    with sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "clock_set_back")).one()
    assert set(event.details) <= {str(column) for column in COLUMNS}


def test_a_read_mark_of_a_later_hour_holds_for_no_image_that_comes_after_it(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        then = database_now(session) + JUMP
        uid = add_triaged_study(session, {"Mass": 0.1}, now=then, read_at=then, read_by="dr").study_instance_uid
    mend_waits(sessions, settings, "sweeper")
    with sessions.begin() as session:
        study, now = session.get_one(Study, uid), database_now(session)
        study.last_received_at = now  # an image came
        reopen_failed(session, study, study.runs[0], now)
        assert study.read_at is None


def test_results_of_a_later_hour_are_kept_back_once_an_image_they_rest_on_is_replaced(
    sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        then = database_now(session) + JUMP
        study = add_triaged_study(session, {"Mass": 0.9}, now=then, delivery_state=DeliveryState.PENDING)
        uid = study.study_instance_uid
        session.execute(update(Run).values(started_at=then))
    mend_waits(sessions, settings, "sweeper")
    with sessions.begin() as session:
        study, now = session.get_one(Study, uid), database_now(session)
        assert session.execute(due_deliveries(now)).all()
        (image,) = study.instances
        image.current, study.last_received_at = False, now
        new = add_instance(session, study, received_at=now, version=2, disposition=Disposition.CANDIDATE)
        new.sop_instance_uid = image.sop_instance_uid
    with sessions() as session:
        assert session.execute(due_deliveries(database_now(session))).all() == []


def test_a_wait_that_is_no_longer_than_it_can_be_is_left_alone(sessions: SessionFactory, settings: Settings) -> None:
    fill(sessions, SOON)
    with sessions.begin() as session:  # which are times of what was done, and cannot lie ahead
        past = database_now(session) - SOON
        for row in (Delivery, Notification):
            session.execute(update(row).values(rung_at=past))
        session.execute(update(ProcessHeartbeat).values(seen_at=past))
    assert mend_waits(sessions, settings, "sweeper") == 0


def test_what_was_written_while_the_sweeper_waited_for_its_row_is_no_jump(
    sessions: SessionFactory, settings: Settings
) -> None:
    """An image that arrives at that moment has its study wait for the next ones, as ever."""
    with sessions.begin() as session:
        now = database_now(session)
        due = now + timedelta(seconds=max(settings.quiet_time_seconds, PARK_SECONDS)) + 2 * SOON
        add_study(session, now=now, due_at=due)
    assert mend_waits(sessions, settings, "sweeper") == 0
    with sessions() as session:
        assert session.scalars(select(Study.due_at)).one() == due


def test_a_notification_goes_on_waiting_for_the_end_of_quiet_hours(
    sessions: SessionFactory, make_settings: Callable[..., Settings]
) -> None:
    now = datetime.now(UTC)
    begins, ends = now - timedelta(hours=1), now + timedelta(hours=6)
    quiet = make_settings(webhooks=[CHANNEL | {"quiet_hours": f"{begins:%H:%M}-{ends:%H:%M}"}], time_zone="UTC")
    fill(sessions, JUMP)
    with sessions.begin() as session:
        until = quiet.channels[0].outside_quiet_hours(database_now(session), ZoneInfo("UTC"))
        session.execute(update(Notification).values(next_attempt_at=until))
    mend_waits(sessions, quiet, "sweeper")
    with sessions() as session:
        assert session.scalars(select(Notification.next_attempt_at)).one() == until


def test_a_message_is_looked_at_again_when_its_attempts_say_so(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        now = database_now(session)
        for number, attempts in enumerate((1, 9)):
            session.add(
                InboundMessage(
                    sha256=str(number) * 64, received_at=now, attempts=attempts, next_attempt_at=now + JUMP,
                    peer_address="127.0.0.1", sender="RIS", message_type="ADT^A40", control_id=str(number),
                )
            )  # fmt: skip
    mend_waits(sessions, settings, "sweeper")
    with sessions() as session:
        now = database_now(session)
        waits = dict(session.execute(select(InboundMessage.attempts, InboundMessage.next_attempt_at)).all())
    assert waits[1] is not None and waits[1] <= now
    assert waits[9] is not None and waits[9] > now  # a minute, doubled eight times, is more than two hours


def test_a_commitment_is_asked_for_again_when_its_request_was_not_taken_and_no_sooner(
    sessions: SessionFactory, make_settings: Callable[..., Settings]
) -> None:
    """The wait after a refusal may be set longer than that for an answer."""
    settings = make_settings(
        delivery_first_retry_seconds=600.0, delivery_longest_retry_seconds=600.0, commitment_answer_seconds=5.0
    )
    fill(sessions, SOON)
    with sessions.begin() as session:
        again = database_now(session) + timedelta(seconds=600)
        session.execute(update(Delivery).where(Delivery.state == DeliveryState.SENT).values(commitment_due_at=again))
    mend_waits(sessions, settings, "sweeper")
    with sessions() as session:
        due = select(Delivery.commitment_due_at).where(Delivery.state == DeliveryState.SENT)
        assert set(session.scalars(due)) == {again}


def test_a_service_is_taken_over_from_a_holder_of_a_later_hour(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        assert take_service(session, "sweeper", "dead", JUMP.total_seconds())
    with sessions.begin() as session:
        assert take_service(session, "sweeper", "alive", 20.0)
    with sessions.begin() as session:
        assert not take_service(session, "sweeper", "other", 20.0)


def test_two_that_take_a_service_at_the_same_time_are_not_both_given_it(
    sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions() as session:
        asked_first = database_now(session)
    with sessions.begin() as session:
        assert take_service(session, "sweeper", "second", 20.0)
    monkeypatch.setattr(service_lease, "database_now", lambda _session: asked_first)
    with sessions.begin() as session:  # which asked for the time before and comes to its statement after
        assert not take_service(session, "sweeper", "first", 20.0)


def test_a_sweeper_that_cannot_mend_sweeps_all_the_same_and_tries_again(
    sessions: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        now = database_now(session)
        uid = add_study(session, now=now, due_at=now - SOON).study_instance_uid
    tried: list[str] = []

    def refuse(_sessions: SessionFactory, _settings: Settings, actor: str) -> int:
        tried.append(actor)
        raise OverflowError

    monkeypatch.setattr(sweep, "mend_waits", refuse)
    sweeper = Sweeper(
        settings, sessions, InstanceStore(settings.instances_dir), Bells(lambda *_: None, lambda *_: None, lambda _: 0),
        "sweeper-1",
    )  # fmt: skip
    assert sweeper.take_turn()
    with sessions() as session:
        assert session.get_one(Study, uid).due_at is None, "the study that was due was not looked at"
    sweeper.take_turn()
    assert len(tried) == 2


def test_a_sweeper_mends_at_its_start_and_when_the_clock_is_set_back(
    sessions: SessionFactory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bells = Bells(lambda *_: None, lambda *_: None, lambda _queue: 0)
    sweeper = Sweeper(settings, sessions, InstanceStore(settings.instances_dir), bells, "sweeper-1")
    fill(sessions, JUMP)
    sweeper.take_turn()
    with sessions.begin() as session:
        session.execute(update(DestinationOutage).values(next_attempt_at=database_now(session) + JUMP))
    sweeper.take_turn()
    outage = str(DestinationOutage.next_attempt_at)
    assert latest(sessions)[outage] > JUMP.total_seconds() / 2, "nothing happened to the clock"
    measured = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: measured() + JUMP.total_seconds())
    sweeper.take_turn()  # more time has passed than on the database's clock
    assert latest(sessions)[outage] <= 0


def test_a_watch_tells_a_clock_that_was_set_back_from_one_that_was_set_forward() -> None:
    watch, now = ClockWatch(), datetime.now(UTC)
    seen = [now, now + timedelta(seconds=0.1), now + JUMP, now, now]
    assert [watch.was_set_back(moment) for moment in seen] == [False, False, False, True, False]


def test_who_holds_a_run_keeps_it(sessions: SessionFactory, settings: Settings) -> None:
    with sessions.begin() as session:
        study = add_triaged_study(session, {"Mass": 0.9}, now=database_now(session))
        uid = study.study_instance_uid
        session.execute(update(Run).values(state=RunState.QUEUED))
    with sessions.begin() as session:
        assert claim_run(session, uid, "alive", settings) is not None
        session.execute(update(Run).values(lease_until=database_now(session) + JUMP))
    mend_waits(sessions, settings, "sweeper")
    with sessions.begin() as session:
        assert claim_run(session, uid, "other", settings) is None
