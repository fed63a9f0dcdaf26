"""Reading the worklist: every study as one line, in the order in which it should be read.

The command line, the JSON API and the page all show what these functions return. Order: unread studies that waited
longer than the upper limit, then STAT, URGENT, ROUTINE, within each the higher rank, then the earlier arrival. What
was not analysed, is held or failed stands in groups of its own and never looks like "nothing found".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session

from worker.rows.priority import FLAGS
from worker.rows.states import Priority, StudyState
from worker.rows.study_tables import Study
from worker.views.presentation import age_text, person_name
from worker.views.study_summaries import DeliverySummary, FlaggedFinding, delivery_summaries, flagged_findings


class Group(StrEnum):
    """The sections of the worklist, in the order they stand on the page."""

    OVERDUE = "overdue"
    STAT = "STAT"
    URGENT = "URGENT"
    ROUTINE = "ROUTINE"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    HELD = "held"
    NOT_ANALYSED = "not_analysed"
    HISTORICAL = "historical"
    READ = "read"
    OUT_OF_SCOPE = "out_of_scope"


@dataclass(frozen=True)
class StudyLine:
    """One study as a line of the worklist; times are UTC."""

    study_instance_uid: str
    group: Group
    state: str
    priority: str | None
    """None = not known; where the study failed, is held or was not analysed only STAT and URGENT are told."""
    priority_rank: float
    priority_reason: str | None
    reason_code: str | None
    reason: str | None
    findings: tuple[FlaggedFinding, ...] | None
    """Empty = analysed, and nothing was flagged; None = not known."""
    patient_name: str
    patient_id: str
    patient_id_missing: bool
    patient_age: str
    patient_sex: str
    accession_number: str
    study_description: str
    study_date: str
    calling_ae_title: str
    historical: bool
    first_received_at: datetime
    last_received_at: datetime
    waiting_seconds: float
    overdue: bool
    flagged_at: datetime | None
    read_at: datetime | None
    read_by: str | None
    delivery: DeliverySummary


@dataclass(frozen=True)
class StudyFilter:
    """Which studies to list; empty fields let everything through."""

    states: tuple[str, ...] = ()
    priorities: tuple[str, ...] = ()
    unread_only: bool = False
    text: str = ""
    """Part of a patient name, patient ID, accession number or the whole Study Instance UID; case does not matter."""
    limit: int = 500
    offset: int = 0


def as_json(value: Any) -> Any:
    """Return dataclasses, times and tuples as what ``json.dumps`` takes; times as ISO 8601 with offset."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


WITHOUT_ANSWER = (StudyState.FAILED, StudyState.HELD, StudyState.NOT_ANALYSED)
_LEVELS = (Priority.STAT, Priority.URGENT, Priority.ROUTINE)
BY_LEVEL = case(*((Study.priority == level, place) for place, level in enumerate(_LEVELS)), else_=len(_LEVELS))
"""The place of a study's priority, from 0 for STAT to 3 for none: `priority_rank` orders within one, and only there."""


def level_place(study: Study) -> int:
    """Return what `BY_LEVEL` is for this study."""
    return _LEVELS.index(Priority(study.priority)) if study.priority else len(_LEVELS)


def is_overdue(now: datetime, upper_wait: timedelta) -> ColumnElement[bool]:
    """Return the SQL condition "unread, wanted and waiting longer than the upper limit"."""
    return (
        Study.read_at.is_(None)
        & Study.historical.is_(False)
        & (Study.state != StudyState.OUT_OF_SCOPE)
        & (Study.first_received_at < now - upper_wait)
    )


def is_flagged() -> ColumnElement[bool]:
    """Return the SQL condition "STAT or URGENT", which stays true of a study whatever becomes of later images."""
    return Study.priority.in_(FLAGS) & Study.historical.is_(False)


def says_its_priority() -> ColumnElement[bool]:
    """Return the SQL condition under which `StudyLine.priority` is that of the row."""
    return Study.state.not_in(WITHOUT_ANSWER) | is_flagged()


def reading_order(now: datetime, upper_wait: timedelta) -> tuple[ColumnElement[Any], ...]:
    """Return the ORDER BY of the worklist; the Study Instance UID last, so that pages are stable."""
    return (
        case((Study.read_at.is_(None), 0), else_=1).asc(),
        case((is_overdue(now, upper_wait), 0), else_=1).asc(),
        case((Study.historical, 1), else_=0).asc(),
        BY_LEVEL.asc(),
        Study.priority_rank.desc(),
        Study.first_received_at.asc(),
        Study.study_instance_uid.asc(),
    )


