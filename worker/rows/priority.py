"""What a study's priority becomes when a run has spoken: the machine only raises it, and never repeats itself.

Where a person has set the priority, findings flagged before that do not raise it again; a finding that no run had
flagged until then does, to the level of that finding.

A read mark holds for what the reader could know. A run that makes the study more urgent than that takes the mark back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.rows.events import READ
from worker.rows.run_tables import Prediction, Run
from worker.rows.site_tables import Event
from worker.rows.states import Priority
from worker.rows.study_tables import Study

FLAGS = (Priority.STAT, Priority.URGENT)
"""Levels that ask a person to look soon."""
_RANK = {None: 0, Priority.ROUTINE: 1, Priority.URGENT: 2, Priority.STAT: 3}


def rank(priority: Priority | None) -> int:
    """Return the place of a priority, the higher the more urgent; none at all is the lowest."""
    return _RANK[priority]


def priority_of(study: Study) -> Priority | None:
    """Return the study's priority as it stands."""
    return Priority(study.priority) if study.priority else None


def offered_priority(
    session: Session, study: Study, priority: Priority | None, levels: Mapping[str, Priority]
) -> Priority | None:
    """Return what a run may raise the study to; None where it has nothing to say that a person has not decided on.

    Parameters
    ----------
    priority
        The run's.
    levels
        The level that each finding flagged by the run stands for.
    """
    if study.priority_set_by is None:
        return priority
    known = session.scalars(
        select(Prediction.finding)
        .join(Run, Run.id == Prediction.run_id)
        .where(Run.study_instance_uid == study.study_instance_uid, Run.id <= (study.priority_decided_run_id or 0))
        .where(Prediction.flagged, ~Run.shadow)
        .distinct()
    ).all()
    news = [level for finding, level in levels.items() if finding not in known]
    return max(news, key=rank, default=None)


def is_news_to_reader(session: Session, study: Study, offered: Priority | None) -> bool:
    """Return whether a run of today offers a read study a level that its reader could not know of.

    Call it before the study is told. What was read before any analysis was read by eye: only an image that came later
    can be news then.

    Parameters
    ----------
    offered
        What `offered_priority` says.
    """
    if study.read_at is None or offered not in FLAGS:
        return False
    held = priority_of(study)
    if study.priority_set_by is not None:  # a person has decided since or before; what is offered no run had flagged
        return rank(offered) > rank(held)
    if (known := _priority_when_read(session, study)) is None:
        return study.last_received_at > study.read_at and rank(offered) > rank(held)
    return rank(offered) > rank(known)


def _priority_when_read(session: Session, study: Study) -> Priority | None:
    marks = (
        select(Event.details)
        .where(Event.study_instance_uid == study.study_instance_uid, Event.kind == READ)
        .order_by(Event.id.desc())
    )
    known = (session.scalar(marks.limit(1)) or {}).get("priority")
    return Priority(known) if known else None


def is_news_since(session: Session, study: Study, then: datetime) -> bool:
    """Say whether a run that ended after this moment made the study URGENT or STAT, and that was more than before.

    What a person has set is no news: they tell whom it concerns.
    """
    level = priority_of(study)
    if level not in FLAGS or study.priority_set_by is not None:
        return False
    before = session.scalars(
        select(Run.priority).where(
            Run.study_instance_uid == study.study_instance_uid,
            Run.finished_at <= then,
            Run.priority.is_not(None),
            ~Run.shadow,
        )
    )
    return all(rank(Priority(known)) < rank(level) for known in before if known)
