"""Rows for tests of lists and pages: studies in every state, as the worker would have written them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factories import sha256_of
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, Disposition, Priority, ResultKind, RunState, StudyState
from worker.rows.study_tables import Instance, Study

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THRESHOLD = 0.6
_numbers = itertools.count(1)


def now() -> datetime:
    """Return the time at which most rows of a test are written."""
    return datetime.now(UTC)


def fresh_uid() -> str:
    """Return a UID no other row of this test run has."""
    return f"2.25.{next(_numbers)}"


def add_study(session: Session, *, minutes_ago: float = 5, now: datetime = NOW, **fields: Any) -> Study:
    """Add a study that was received ``minutes_ago`` before ``now``; keywords replace its other columns."""
    number = next(_numbers)
    received = now - timedelta(minutes=minutes_ago)
    values: dict[str, Any] = {
        "study_instance_uid": fresh_uid(),
        "patient_id": f"PID-{number:04d}",
        "patient_name": f"EXAMPLE^PATIENT {number}",
        "patient_age": "063Y",
        "patient_sex": "F",
        "accession_number": f"ACC{number:05d}",
        "study_date": "20260302",
        "study_description": "XR CHEST 2 VIEWS",
        "calling_ae_title": "MODALITY1",
        "called_ae_title": "CXRAI",
        "first_received_at": received,
        "last_received_at": received,
        "state": StudyState.RECEIVING,
    }
    study = Study(**(values | fields))
    session.add(study)
    session.flush()
    return study


def add_instance(session: Session, study: Study, **fields: Any) -> Instance:
    """Add a received DX image to the study."""
    values: dict[str, Any] = {
        "sop_instance_uid": fresh_uid(),
        "study_instance_uid": study.study_instance_uid,
        "series_instance_uid": fresh_uid(),
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": "nowhere.dcm",
        "bytes": 4_200_000,
        "sha256": "0" * 64,
        "received_at": study.first_received_at,
        "disposition": Disposition.ANALYSED,
    }
    instance = Instance(**(values | fields))
    session.add(instance)
    session.flush()
    return instance


def stored_as(path: Path) -> dict[str, str]:
    """Return the columns that name a file of the store and say what was written into it."""
    return {"path": path.name, "sha256": sha256_of(path)}


def add_triaged_study(
    session: Session,
    probabilities: Mapping[str, float],
    *,
    delivery_state: DeliveryState | None = DeliveryState.SENT,
    minutes_ago: float = 5,
    now: datetime = NOW,
    **fields: Any,
) -> Study:
    """Add an analysed study with its run, predictions, SR and SC results, deliveries and events.

    Findings at or above 0.6 are flagged; labels not named are unknown to the model. Pneumothorax makes it STAT, any
    other flagged finding URGENT, none ROUTINE.
    """
    flagged = sorted((label for label, p in probabilities.items() if p >= THRESHOLD), key=lambda k: -probabilities[k])
    priority = Priority.STAT if "Pneumothorax" in flagged else Priority.URGENT if flagged else Priority.ROUTINE
    top = flagged[0] if flagged else None
    reason = (
        f"{top} {probabilities[top]:.0%} (threshold {THRESHOLD:.0%})" if top else "No finding at or above threshold"
    )
    study = add_study(
        session,
        minutes_ago=minutes_ago,
        now=now,
        **{"state": StudyState.TRIAGED, "priority": priority, "priority_reason": reason} | fields,
    )
    instance = add_instance(session, study)
    run = _add_run(session, study)
    for label in LABELS:
        probability = probabilities.get(label)
        threshold = None if probability is None else THRESHOLD
        session.add(
            Prediction(
                run_id=run.id,
                instance_id=instance.id,
                finding=label,
                probability=probability,
                threshold=threshold,
                flagged=label in flagged,
            )
        )
    for finding in (None, *flagged):
        add_result(session, run, finding, delivery_state)
    _add_events(session, study, run)
    session.flush()
    return study


def _add_run(session: Session, study: Study) -> Run:
    started = study.first_received_at + timedelta(seconds=0.6)
    run = Run(
        study_instance_uid=study.study_instance_uid,
        run_number=1,
        state=RunState.DONE,
        attempts=1,
        worker_name="host:4711",
        model_version="0.1.0+weights.0a1b2c3d",
        timings_seconds={"decode": 0.112, "inference": 0.061, "build": 0.084, "total": 0.271},
        outcome="triaged",
        priority=study.priority,
        queued_at=study.first_received_at,
        started_at=started,
        finished_at=started + timedelta(seconds=0.271),
    )
    session.add(run)
    session.flush()
    study.current_run_id = run.id
    return run


def add_result(session: Session, run: Run, finding: str | None, delivery_state: DeliveryState | None) -> None:
    """Add a result of a run, the report or a finding's picture, and its delivery where a state is given."""
    kind = ResultKind.SECONDARY_CAPTURE if finding else ResultKind.STRUCTURED_REPORT
    result = Result(
        run_id=run.id,
        kind=kind,
        finding=finding,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7" if finding else "1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid=fresh_uid(),
        series_instance_uid=fresh_uid(),
        path="nowhere.dcm",
        bytes=12_000,
        sha256="0" * 64,
        created_at=run.queued_at,
    )
    session.add(result)
    session.flush()
    if delivery_state is None:
        return
    sent = delivery_state in (DeliveryState.SENT, DeliveryState.COMMITTED)
    status = 0x0000 if sent else 0xA700 if delivery_state == DeliveryState.REFUSED else None
    session.add(
        Delivery(
            result_id=result.id,
            destination="pacs",
            state=delivery_state,
            attempts=1 if status is not None else 0,
            last_status=status,
            last_comment=None if status in (0, None) else "out of resources",
            sent_at=run.queued_at + timedelta(seconds=1) if sent else None,
        )
    )


def _add_events(session: Session, study: Study, run: Run) -> None:
    changes = (
        ("received", "listener", None, StudyState.RECEIVING, 0.0),
        ("queued", "sweeper", StudyState.RECEIVING, StudyState.QUEUED, 0.5),
        ("claimed", "host:4711", StudyState.QUEUED, StudyState.TRIAGING, 0.6),
        ("triaged", "host:4711", StudyState.TRIAGING, StudyState.TRIAGED, 0.9),
    )
    for kind, actor, before, after, seconds in changes:
        session.add(
            Event(
                at=study.first_received_at + timedelta(seconds=seconds),
                kind=kind,
                actor=actor,
                run_id=run.id,
                study_instance_uid=study.study_instance_uid,
                from_state=before,
                to_state=after,
                reason=study.priority_reason if kind == "triaged" else None,
                details={},
            )
        )
