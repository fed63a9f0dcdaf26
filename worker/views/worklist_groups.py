"""The worklist as a radiologist sees it: lines in groups, with the finished ones cut to the latest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from worker.rows.tables import Study, StudyState
from worker.views.studies import Group, StudyLine, reading_order, study_lines

UNREAD_LIMIT = 500
FINISHED_LIMIT = 50


@dataclass(frozen=True)
class WorklistGroup:
    """One section and its lines; ``total`` counts the studies in the database, also those not shown."""

    group: Group
    lines: tuple[StudyLine, ...]
    total: int


@dataclass(frozen=True)
class Worklist:
    """The whole list at one moment (UTC); ``unread_total`` counts wanted unread studies, shown or not."""

    generated_at: datetime
    groups: tuple[WorklistGroup, ...]
    unread_total: int
    unread_shown: int

    def lines(self, group: Group) -> tuple[StudyLine, ...]:
        """Return the lines of one section."""
        return next((section.lines for section in self.groups if section.group is group), ())


def read_worklist(session: Session, now: datetime, upper_wait: timedelta) -> Worklist:
    """Return the current worklist: at most 500 unread studies in reading order, the latest 50 read and out of scope."""
    wanted = Study.state != StudyState.OUT_OF_SCOPE
    unread, read = wanted & Study.read_at.is_(None), wanted & Study.read_at.is_not(None)
    out_of_scope = Study.state == StudyState.OUT_OF_SCOPE
    active = _lines(session, unread, reading_order(now, upper_wait), UNREAD_LIMIT, now, upper_wait)
    latest_read = _lines(session, read, (Study.read_at.desc(),), FINISHED_LIMIT, now, upper_wait)
    unwanted = _lines(session, out_of_scope, (Study.last_received_at.desc(),), FINISHED_LIMIT, now, upper_wait)
    totals = {Group.READ: _count(session, read), Group.OUT_OF_SCOPE: _count(session, out_of_scope)}
    by_group: dict[Group, list[StudyLine]] = {group: [] for group in Group}
    for line in (*active, *latest_read, *unwanted):
        by_group[line.group].append(line)
    groups = tuple(
        WorklistGroup(group, tuple(lines), totals.get(group, len(lines))) for group, lines in by_group.items()
    )
    return Worklist(now, groups, _count(session, unread), len(active))


def _lines(
    session: Session,
    condition: ColumnElement[bool],
    order: tuple[ColumnElement[Any], ...],
    limit: int,
    now: datetime,
    upper_wait: timedelta,
) -> list[StudyLine]:
    """Return the first ``limit`` lines that meet the condition, in this order."""
    studies = session.scalars(select(Study).where(condition).order_by(*order).limit(limit)).all()
    return study_lines(session, studies, now, upper_wait)


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    """Return how many studies meet the condition."""
    return session.scalar(select(func.count()).select_from(Study).where(condition)) or 0
