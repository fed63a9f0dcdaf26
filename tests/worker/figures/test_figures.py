"""The numbers of the operations page, on SQLite and PostgreSQL, against what can be counted by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from study_rows import NOW, add_instance, add_study, add_triaged_study

from model.labels import LABELS
from worker.figures.agreement import agreement_figures
from worker.figures.alarms import day_figures, preview, thresholds_in_use
from worker.figures.drift import drift_of, model_versions
from worker.figures.flow import destination_figures, failed_studies, failure_figures, hour_figures, queue_figures
from worker.figures.intervals import differ, population_stability_index, share
from worker.figures.latency import stage_figures
from worker.figures.machines import disk_figures, process_figures
from worker.figures.reviewed_truth import reviewed_findings
from worker.figures.sources import source_figures
from worker.figures.suitability import suitability_figures
from worker.rows.database import SessionFactory
from worker.rows.delivery_tables import Delivery
from worker.rows.heartbeat import Heartbeat
from worker.rows.run_tables import Prediction, Run
from worker.rows.site_tables import ProcessHeartbeat
from worker.rows.states import DeliveryState, RunState, StudyState
from worker.rows.study_tables import Review, Study
from worker.runs.policy import Policy
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def test_a_queue_says_how_much_waits_how_long_and_what_was_abandoned(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for seconds in (40, 10):
            add_run(session, queue="stat", state=RunState.QUEUED, queued_at=NOW - seconds * SECOND)
        add_run(session, queue="stat", state=RunState.RUNNING, queued_at=NOW, lease_until=NOW + SECOND)
        add_run(session, queue="routine", state=RunState.RUNNING, queued_at=NOW, lease_until=NOW - SECOND)
        add_run(session, queue="routine", state=RunState.DONE, queued_at=NOW)
    with sessions() as session:
        stat, routine, shadow = queue_figures(session, NOW)
    assert (stat.waiting, stat.oldest_seconds, stat.running, stat.abandoned) == (2, 40, 1, 0)
    assert (routine.waiting, routine.oldest_seconds, routine.running, routine.abandoned) == (0, None, 1, 1)
    assert (shadow.waiting, shadow.running) == (0, 0)


def add_run(session: Session, **fields: Any) -> Run:
    study = add_study(session)
    run = Run(study_instance_uid=study.study_instance_uid, run_number=1, timings_seconds={}, **fields)
    session.add(run)
    session.flush()
    return run


def test_hours_count_what_came_and_what_was_answered_also_hours_without_anything(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for minutes in (5, 20, 29.99, 31, 60 * 23 + 29):
            add_triaged_study(session, {"Mass": 0.1}, minutes_ago=minutes)
        add_triaged_study(session, {"Mass": 0.1}, minutes_ago=60 * 24)
        add_study(session, minutes_ago=3)
    with sessions() as session:
        hours = hour_figures(session, NOW)
    assert (len(hours), hours[-1].start) == (24, NOW.replace(minute=0))
    assert [(hour.received, hour.answered) for hour in hours] == [(1, 1)] + [(0, 0)] * 21 + [(1, 1), (4, 3)]


def test_failures_are_counted_by_reason_until_somebody_has_read_them(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for minutes in (9, 4):
            add_study(session, minutes_ago=minutes, state=StudyState.FAILED, reason_code="storage", reason="Disk full.")
        add_study(session, state=StudyState.NOT_ANALYSED, reason_code="age", reason="Too young.")
        add_study(session, state=StudyState.FAILED, reason_code="poison", read_at=NOW, read_by="x")
    with sessions() as session:
        figures = failure_figures(session)
        listed = failed_studies(session, "storage")
    assert [(item.state, item.reason_code, item.studies) for item in figures] == [
        ("failed", "storage", 2),
        ("not_analysed", "age", 1),
    ]
    assert figures[0].latest == NOW - timedelta(minutes=4)
    assert [item.last_received_at for item in listed] == [NOW - timedelta(minutes=4), NOW - timedelta(minutes=9)]


def test_a_destination_says_what_waits_what_it_took_and_what_it_refused(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        add_triaged_study(session, {"Pneumothorax": 0.9}, minutes_ago=10, delivery_state=DeliveryState.PENDING)
        session.execute(update(Delivery).values(unreachable=True))
        add_triaged_study(session, {"Mass": 0.1}, delivery_state=DeliveryState.REFUSED)
        add_triaged_study(session, {"Mass": 0.1}, delivery_state=DeliveryState.SENT)
        add_triaged_study(session, {"Mass": 0.1}, delivery_state=DeliveryState.COMMITTED, minutes_ago=60 * 30)
    with sessions() as session:
        (pacs,) = destination_figures(session, NOW, ["pacs"])
        quiet, gone = destination_figures(session, NOW, ["other"])
    assert (pacs.pending, pacs.oldest_pending_seconds, pacs.unreachable) == (2, 600, 2)
    assert (pacs.refused, pacs.failed, pacs.delivered_last_day) == (1, 0, 1)
    assert (quiet.name, quiet.pending, quiet.last_sent_at) == ("other", 0, None)
    assert (gone.name, gone.pending) == ("pacs", 2), "what waits for a destination no longer configured is shown"


def test_stages_run_from_the_last_image_to_the_last_destination(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for number in range(1, 101):
            study = add_triaged_study(session, {"Mass": 0.1})
            run = session.get_one(Run, study.current_run_id)
            run.queued_at = study.last_received_at + 2 * SECOND
            run.started_at = run.queued_at + number * SECOND
            run.timings_seconds = {"read": 0.1, "classify": 0.2, "total": 0.35}
            run.finished_at = run.started_at + 0.5 * SECOND
            for result in run.results:
                result.deliveries[0].sent_at = run.finished_at + 3 * SECOND
        waits = add_triaged_study(session, {"Mass": 0.1}, delivery_state=DeliveryState.PENDING)
        waits.last_received_at = NOW  # an image that came later belongs to the next run
    with sessions() as session:
        stages = {stage.name: stage for stage in stage_figures(session, NOW - HOUR)}
    assert list(stages) == ["complete", "queue", "read", "classify", "record", "deliver", "analysed", "stored"]
    assert (stages["complete"].runs, stages["complete"].p50) == (100, 2)
    queue = stages["queue"]
    assert (queue.p50, queue.p95, queue.p99, queue.longest) == (50.5, pytest.approx(95.05), pytest.approx(99.01), 100)
    assert stages["record"].p50 == pytest.approx(0.2)
    assert stages["deliver"].p99 == pytest.approx(3)
    assert stages["stored"].longest == pytest.approx(2 + 100 + 0.5 + 3)


def test_a_device_is_silent_when_studies_are_missing_that_used_to_come_at_these_hours(
    sessions: SessionFactory,
) -> None:
    with sessions.begin() as session:
        for days_ago in range(1, 29):
            for hour in (4, 5, 6, 7, 8):
                came = NOW.replace(hour=hour, minute=10) - days_ago * DAY
                for station in ("DEAD", "ALIVE"):
                    add_source_study(session, station, came)
            add_source_study(session, "NIGHT", NOW.replace(hour=1) - days_ago * DAY)
        for hour in (4, 6, 8):
            add_source_study(session, "ALIVE", NOW.replace(hour=hour, minute=30))
        add_source_study(session, "NIGHT", NOW.replace(hour=1))
        add_source_study(session, "NEW", NOW - 9 * HOUR)
    with sessions() as session:
        figures = {item.station_name: item for item in source_figures(session, NOW)}
    assert [name for name, item in figures.items() if item.silent] == ["DEAD"] == list(figures)[:1]
    assert (figures["DEAD"].expected_since, figures["DEAD"].studies_last_day) == (5, 0)
    assert figures["DEAD"].silent_seconds == pytest.approx(timedelta(days=1, hours=1, minutes=20).total_seconds())
    assert figures["ALIVE"].expected_since == 0
    assert figures["NIGHT"].expected_since == 0
    assert figures["NEW"].expected_since == 0, "no earlier week to compare with"


def add_source_study(session: Session, station: str, received: datetime) -> None:
    add_study(session, minutes_ago=(NOW - received) / timedelta(minutes=1), station_name=station)


def test_a_process_that_stopped_giving_signs_is_shown_and_one_that_ended_is_not(
    sessions: SessionFactory, settings: Settings
) -> None:
    with Heartbeat(sessions, "here:1", "listener"), Heartbeat(sessions, "here:2", "triage worker", lambda: "openvino"):
        wait_for(lambda: len(seen(sessions)) == 2)
        with sessions.begin() as session:
            add_run(session, state=RunState.RUNNING, queued_at=NOW, lease_until=NOW + DAY * 9999, worker_name="here:2")
        assert [(item.name, item.alive, item.in_hand) for item in seen(sessions)] == [
            ("here:1", True, 0),
            ("here:2", True, 1),
        ]
        with sessions.begin() as session:
            session.get_one(ProcessHeartbeat, "here:2").seen_at -= timedelta(minutes=2)
        assert [(item.name, item.alive) for item in seen(sessions)] == [("here:2", False), ("here:1", True)]
    assert seen(sessions) == []
    settings.data_dir.mkdir()
    with sessions.begin() as session:
        study = add_study(session, minutes_ago=60)
        add_instance(session, study, bytes=7_000_000_000)
        disk = disk_figures(session, settings, NOW)
    assert disk is not None
    assert disk.days_left == pytest.approx(disk.free / 1e9)


def seen(sessions: SessionFactory) -> Sequence[Any]:
    from worker.rows.database import database_now

    with sessions() as session:
        return process_figures(session, database_now(session))


def wait_for(condition: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_shares_and_the_stability_index_are_the_published_ones() -> None:
    # Newcombe 1998 (Stat Med 17:857), table I, method 3
    assert [round(value, 4) for value in (share(81, 263).low, share(81, 263).high)] == [0.2553, 0.3662]
    assert [round(value, 4) for value in (share(0, 20).low, share(0, 20).high)] == [0.0, 0.1611]
    assert (share(0, 0).low, share(0, 0).high, share(0, 0).fraction) == (0, 1, None)
    # (0.5 - 0.3) ln (5 / 3) + (0.5 - 0.7) ln (5 / 7)
    assert population_stability_index((2, 2), (1, 3)) == pytest.approx(0.169460, abs=1e-6)
    assert population_stability_index((5, 5), (50, 50)) == 0


def test_two_histograms_differ_beyond_the_quantile_of_chi_squared() -> None:
    # one degree of freedom: 10.83. (30, 70) against (52, 48) gives 9.99, against (54, 46) gives 11.82
    assert not differ((30, 70), (52, 48))
    assert differ((30, 70), (54, 46))
    # five degrees: 20.52; bins with less than ten counts go into their neighbour
    assert not differ((40, 0, 3, 1, 30), (45, 2, 0, 4, 25))
    assert not differ((5, 0), (0, 4)), "too few to say"
    chance = random.Random(8)
    draws = [Counter(chance.randrange(11) for _ in range(400)) for _ in range(400)]
    histograms = [[draw[place] for place in range(11)] for draw in draws]
    assert sum(differ(one, other) for one, other in zip(histograms[::2], histograms[1::2], strict=True)) <= 2


def test_a_model_that_sees_otherwise_than_at_first_is_told_from_chance(sessions: SessionFactory) -> None:
    chance = random.Random(6)
    with sessions.begin() as session:
        for days_ago in (*[20] * 300, *[2] * 300):
            drifted = days_ago == 2
            mass = chance.random() ** (1 if drifted else 3)
            fields = {"minutes_ago": days_ago * 1440 + chance.random(), "delivery_state": None}
            ward = chance.random() < 0.5
            effusion = 0.9 if chance.random() < (0.6 if ward and drifted else 0.2) else 0.1
            add_triaged_study(
                session,
                {"Mass": mass, "Effusion": effusion, "Nodule": chance.random()},
                calling_ae_title="WARD" if ward else "CLINIC",
                **fields,
            )
    with sessions() as session:
        (version,) = model_versions(session, NOW - 7 * DAY)
        drift = drift_of(session, version, NOW - 7 * DAY)
        young = drift_of(session, version, NOW - 28 * DAY)
    assert (drift.runs, drift.baseline_runs, sorted(drift.sources)) == (300, 300, ["CLINIC", "WARD"])
    assert [item.finding for item in drift.findings] == ["Effusion", "Mass", "Nodule"]
    effusion, mass, nodule = drift.findings
    assert (sum(mass.now), sum(mass.baseline)) == (300, 300)
    assert (mass.shifted, nodule.shifted) == (True, False)
    assert (effusion.by_source["WARD"].notable, effusion.by_source["CLINIC"].notable) == (True, False)
    assert young.baseline_until is None
    assert not any(item.shifted for item in young.findings), "nothing to compare with"


def test_a_preview_says_what_the_policy_itself_would_have_said(sessions: SessionFactory) -> None:
    chance = random.Random(7)
    studies = [{label: chance.random() for label in LABELS} for _ in range(60)]
    thresholds = {label: 0.5 + 0.4 * chance.random() for label in LABELS if label != "Hernia"}
    with sessions.begin() as session:
        for said in studies:
            add_triaged_study(session, said, minutes_ago=60, delivery_state=None)
        add_triaged_study(session, {"Pneumothorax": 0.99}, minutes_ago=60 * 24 * 31, delivery_state=None)
        add_triaged_study(session, {"Pneumothorax": 0.99}, historical=True, delivery_state=None)
    policy = Policy({label: thresholds.get(label) for label in LABELS})
    assessed = [policy.assess([[said[label] for label in LABELS]]) for said in studies]
    with sessions() as session:
        (version,) = model_versions(session, NOW - DAY)
        seen = preview(session, NOW, version, thresholds)
        nothing = preview(session, NOW, version, {})
        in_use = thresholds_in_use(session, version)
    assert {name: count for name, count in seen.by_priority.items() if count} == Counter(
        str(assessment.priority) for assessment in assessed
    )
    assert seen.by_finding == Counter(finding.label for assessment in assessed for finding in assessment.flagged)
    assert seen.studies == nothing.studies == nothing.by_priority["ROUTINE"] == 60
    assert set(in_use.values()) == {0.6}


def test_a_preview_never_holds_one_models_words_against_anothers_thresholds(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for said, version, threshold in ((0.5, "one", 0.6), (0.05, "other", 0.04)):
            run = add_triaged_study(session, {"Mass": said}, minutes_ago=60, delivery_state=None).current_run_id
            session.execute(update(Run).where(Run.id == run).values(model_version=version))
            session.execute(update(Prediction).where(Prediction.run_id == run).values(threshold=threshold))
    with sessions() as session:
        for version, flagged in (("one", 0), ("other", 1)):
            seen = preview(session, NOW, version, thresholds_in_use(session, version))
            assert (seen.studies, seen.by_finding.get("Mass", 0)) == (1, flagged)


def test_flags_are_counted_by_day(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        for minutes, flagged in ((60, True), (90, False), (60 * 24, False), (60 * 24 * 40, True)):
            add_triaged_study(session, {"Mass": 0.1}, minutes_ago=minutes, flagged_at=NOW if flagged else None)
        add_triaged_study(session, {"Mass": 0.1}, historical=True)
    with sessions() as session:
        days = day_figures(session, NOW)
    assert [(f"{day.day:%m-%d}", day.flagged.count, day.flagged.total) for day in days] == [
        ("03-01", 0, 1),
        ("03-02", 1, 2),
    ]


def test_the_last_word_on_a_finding_counts_and_says_what_is_there(sessions: SessionFactory) -> None:
    words = (
        ("Pneumothorax", "disagree"), ("Pneumothorax", "agree"),  # flagged: there
        ("Effusion", "disagree"),  # flagged: not there
        ("Mass", "agree"),  # not flagged: not there
        ("Nodule", "disagree"),  # not flagged: there
        ("Hernia", "missed"),  # not known to the model: there
        (None, "comment"),
    )  # fmt: skip
    with sessions.begin() as session:
        study = add_triaged_study(session, {"Pneumothorax": 0.9, "Effusion": 0.8, "Mass": 0.2, "Nodule": 0.3})
        for finding, verdict in words:
            session.add(
                Review(
                    study_instance_uid=study.study_instance_uid, run_id=study.current_run_id, finding=finding,
                    verdict=verdict, reviewer="anna", created_at=NOW,
                )
            )  # fmt: skip
            session.flush()
    with sessions() as session:
        reviewed = reviewed_findings(session)
        assert reviewed_findings(session, NOW + SECOND) == []
    assert {item.finding: item.present for item in reviewed} == {
        "Pneumothorax": True, "Effusion": False, "Mass": False, "Nodule": True, "Hernia": True,
    }  # fmt: skip
    assert {item.finding: item.probability for item in reviewed}["Hernia"] is None
    figures = {item.finding: item for item in agreement_figures(reviewed)}
    assert [name for name, item in figures.items() if item.agreement.count] == ["Mass", "Pneumothorax"]
    assert (figures["Effusion"].wrongly_flagged, figures["Hernia"].missed, figures["Nodule"].missed) == (1, 1, 1)


def test_pictures_that_a_person_had_to_look_at_are_counted_by_source(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        study = add_study(session, minutes_ago=5, station_name="ROOM-1")
        for disposition, verdict in (
            ("analysed", "frontal"), ("not_analysed", "inverted"), ("not_analysed", "inverted"),
            ("out_of_scope", "not_frontal"), ("candidate", None),
        ):  # fmt: skip
            add_instance(session, study, disposition=disposition, image_verdict=verdict)
    with sessions() as session:
        (room,) = suitability_figures(session, NOW - HOUR)
    assert (room.source, room.rejected.count, room.rejected.total) == ("MODALITY1 / ROOM-1", 3, 4)
    assert room.by_verdict == (("inverted", 2), ("not_frontal", 1))


def test_runs_in_the_shadow_count_nowhere(sessions: SessionFactory) -> None:
    with sessions.begin() as session:
        study = add_triaged_study(session, {"Mass": 0.1}, minutes_ago=5)
        session.execute(update(Run).where(Run.id == study.current_run_id).values(shadow=True))
        assert stage_figures(session, NOW - HOUR) == []
        assert model_versions(session, NOW - HOUR) == []
        assert sum(hour.answered for hour in hour_figures(session, NOW)) == 0
        assert thresholds_in_use(session, session.get_one(Run, study.current_run_id).model_version or "") == {}
        assert session.query(Prediction).count() == 14
        assert session.query(Study).count() == 1
