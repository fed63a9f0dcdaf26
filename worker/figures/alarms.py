"""How many studies are flagged, day by day, and how many other thresholds would have flagged: against alarm fatigue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Subquery, and_, case, false, func, literal, or_, select
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.figures.intervals import Share, share
from worker.figures.time_buckets import bucket_start, day_of
from worker.rows.leases import BACKFILL_QUEUE
from worker.rows.run_tables import Prediction, Run
from worker.rows.states import Priority, StudyState
from worker.rows.study_tables import Study
from worker.runs.policy import TIERS

DAYS = 30
LEVELS = {Priority.ROUTINE: 0, Priority.URGENT: 1, Priority.STAT: 2}


@dataclass(frozen=True)
class DayFigures:
    """Analysed studies of one UTC day, and how many of them were flagged STAT or URGENT."""

    day: datetime
    flagged: Share


@dataclass(frozen=True)
class Preview:
    """What thresholds would have done to the studies of the last thirty days, as one model version saw them."""

    thresholds: Mapping[str, float]
    """By finding, 0..1; findings without one never flag."""
    studies: int
    by_priority: Mapping[str, int]
    by_finding: Mapping[str, int]
    """Studies in which the finding is at or above its threshold."""

    @property
    def flagged(self) -> Share:
        """STAT and URGENT of all."""
        return share(self.by_priority[Priority.STAT] + self.by_priority[Priority.URGENT], self.studies)


def day_figures(session: Session, now: datetime) -> list[DayFigures]:
    """Return the last days that had studies, today included, the oldest first."""
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    day = day_of(session, Study.first_received_at)
    rows = session.execute(
        select(day, func.count(), func.count(Study.flagged_at))
        .where(Study.first_received_at >= since, Study.state == StudyState.TRIAGED, ~Study.historical)
        .group_by(day)
        .order_by(day)
    )
    return [DayFigures(bucket_start(text), share(flagged, studies)) for text, studies, flagged in rows]


def thresholds_in_use(session: Session, model_version: str) -> dict[str, float]:
    """Return the thresholds of this version's latest analysis, by finding; empty before the first."""
    latest = (
        select(Run.id)
        .where(Run.model_version == model_version, Run.outcome == StudyState.TRIAGED, ~Run.shadow)
        .order_by(Run.finished_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Prediction.finding, func.max(Prediction.threshold))
        .where(Prediction.run_id == latest)
        .group_by(Prediction.finding)
    )
    found = {finding: threshold for finding, threshold in rows if threshold is not None}
    return {label: found[label] for label in LABELS if label in found}


def preview(session: Session, now: datetime, model_version: str, thresholds: Mapping[str, float]) -> Preview:
    """Return what these thresholds would have flagged of the studies whose current run is this version's.

    Each study counts by its most urgent finding, as the policy does.
    """
    words = _words_of_current_runs(now - timedelta(days=DAYS), model_version)
    reached = {
        label: and_(words.c.finding == label, words.c.probability >= threshold)
        for label, threshold in thresholds.items()
    }
    per_run = select(_level(reached).label("level")).select_from(words).group_by(words.c.run_id).subquery()
    levels: dict[int, int] = dict(
        session.execute(select(per_run.c.level, func.count()).group_by(per_run.c.level)).all()
    )
    flagging = (
        select(words.c.finding, func.count(words.c.run_id.distinct()))
        .where(or_(false(), *reached.values()))
        .group_by(words.c.finding)
    )
    return Preview(
        dict(thresholds),
        sum(levels.values()),
        {priority: levels.get(number, 0) for priority, number in LEVELS.items()},
        dict(session.execute(flagging).all()),
    )


def _level(reached: Mapping[str, ColumnElement[bool]]) -> ColumnElement[int]:
    """Return the number of the highest priority that a group of rows reaches."""
    cases = [(condition, LEVELS[TIERS[label][0].priority]) for label, condition in reached.items()]
    return func.max(case(*cases, else_=0) if cases else literal(0))


def _words_of_current_runs(since: datetime, model_version: str) -> Subquery:
    return (
        select(Prediction.run_id, Prediction.finding, Prediction.probability)
        .join(Run, Run.id == Prediction.run_id)
        .join(Study, Study.current_run_id == Run.id)
        .where(
            Run.model_version == model_version,
            Run.finished_at >= since,
            Study.state == StudyState.TRIAGED,
            ~Study.historical,
        )
        .where(or_(Run.queue != BACKFILL_QUEUE, Study.first_received_at >= since))
        .subquery()
    )
