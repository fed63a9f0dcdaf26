"""Backfills: how far each is, how fast it goes, what it could not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from worker.rows.run_tables import Backfill, BackfillStudy
from worker.rows.states import BackfillState

SHOWN_AFTER_END = timedelta(days=7)
RATE_WINDOW = timedelta(minutes=5)
MOST_SHOWN = 20


@dataclass(frozen=True)
class BackfillFigures:
    """One order to analyse archived studies again, at one moment."""

    id: int
    ordered_at: datetime
    ordered_by: str
    since: datetime
    until: datetime
    bundle: str | None
    source: str | None
    finding: str | None
    aside: bool
    listed: bool
    """Whether all of its studies are known; until then the numbers grow."""
    ended_at: datetime | None
    given_up_by: str | None
    nothing_to_analyse: int
    waiting: int
    running: int
    done: int
    failed: int
    missing: int
    skipped: int
    done_lately: int
    """In the last five minutes."""

    @property
    def studies(self) -> int:
        """Listed ones, of every state."""
        return self.waiting + self.running + self.settled

    @property
    def settled(self) -> int:
        """Those that are not open any more."""
        return self.done + self.failed + self.missing + self.skipped

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate of the last minutes; None while nothing goes forward."""
        if not self.done_lately:
            return None
        return (self.waiting + self.running) * RATE_WINDOW.total_seconds() / self.done_lately


def backfill_figures(session: Session, now: datetime) -> list[BackfillFigures]:
    """Return the backfills that have not ended, or within the last week, the latest first."""
    lately = or_(Backfill.ended_at.is_(None), Backfill.ended_at >= now - SHOWN_AFTER_END)
    orders = session.scalars(select(Backfill).where(lately).order_by(Backfill.id.desc()).limit(MOST_SHOWN))
    return [figures_of(session, backfill, now) for backfill in orders]


def figures_of(session: Session, backfill: Backfill, now: datetime) -> BackfillFigures:
    """Count the studies of one backfill."""
    own = BackfillStudy.backfill_id == backfill.id
    counts: dict[str, int] = dict(
        session.execute(select(BackfillStudy.state, func.count()).where(own).group_by(BackfillStudy.state)).all()
    )
    lately = (own, BackfillStudy.state == BackfillState.DONE, BackfillStudy.settled_at >= now - RATE_WINDOW)
    done_lately = 0 if backfill.ended_at else session.scalar(select(func.count()).where(*lately)) or 0
    return BackfillFigures(
        backfill.id, backfill.ordered_at, backfill.ordered_by, backfill.since, backfill.until, backfill.bundle,
        backfill.source, backfill.finding, backfill.aside, backfill.listed_at is not None, backfill.ended_at,
        backfill.given_up_by, backfill.nothing_to_analyse,
        **{state.value: counts.get(state, 0) for state in BackfillState}, done_lately=done_lately,
    )  # fmt: skip


def not_done(session: Session, backfill_id: int, limit: int) -> Sequence[BackfillStudy]:
    """Return studies of the backfill that failed, or whose images are gone, or that were passed over."""
    left = (BackfillState.FAILED, BackfillState.MISSING, BackfillState.SKIPPED)
    return session.scalars(
        select(BackfillStudy)
        .where(BackfillStudy.backfill_id == backfill_id, BackfillStudy.state.in_(left))
        .order_by(BackfillStudy.id)
        .limit(limit)
    ).all()
