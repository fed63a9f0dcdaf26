"""The groups of the worklist as SQL: which studies stand in each, and in which order they are read.

Says the same as ``studies._group`` does of one study; a test holds the two together. Each condition and order is one
that an index answers, so a list of 100,000 studies is as fast as one of a hundred.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_
from sqlalchemy.orm import InstrumentedAttribute

from worker.rows.states import Priority, StudyState
from worker.rows.study_tables import Study
from worker.views.studies import WITHOUT_ANSWER, Group, is_flagged

Order = tuple[ColumnElement[Any] | InstrumentedAttribute[Any], ...]

_JUDGED = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.TRIAGING, StudyState.TRIAGED)
_PRIORITIES = (Priority.STAT, Priority.URGENT, Priority.ROUTINE)
BY_RANK: Order = (-Study.priority_rank, Study.first_received_at, Study.study_instance_uid)
"""The more urgent first, then the earlier arrival, as ``ix_study_unread`` has them."""
BY_ARRIVAL: Order = (Study.first_received_at, Study.study_instance_uid)


def unread() -> ColumnElement[bool]:
    """Return the condition "wanted, and nobody has marked it read"."""
    return Study.read_at.is_(None) & (Study.state != StudyState.OUT_OF_SCOPE)


def _old() -> ColumnElement[bool]:
    return Study.historical & Study.state.in_((StudyState.TRIAGED, StudyState.NOT_ANALYSED))


def _waiting(now: datetime, upper_wait: timedelta, *, overdue: bool) -> ColumnElement[bool]:
    """Return "unread and flagged, judged, or about to be", of those beyond the upper wait or of the others."""
    limit = now - upper_wait
    late = and_(Study.historical.is_(False), Study.first_received_at < limit)
    placed = or_(Study.state.in_(_JUDGED), Study.state.in_(WITHOUT_ANSWER) & is_flagged())
    return and_(Study.read_at.is_(None), placed, ~_old(), late if overdue else ~late)


def condition(group: Group, now: datetime, upper_wait: timedelta) -> ColumnElement[bool]:
    """Return which studies stand in the group at that moment (the database's clock, UTC)."""
    match group:
        case Group.OUT_OF_SCOPE:
            return Study.state == StudyState.OUT_OF_SCOPE
        case Group.READ:
            return Study.read_at.is_not(None) & (Study.state != StudyState.OUT_OF_SCOPE)
        case Group.HISTORICAL:
            return Study.read_at.is_(None) & _old()
        case Group.FAILED | Group.HELD | Group.NOT_ANALYSED:
            unflagged = or_(Study.priority.is_(None), ~is_flagged())
            return and_(Study.read_at.is_(None), Study.state == group.value, ~_old(), unflagged)
        case Group.OVERDUE:
            return _waiting(now, upper_wait, overdue=True)
        case Group.IN_PROGRESS:
            return _waiting(now, upper_wait, overdue=False) & Study.priority.is_(None)
        case _:
            return _waiting(now, upper_wait, overdue=False) & (Study.priority == group.value)


def orders(group: Group) -> tuple[tuple[ColumnElement[bool] | None, Order], ...]:
    """Return how the group is read: one part after the other, each with its own condition (None = all) and order."""
    match group:
        case Group.OVERDUE:
            by_priority = tuple((Study.priority == level, BY_RANK) for level in _PRIORITIES)
            return (*by_priority, (Study.priority.is_(None), BY_RANK))
        case Group.STAT | Group.URGENT | Group.ROUTINE:
            return ((None, BY_RANK),)
        case Group.READ:
            return ((None, (Study.read_at.desc(),)),)
        case Group.OUT_OF_SCOPE | Group.HISTORICAL:
            return ((None, (Study.last_received_at.desc(),)),)
        case _:
            return ((None, BY_ARRIVAL),)


def group_of(now: datetime, upper_wait: timedelta) -> ColumnElement[str]:
    """Return the name of the group an unread study stands in, for counting."""
    groups = [group for group in Group if group not in (Group.READ, Group.OUT_OF_SCOPE)]
    return case(*((condition(group, now, upper_wait), group.value) for group in groups), else_="")