def narrowed(statement: Select[Any], wanted: StudyFilter) -> Select[Any]:
    """Return the statement with the filter's conditions (not its limit) added."""
    if wanted.states:
        statement = statement.where(Study.state.in_(wanted.states))
    if wanted.priorities:
        statement = statement.where(Study.priority.in_(wanted.priorities), says_its_priority())
    if wanted.unread_only:
        statement = statement.where(Study.read_at.is_(None))
    if wanted.text:
        columns = (Study.patient_name, Study.patient_id, Study.accession_number)
        statement = statement.where(
            or_(
                Study.study_instance_uid == wanted.text,
                *(column.icontains(wanted.text, autoescape=True) for column in columns),
            )
        )
    return statement


def count_studies(session: Session, wanted: StudyFilter) -> int:
    """Return how many studies the filter lets through, whatever its limit."""
    return session.scalar(narrowed(select(func.count()).select_from(Study), wanted)) or 0


def list_studies(session: Session, now: datetime, upper_wait: timedelta, wanted: StudyFilter) -> list[StudyLine]:
    """Return studies in reading order.

    Parameters
    ----------
    now
        The database's clock, UTC; waiting times are measured to it.
    upper_wait
        Unread studies waiting longer come first (``upper_wait_minutes`` of the configuration).
    """
    statement = narrowed(select(Study), wanted).order_by(*reading_order(now, upper_wait))
    studies = session.scalars(statement.limit(wanted.limit).offset(wanted.offset)).all()
    return study_lines(session, studies, now, upper_wait)


def study_lines(session: Session, studies: Sequence[Study], now: datetime, upper_wait: timedelta) -> list[StudyLine]:
    """Return the lines of these studies, in their order; findings and deliveries in one query each."""
    run_ids = [study.current_run_id for study in studies if study.current_run_id is not None]
    findings = flagged_findings(session, run_ids)
    deliveries = delivery_summaries(session, run_ids)
    return [
        _line(
            study,
            findings.get(study.current_run_id or 0, ()),
            deliveries.get(study.current_run_id or 0, DeliverySummary("none")),
            now,
            upper_wait,
        )
        for study in studies
    ]


def _line(
    study: Study,
    findings: tuple[FlaggedFinding, ...],
    delivery: DeliverySummary,
    now: datetime,
    upper_wait: timedelta,
) -> StudyLine:
    """Return one study's line."""
    waiting = ((study.read_at or now) - study.first_received_at).total_seconds()
    wanted = study.state != StudyState.OUT_OF_SCOPE and not study.historical and study.read_at is None
    overdue = wanted and waiting > upper_wait.total_seconds()
    priority = _said_priority(study)
    return StudyLine(
        study_instance_uid=study.study_instance_uid,
        group=_group(study, overdue),
        state=study.state,
        priority=priority,
        priority_rank=study.priority_rank,
        priority_reason=study.priority_reason if priority else None,
        reason_code=study.reason_code,
        reason=study.reason,
        findings=findings if findings or study.state == StudyState.TRIAGED else None,
        patient_name=person_name(study.patient_name),
        patient_id=study.patient_id,
        patient_id_missing=study.patient_id_missing,
        patient_age=age_text(study.patient_age, study.patient_birth_date, study.study_date),
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        study_description=study.study_description,
        study_date=study.study_date,
        calling_ae_title=study.calling_ae_title,
        historical=study.historical,
        first_received_at=study.first_received_at,
        last_received_at=study.last_received_at,
        waiting_seconds=max(0.0, waiting),
        overdue=overdue,
        flagged_at=study.flagged_at,
        read_at=study.read_at,
        read_by=study.read_by,
        delivery=delivery,
    )


def why(line: StudyLine) -> str:
    """Return the reason of a line: why there is no answer, or none to its latest images, and the priority's."""
    if line.state not in (*WITHOUT_ANSWER, StudyState.OUT_OF_SCOPE):
        return line.priority_reason or line.reason or ""
    reason, flagged = line.reason or line.reason_code or "", line.priority_reason or ""
    return f"{reason.rstrip('.')}. {flagged}" if reason and flagged else reason or flagged


def _said_priority(study: Study) -> str | None:
    """Return the priority that may be said of a study: ROUTINE would say of one without an answer that it has one."""
    return None if study.state in WITHOUT_ANSWER and not _is_flagged(study) else study.priority


def _is_flagged(study: Study) -> bool:
    return study.priority in FLAGS and not study.historical


def _group(study: Study, overdue: bool) -> Group:
    """Return the section a study stands in.

    A study being analysed again keeps the place its priority gave it, and so does one that was flagged, or that a
    person raised, and has failed, is held or was not analysed since.
    """
    if study.state == StudyState.OUT_OF_SCOPE:
        return Group.OUT_OF_SCOPE
    if study.read_at is not None:
        return Group.READ
    if study.historical and study.state in (StudyState.TRIAGED, StudyState.NOT_ANALYSED):
        return Group.HISTORICAL
    if study.state in WITHOUT_ANSWER and not _is_flagged(study):
        return Group(study.state)
    if overdue:
        return Group.OVERDUE
    return Group(study.priority) if study.priority else Group.IN_PROGRESS
