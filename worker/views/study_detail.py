"""Everything the database knows about one study, as frozen values for the terminal, the JSON API and the study page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.foundation.reasons import ReasonCode
from worker.rows.delivery_tables import Delivery
from worker.rows.events import VIEWED
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState, Disposition, RunState
from worker.rows.study_tables import Instance, Study
from worker.views.presentation import result_text, suitability_text
from worker.views.studies import StudyLine, study_lines


@dataclass(frozen=True)
class InstanceDetail:
    """One received instance; ``path`` is relative to the folder of received instances."""

    id: int
    sop_instance_uid: str
    version: int
    current: bool
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    bytes: int
    sha256: str
    calling_ae_title: str
    received_at: datetime
    disposition: str
    reason_code: str | None
    reason: str | None
    image_verdict: str | None
    """What the picture looks like (``model.suitability.Verdict``); None = not checked."""
    image_score: float | None
    image_distance: float | None
    deleted_at: datetime | None = None
    """When retention deleted the file; None = it is kept."""

    @property
    def suitability(self) -> str:
        """What the suitability check made of the picture, in words."""
        return suitability_text(self.image_verdict, self.image_score, self.image_distance)


@dataclass(frozen=True)
class PredictionDetail:
    """One finding in one instance; None = the bundle was not trained on it (never the same as 0)."""

    instance_id: int
    sop_instance_uid: str
    finding: str
    probability: float | None
    threshold: float | None
    flagged: bool


@dataclass(frozen=True)
class DeliveryDetail:
    """One result on its way to one destination; ``last_status`` is the last DIMSE status, None for HL7."""

    id: int
    destination: str
    state: str
    attempts: int
    last_status: int | None
    last_comment: str | None
    next_attempt_at: datetime | None
    sent_at: datetime | None
    commitment_due_at: datetime | None
    """When the destination is asked (again) whether it keeps the object; None = no question is open."""
    commitment_requests: int
    committed_at: datetime | None
    rejection_note_uid: str | None
    """SOP Instance UID of the note or withdrawal that takes it back."""

    @property
    def settled(self) -> bool:
        """Whether the destination has it, and has committed to keep it where that is asked for."""
        return self.state == DeliveryState.COMMITTED or (
            self.state == DeliveryState.SENT and self.commitment_due_at is None
        )

    @property
    def commitment(self) -> str:
        """How far storage commitment is, in words; empty where it is not asked for."""
        if self.state == DeliveryState.COMMITTED:
            return "committed"
        if self.state != DeliveryState.SENT or self.commitment_due_at is None:
            return ""
        return f"not committed yet, asked {self.commitment_requests} times"


@dataclass(frozen=True)
class ResultDetail:
    """One generated DICOM object; ``path`` is relative to the folder of results."""

    id: int
    kind: str
    finding: str | None
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: str
    bytes: int
    sha256: str
    created_at: datetime
    deliveries: tuple[DeliveryDetail, ...]


@dataclass(frozen=True)
class RunDetail:
    """One analysis; ``timings_seconds`` by stage."""

    id: int
    run_number: int
    bundle: str
    trigger: str
    state: str
    current: bool
    shadow: bool
    attempts: int
    worker_name: str | None
    model_version: str | None
    policy_hash: str | None
    timings_seconds: dict[str, Any]
    outcome: str | None
    priority: str | None
    reason_code: str | None
    reason: str | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    predictions: tuple[PredictionDetail, ...]
    results: tuple[ResultDetail, ...]


@dataclass(frozen=True)
class EventDetail:
    """One line of the audit trail; who looked at the study stands in the listing of events only."""

    at: datetime
    actor: str
    kind: str
    run_id: int | None
    from_state: str | None
    to_state: str | None
    reason: str | None
    about: str
    """Which object and which destination: ``secondary capture of Mass to archive``; empty where it is about neither."""


@dataclass(frozen=True)
class StudyDetail:
    """One study with everything that hangs on it; ``runs`` newest first."""

    line: StudyLine
    patient_name_as_received: str
    patient_birth_date: str
    issuer_of_patient_id: str
    referring_physician_name: str
    order_priority: str
    called_ae_title: str
    due_at: datetime | None
    instances: tuple[InstanceDetail, ...]
    runs: tuple[RunDetail, ...]
    events: tuple[EventDetail, ...]

    @property
    def images_deleted_at(self) -> datetime | None:
        """When retention deleted images of it that a person might want to see; None = none are deleted."""
        gone = (item.deleted_at for item in self.instances if item.current and item.disposition != Disposition.IGNORED)
        return max((moment for moment in gone if moment is not None), default=None)

    @property
    def current_run(self) -> RunDetail | None:
        """The run whose results count now."""
        return next((run for run in self.runs if run.current), None)

    @property
    def ended_its_process(self) -> bool:
        """Whether an analysis ended or stopped its process, as far as can be known, and none has come through since."""
        for run in sorted(self.runs, key=lambda run: run.run_number, reverse=True):
            if run.state in (RunState.DONE, RunState.SUPERSEDED):
                return False
            if run.reason_code == ReasonCode.POISON or run.attempts > 1:
                return True
        return False

    @property
    def taken_back(self) -> int:
        """How many objects and messages, of all runs, were taken back where they had been sent."""
        return len(self._rejected)

    @property
    def leftovers(self) -> int:
        """How many of these whose archive or receiver has not been told yet."""
        told = {
            (result.sop_instance_uid, item.destination)
            for run in self.runs
            for result in run.results
            for item in result.deliveries
            if item.state in (DeliveryState.SENT, DeliveryState.COMMITTED)
        }
        return sum((item.rejection_note_uid, item.destination) not in told for item in self._rejected)

    @property
    def _rejected(self) -> list[DeliveryDetail]:
        deliveries = (item for run in self.runs for result in run.results for item in result.deliveries)
        return [item for item in deliveries if item.state == DeliveryState.REJECTED]


def study_detail(session: Session, study_instance_uid: str, now: datetime, upper_wait: timedelta) -> StudyDetail | None:
    """Return everything about one study, or None when the database has no such Study Instance UID."""
    study = session.get(Study, study_instance_uid)
    if study is None:
        return None
    told = select(Event).where(Event.study_instance_uid == study_instance_uid, Event.kind != VIEWED)
    events, parcels = session.scalars(told.order_by(Event.id)), _parcels(study)
    return StudyDetail(
        line=study_lines(session, [study], now, upper_wait)[0],
        patient_name_as_received=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        issuer_of_patient_id=study.issuer_of_patient_id,
        referring_physician_name=study.referring_physician_name,
        order_priority=study.order_priority,
        called_ae_title=study.called_ae_title,
        due_at=study.due_at,
        instances=tuple(_instance(instance) for instance in study.instances),
        runs=tuple(_run(run, run.id == study.current_run_id) for run in reversed(study.runs)),
        events=tuple(_event(event, parcels) for event in events),
    )


def _instance(row: Instance) -> InstanceDetail:
    return InstanceDetail(
        row.id, row.sop_instance_uid, row.version, row.current, row.series_instance_uid, row.sop_class_uid,
        row.transfer_syntax_uid, row.path, row.bytes, row.sha256, row.calling_ae_title, row.received_at,
        row.disposition, row.reason_code, row.reason, row.image_verdict, row.image_score, row.image_distance,
        row.deleted_at,
    )  # fmt: skip


def _run(row: Run, current: bool) -> RunDetail:
    return RunDetail(
        row.id, row.run_number, row.bundle, row.trigger, row.state, current, row.shadow, row.attempts,
        row.worker_name, row.model_version, row.policy_hash, dict(row.timings_seconds), row.outcome, row.priority,
        row.reason_code, row.reason, row.queued_at, row.started_at, row.finished_at,
        tuple(_prediction(prediction) for prediction in row.predictions),
        tuple(_result(result) for result in row.results),
    )  # fmt: skip


def _prediction(row: Prediction) -> PredictionDetail:
    return PredictionDetail(
        row.instance_id, row.instance.sop_instance_uid, row.finding, row.probability, row.threshold, row.flagged
    )


def _result(row: Result) -> ResultDetail:
    return ResultDetail(
        row.id, row.kind, row.finding, row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid, row.path,
        row.bytes, row.sha256, row.created_at, tuple(_delivery(delivery) for delivery in row.deliveries),
    )  # fmt: skip


def _delivery(row: Delivery) -> DeliveryDetail:
    return DeliveryDetail(
        row.id, row.destination, row.state, row.attempts, row.last_status, row.last_comment, row.next_attempt_at,
        row.sent_at, row.commitment_due_at, row.commitment_requests, row.committed_at,
        row.rejection_note_uid,
    )  # fmt: skip


def _parcels(study: Study) -> dict[int, str]:
    """Return in words what each delivery brings where, by its row id."""
    results = (result for run in study.runs for result in run.results)
    return {
        delivery.id: f"{result_text(result.kind, result.finding)} to {delivery.destination}"
        for result in results
        for delivery in result.deliveries
    }


def _event(row: Event, parcels: Mapping[int, str]) -> EventDetail:
    about = parcels.get(row.details.get("delivery_id", 0), "")
    return EventDetail(row.at, row.actor, row.kind, row.run_id, row.from_state, row.to_state, row.reason, about)
