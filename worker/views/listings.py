"""What can be listed row by row, for programs and administrators: the same rows over HTTP and in the terminal.

A listing is flat: one row, one line of CSV. Its rows stand in the order of a key that never changes and never repeats,
so that somebody who reads page after page sees every row once, whatever is written meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Date,
    Float,
    FromClause,
    Integer,
    String,
    TableClause,
    and_,
    column,
    select,
    table,
)
from sqlalchemy.orm import InstrumentedAttribute

from migrations.current_views import WORKLIST
from model.labels import LABELS
from worker.rows.base import UtcDateTime
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import (
    DeliveryState,
    Priority,
    ResultKind,
    ReviewVerdict,
    RunState,
    RunTrigger,
    StudyState,
)
from worker.rows.study_tables import Instance, Review, Study

Expression = ColumnElement[Any] | InstrumentedAttribute[Any]
Condition = Callable[[Any], ColumnElement[bool]]


@dataclass(frozen=True)
class Column:
    """One column of a listing."""

    expression: Expression
    meaning: str
    patient: bool = False
    """True: identifies a patient or may quote one; left empty for readers who must see none."""

    @property
    def python_type(self) -> type:
        """The type of its values as JSON has them."""
        kind = self.expression.type.python_type
        return str if issubclass(kind, date) else kind


@dataclass(frozen=True)
class Filter:
    """One way to narrow a listing."""

    kind: type
    meaning: str
    condition: Condition
    values: tuple[str, ...] = ()
    """All there can be; empty = any text."""
    patient: bool = False
    """True: who narrows by it learns whose a study is; refused to readers who must see no patient."""


@dataclass(frozen=True)
class Listing:
    """One kind of rows, in the order of `key`."""

    name: str
    title: str
    columns: Mapping[str, Column]
    source: FromClause
    key: tuple[str, ...]
    """Names of the columns that order the rows, together unique and never changed."""
    time: str
    """Name of the column that ``since`` and ``until`` mean."""
    brief: tuple[str, ...]
    """Names of the columns that a terminal has room for."""
    filters: Mapping[str, Filter]

    def expression(self, name: str) -> Expression:
        """Return the SQL of a column."""
        return self.columns[name].expression


def _equals(
    expression: Expression, meaning: str, kind: type = str, values: Iterable[str] = (), *, patient: bool = False
) -> Filter:
    return Filter(kind, meaning, lambda value: expression == value, tuple(values), patient)


_PATIENT_COLUMNS = frozenset(
    {"patient_id", "patient_name", "patient_birth_date", "patient_sex", "accession_number", "study_description"}
)
_VIEW_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("list_order", "results", "leftovers", "instances", "run_number"), Integer()),
    **dict.fromkeys(("historical", "patient_id_missing"), Boolean()),
    **dict.fromkeys(("priority_rank", "received_hours_ago", "seconds_to_triage", "seconds_to_read"), Float()),
    "received_on": Date(),
}


def _view_type(name: str) -> Any:
    return UtcDateTime() if name.endswith("_at") else _VIEW_TYPES.get(name, String())


def _studies() -> Listing:
    view: TableClause = table("triage_worklist", *(column(name, _view_type(name)) for name in WORKLIST.columns))
    columns = {
        name: Column(view.c[name], meaning, name in _PATIENT_COLUMNS) for name, (_, meaning) in WORKLIST.columns.items()
    }

    def flagged(finding: str) -> ColumnElement[bool]:
        flags = and_(Prediction.run_id == Study.current_run_id, Prediction.finding == finding, Prediction.flagged)
        return view.c.study_instance_uid.in_(select(Study.study_instance_uid).join(Prediction, flags))

    def unread(wanted: bool) -> ColumnElement[bool]:
        return view.c.read_at.is_(None) if wanted else view.c.read_at.is_not(None)

    return Listing(
        "studies",
        "Studies received, as in the view triage_worklist",
        columns,
        view,
        ("first_received_at", "study_instance_uid"),
        "first_received_at",
        ("first_received_at", "priority", "state", "reason_code", "findings", "patient_name", "study_instance_uid"),
        {
            "state": _equals(view.c.state, "triaged, not_analysed, failed, held ...", values=StudyState),
            "priority": _equals(view.c.priority, "STAT, URGENT or ROUTINE", values=Priority),
            "reason_code": _equals(view.c.reason_code, "why there is no answer"),
            "source": _equals(view.c.calling_ae_title, "AE title of the sender"),
            "station": _equals(view.c.station_name, "Station Name of the device"),
            "study": _equals(view.c.study_instance_uid, "Study Instance UID"),
            "accession": _equals(view.c.accession_number, "the whole accession number", patient=True),
            "patient_id": _equals(view.c.patient_id, "the whole Patient ID", patient=True),
            "model_version": _equals(view.c.model_version, "of the model that answered"),
            "finding": Filter(str, "a finding that is flagged", flagged, LABELS),
            "unread": Filter(bool, "true: not marked read; false: marked read", unread),
        },
    )


_STUDY = Column(Run.study_instance_uid, "DICOM Study Instance UID")
_RUN_NUMBER = Column(Run.run_number, "number of the run within the study, from 1")
_SHADOW = Column(Run.shadow, "true = a run in the shadow, whose word does not count")
_VERSION = Column(Run.model_version, "version of the model")
_CURRENT = Column(Run.id == Study.current_run_id, "true = the run whose word counts for its study now")


def _runs() -> Listing:
    return Listing(
        "runs",
        "Analyses: each of one study by one model bundle",
        {
            "id": Column(Run.id, "number of the row"),
            "study_instance_uid": _STUDY,
            "run_number": _RUN_NUMBER,
            "current": _CURRENT,
            "shadow": _SHADOW,
            "bundle": Column(Run.bundle, "configured name of the model bundle"),
            "model_version": _VERSION,
            "trigger": Column(Run.trigger, "auto, late_image, manual, reprocess or shadow"),
            "state": Column(Run.state, "queued, running, done, failed or superseded"),
            "outcome": Column(Run.outcome, "triaged, not_analysed, out_of_scope or unchanged; null = none"),
            "priority": Column(Run.priority, "STAT, URGENT or ROUTINE; null = not analysed"),
            "reason_code": Column(Run.reason_code, "machine-readable cause of a failure or of no answer"),
            "reason": Column(Run.reason, "the same as a sentence"),
            "queue": Column(Run.queue, "stat, routine, shadow or backfill"),
            "attempts": Column(Run.attempts, "starts so far"),
            "worker_name": Column(Run.worker_name, "host and process that had it last"),
            "queued_at": Column(Run.queued_at, "UTC"),
            "started_at": Column(Run.started_at, "UTC; last start"),
            "finished_at": Column(Run.finished_at, "UTC"),
            "timings_seconds": Column(Run.timings_seconds, "wall-clock seconds by stage, and their total"),
            "calling_ae_title": Column(Study.calling_ae_title, "AE title of the study's sender"),
        },
        Run.__table__.join(Study, Study.study_instance_uid == Run.study_instance_uid),
        ("id",),
        "queued_at",
        (
            "id",
            "study_instance_uid",
            "run_number",
            "trigger",
            "state",
            "outcome",
            "priority",
            "reason_code",
            "finished_at",
        ),
        {
            "study": _equals(Run.study_instance_uid, "Study Instance UID"),
            "state": _equals(Run.state, "queued, running, done, failed or superseded", values=RunState),
            "outcome": _equals(Run.outcome, "triaged, not_analysed, out_of_scope or unchanged"),
            "trigger": _equals(Run.trigger, "auto, late_image, manual, reprocess or shadow", values=RunTrigger),
            "reason_code": _equals(Run.reason_code, "cause of a failure or of no answer"),
            "bundle": _equals(Run.bundle, "configured name of the model bundle"),
            "model_version": _equals(Run.model_version, "version of the model"),
            "source": _equals(Study.calling_ae_title, "AE title of the sender"),
            "shadow": _equals(Run.shadow, "true: runs in the shadow; false: the others", bool),
        },
    )


def _findings() -> Listing:
    return Listing(
        "findings",
        "What a run says of one finding in one image",
        {
            "id": Column(Prediction.id, "number of the row"),
            "study_instance_uid": _STUDY,
            "run_id": Column(Prediction.run_id, "row of the run"),
            "run_number": _RUN_NUMBER,
            "current": _CURRENT,
            "shadow": _SHADOW,
            "sop_instance_uid": Column(Instance.sop_instance_uid, "of the image"),
            "finding": Column(Prediction.finding, "one of the 14 labels"),
            "probability": Column(
                Prediction.probability, "0 to 1; null = the model does not know this finding, never 0"
            ),
            "threshold": Column(Prediction.threshold, "0 to 1; null = never flagged"),
            "flagged": Column(Prediction.flagged, "true = at or above the threshold"),
            "model_version": _VERSION,
            "finished_at": Column(Run.finished_at, "UTC; end of the run"),
            "calling_ae_title": Column(Study.calling_ae_title, "AE title of the study's sender"),
        },
        Prediction.__table__.join(Run, Run.id == Prediction.run_id)
        .join(Study, Study.study_instance_uid == Run.study_instance_uid)
        .join(Instance, Instance.id == Prediction.instance_id),
        ("id",),
        "finished_at",
        ("id", "study_instance_uid", "run_number", "finding", "probability", "threshold", "flagged"),
        {
            "study": _equals(Run.study_instance_uid, "Study Instance UID"),
            "finding": _equals(Prediction.finding, "one of the 14 labels", values=LABELS),
            "flagged": _equals(Prediction.flagged, "true: at or above the threshold", bool),
            "current": _equals(Run.id == Study.current_run_id, "true: of the run that counts now", bool),
            "shadow": _equals(Run.shadow, "true: of runs in the shadow", bool),
            "model_version": _equals(Run.model_version, "version of the model"),
            "source": _equals(Study.calling_ae_title, "AE title of the sender"),
        },
    )


def _deliveries() -> Listing:
    return Listing(
        "deliveries",
        "Results on their way: one object or message to one destination",
        {
            "id": Column(Delivery.id, "number of the row"),
            "study_instance_uid": _STUDY,
            "run_number": _RUN_NUMBER,
            "kind": Column(Result.kind, "structured_report, secondary_capture, hl7_message ..."),
            "finding": Column(Result.finding, "of a heat map; null for other kinds"),
            "sop_instance_uid": Column(Result.sop_instance_uid, "of the object"),
            "destination": Column(Delivery.destination, "configured name"),
            "state": Column(Delivery.state, "pending, sent, committed, refused, failed, superseded or rejected"),
            "attempts": Column(Delivery.attempts, "so far"),
            "unreachable": Column(Delivery.unreachable, "true = the last attempt ended before there was a connection"),
            "last_status": Column(Delivery.last_status, "last DIMSE status; null for HL7 or before the first answer"),
            "last_comment": Column(Delivery.last_comment, "what the destination said", patient=True),
            "created_at": Column(Result.created_at, "UTC"),
            "next_attempt_at": Column(Delivery.next_attempt_at, "UTC; null = at once, or never"),
            "sent_at": Column(Delivery.sent_at, "UTC; when the destination took it"),
            "committed_at": Column(Delivery.committed_at, "UTC; when it committed to keep it"),
            "lost": Column(Delivery.lost, "how often it took the object and did not keep it"),
        },
        Delivery.__table__.join(Result, Result.id == Delivery.result_id).join(Run, Run.id == Result.run_id),
        ("id",),
        "created_at",
        ("id", "study_instance_uid", "kind", "destination", "state", "attempts", "last_comment", "sent_at"),
        {
            "study": _equals(Run.study_instance_uid, "Study Instance UID"),
            "destination": _equals(Delivery.destination, "configured name"),
            "state": _equals(
                Delivery.state,
                "pending, sent, committed, refused, failed, superseded or rejected",
                values=DeliveryState,
            ),
            "kind": _equals(Result.kind, "structured_report, secondary_capture, hl7_message ...", values=ResultKind),
        },
    )


def _events() -> Listing:
    return Listing(
        "events",
        "The audit trail: who or what changed which state, when and why",
        {
            "id": Column(Event.id, "number of the row"),
            "at": Column(Event.at, "UTC"),
            "study_instance_uid": Column(Event.study_instance_uid, "DICOM Study Instance UID; null = of no study"),
            "run_id": Column(Event.run_id, "row of the run"),
            "actor": Column(Event.actor, "a process or a person"),
            "kind": Column(Event.kind, "what happened"),
            "from_state": Column(Event.from_state, "of the study, before"),
            "to_state": Column(Event.to_state, "of the study, after"),
            "reason": Column(Event.reason, "as a sentence"),
            "details": Column(Event.details, "facts such as UIDs, counts, thresholds"),
        },
        Event.__table__,
        ("id",),
        "at",
        ("id", "at", "actor", "kind", "study_instance_uid", "from_state", "to_state", "reason"),
        {
            "study": _equals(Event.study_instance_uid, "Study Instance UID"),
            "kind": _equals(Event.kind, "what happened"),
            "actor": _equals(Event.actor, "a process or a person"),
        },
    )


def _reviews() -> Listing:
    return Listing(
        "reviews",
        "What radiologists said of a study",
        {
            "id": Column(Review.id, "number of the row"),
            "created_at": Column(Review.created_at, "UTC"),
            "study_instance_uid": Column(Review.study_instance_uid, "DICOM Study Instance UID"),
            "run_id": Column(Review.run_id, "row of the run that was looked at"),
            "finding": Column(Review.finding, "one of the 14 labels; null = of the study as a whole"),
            "verdict": Column(Review.verdict, "what was said of it"),
            "reviewer": Column(Review.reviewer, "who"),
            "comment": Column(Review.comment, "in the reviewer's words", patient=True),
        },
        Review.__table__,
        ("id",),
        "created_at",
        ("id", "created_at", "study_instance_uid", "finding", "verdict", "reviewer", "comment"),
        {
            "study": _equals(Review.study_instance_uid, "Study Instance UID"),
            "finding": _equals(Review.finding, "one of the 14 labels", values=LABELS),
            "verdict": _equals(Review.verdict, "what was said of it", values=ReviewVerdict),
            "reviewer": _equals(Review.reviewer, "who"),
        },
    )


LISTINGS: Mapping[str, Listing] = {
    listing.name: listing for listing in (_studies(), _runs(), _findings(), _deliveries(), _events(), _reviews())
}
"""By name, the name being a part of the address and an argument of the command."""
