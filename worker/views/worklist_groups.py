"""The worklist as a radiologist sees it: the head of every group, and how many studies each holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.rows.study_tables import Study
from worker.views.group_conditions import condition, group_of, orders, unread
from worker.views.studies import Group, StudyLine, study_lines

GROUP_LIMIT = 50
"""Lines of one group; the rest of it is one click away."""


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

    def lines(self, group: Group) -> tuple[StudyLine, ...]:
        """Return the lines of one section."""
        return next((section.lines for section in self.groups if section.group is group), ())


def read_worklist(session: Session, now: datetime, upper_wait: timedelta) -> Worklist:
    """Return the current worklist: at most 50 studies of each group, in reading order."""
    totals = group_totals(session, now, upper_wait)
    heads = {group: _head(session, group, now, upper_wait) if totals[group] else [] for group in Group}
    lines = study_lines(session, [study for studies in heads.values() for study in studies], now, upper_wait)
    by_uid = {line.study_instance_uid: line for line in lines}
    groups = tuple(
        WorklistGroup(group, tuple(by_uid[study.study_instance_uid] for study in studies), totals[group])
        for group, studies in heads.items()
    )
    finished = (Group.READ, Group.OUT_OF_SCOPE)
    return Worklist(now, groups, sum(total for group, total in totals.items() if group not in finished))


def group_totals(session: Session, now: datetime, upper_wait: timedelta) -> dict[Group, int]:
    """Return how many studies stand in each group."""
    name = group_of(now, upper_wait)
    counted = select(name, func.count()).where(unread()).group_by(name)
    totals = dict.fromkeys(Group, 0) | {Group(row[0]): row[1] for row in session.execute(counted)}
    for group in (Group.READ, Group.OUT_OF_SCOPE):
        wanted = select(func.count()).select_from(Study).where(condition(group, now, upper_wait))
        totals[group] = session.scalar(wanted) or 0
    return totals


def _head(session: Session, group: Group, now: datetime, upper_wait: timedelta) -> list[Study]:
    """Return the first studies of the group."""
    found: list[Study] = []
    for part, order in orders(group):
        statement = select(Study).where(condition(group, now, upper_wait)).order_by(*order)
        if part is not None:
            statement = statement.where(part)
        found.extend(session.scalars(statement.limit(GROUP_LIMIT - len(found))))
        if len(found) == GROUP_LIMIT:
            break
    return found
