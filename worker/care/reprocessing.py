"""Ordering that archived studies be analysed again: which ones, written down so that it can be stopped and resumed.

The order and every study of it are rows (`worker.rows.backfills` works them off). Listing 100,000 studies is done in
steps of one short transaction each, and each notes how far it came: live studies never wait for it, and an order that
was interrupted anywhere goes on there.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Row, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from model.labels import LABELS
from worker.arrival.analysable import is_fit
from worker.foundation.errors import WorkerError
from worker.rows.backfills import OPEN_STATES, end_if_done
from worker.rows.database import SessionFactory, database_now, one_at_a_time
from worker.rows.events import record
from worker.rows.run_tables import Backfill, BackfillStudy, Prediction
from worker.rows.states import BackfillState, StudyState
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

STEP_STUDIES = 500
MOST_NAMED = 5
PAUSE_SECONDS = 0.1
"""As long as SQLite lets a writer sleep at most before it asks for the lock again."""
SETTLED = (StudyState.TRIAGED, StudyState.NOT_ANALYSED, StudyState.OUT_OF_SCOPE, StudyState.FAILED)
"""Studies that are not on their way through anyhow, and not held."""
_ORDERING = "backfill order"
DELETED = "its images were deleted here, as the retention of this site says"


class ReprocessingRefused(WorkerError):
    """The studies cannot be ordered as asked; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """Which studies are to be analysed again, and how."""

    since: datetime
    """Studies whose first image came at this time or later, aware UTC."""
    until: datetime | None = None
    """And before this time; None = now."""
    bundle: str | None = None
    """Configured name; None = the active one."""
    source: str | None = None
    finding: str | None = None
    aside: bool = False


@dataclass
class Listed:
    """What was found so far."""

    to_do: int = 0
    missing: int = 0
    """Studies whose images are deleted."""
    nothing_to_analyse: int = 0


def require_possible(wanted: Wanted, settings: Settings) -> None:
    """Refuse an order that cannot be carried out.

    Raises
    ------
    ReprocessingRefused
        The bundle is not configured, the finding is not one of the 14, or the time is empty.
    """
    if wanted.bundle is not None and wanted.bundle not in settings.bundles:
        configured = ", ".join(sorted(settings.bundles))
        raise ReprocessingRefused(f"bundle {wanted.bundle} is not configured; known are {configured}")
    if wanted.finding is not None and wanted.finding not in LABELS:
        raise ReprocessingRefused(f"{wanted.finding} is not a finding; there are {', '.join(LABELS)}")
    if wanted.until is not None and wanted.until <= wanted.since:
        raise ReprocessingRefused("--since must be before --until")


def open_order(session: Session, wanted: Wanted) -> Backfill | None:
    """Return the order with just these words that has not ended, the latest; None when there is none."""
    end: ColumnElement[bool] = Backfill.open_ended.is_(True)
    if wanted.until is not None:
        end = ~Backfill.open_ended & (Backfill.until == wanted.until)
    return session.scalars(
        select(Backfill)
        .where(Backfill.ended_at.is_(None), Backfill.since == wanted.since, end, Backfill.aside == wanted.aside)
        .where(Backfill.bundle.is_not_distinct_from(wanted.bundle))
        .where(Backfill.source.is_not_distinct_from(wanted.source))
        .where(Backfill.finding.is_not_distinct_from(wanted.finding))
        .order_by(Backfill.id.desc())
        .limit(1)
    ).first()


def order(session: Session, wanted: Wanted, by: str) -> tuple[Backfill, bool]:
    """Return the open order with these words, or a new one, and whether it is new; written to the audit trail.

    Raises
    ------
    ReprocessingRefused
        A new order would be of a time to come.
    """
    one_at_a_time(session.connection(), _ORDERING)  # several machines may start the same order at once
    if (found := open_order(session, wanted)) is not None:
        return found, False
    now = database_now(session)
    _require_past(wanted, now)
    backfill = _order(wanted, now, by)
    session.add(backfill)
    session.flush()
    details = {
        "backfill": backfill.id,
        "since": backfill.since.isoformat(),
        "until": backfill.until.isoformat(),
        "bundle": wanted.bundle,
        "source": wanted.source,
        "finding": wanted.finding,
        "aside": wanted.aside,
    }
    record(session, "backfill_ordered", actor=by, details=details, at=now)
    return backfill, True


def _require_past(wanted: Wanted, now: datetime) -> None:
    if wanted.since >= now:
        raise ReprocessingRefused(
            f"--since lies in the future; no study has come since {_typed_time(wanted.since)} (UTC), now it is"
            f" {_typed_time(now)}"
        )


def _order(wanted: Wanted, now: datetime, by: str) -> Backfill:
    return Backfill(
        ordered_at=now,
        ordered_by=by,
        since=wanted.since,
        until=wanted.until or now,
        open_ended=wanted.until is None,
        bundle=wanted.bundle,
        source=wanted.source,
        finding=wanted.finding,
        aside=wanted.aside,
        nothing_to_analyse=0,
    )


def count_studies(session: Session, wanted: Wanted) -> Listed:
    """Return what an order with these words would be about; nothing is written.

    Raises
    ------
    ReprocessingRefused
        It would be of a time to come.
    """
    now = database_now(session)
    _require_past(wanted, now)
    backfill, found = _order(wanted, now, ""), Listed()
    while step := _next_studies(session, backfill):
        for _uid, deleted in _judged(session, step):
            _count(found, deleted)
        backfill.listed_time, backfill.listed_study = step[-1].first_received_at, step[-1].study_instance_uid
    return found


def _count(found: Listed, deleted: bool | None) -> None:
    if deleted is None:
        found.nothing_to_analyse += 1
    elif deleted:
        found.missing += 1
    else:
        found.to_do += 1


def list_studies(
    reading: SessionFactory, writing: SessionFactory, backfill_id: int, stopped: Callable[[], bool] = lambda: False
) -> Listed:
    """List the order's studies where that is not done yet, newest first; returns what was found just now.

    After each step there is a pause: SQLite's one lock goes to whoever happens to ask, and live writers must get it.
    """
    found = Listed()
    while not stopped():
        if not list_step(reading, writing, backfill_id, found):
            return found
        time.sleep(PAUSE_SECONDS)
    return found


def list_step(reading: SessionFactory, writing: SessionFactory, backfill_id: int, found: Listed) -> bool:
    """List the next ``STEP_STUDIES``; returns whether there may be more. Of two that list at once one gives way."""
    with reading() as session:
        backfill = session.get_one(Backfill, backfill_id)
        if backfill.listed_at is not None:
            return False
        place = backfill.listed_study
        step = _next_studies(session, backfill)
        judged = _judged(session, step)
    with writing.begin() as session:
        backfill = session.get_one(Backfill, backfill_id, with_for_update=True)
        if backfill.listed_at is not None or backfill.listed_study != place:
            return True
        _write_step(session, backfill, step, judged)
    for _uid, deleted in judged:
        _count(found, deleted)
    return len(step) == STEP_STUDIES


def _write_step(
    session: Session,
    backfill: Backfill,
    step: Sequence[Row[str, datetime]],
    judged: Sequence[tuple[str, bool | None]],
) -> None:
    now = database_now(session)
    rows = [_mark(backfill.id, uid, deleted, now) for uid, deleted in judged if deleted is not None]
    if rows:
        session.execute(insert(BackfillStudy), rows)
    backfill.nothing_to_analyse += len(judged) - len(rows)
    if len(step) == STEP_STUDIES:
        backfill.listed_time, backfill.listed_study = step[-1].first_received_at, step[-1].study_instance_uid
        return
    backfill.listed_at = now
    session.flush()
    end_if_done(session, backfill.id)


def _mark(backfill_id: int, uid: str, deleted: bool, now: datetime) -> dict[str, object]:
    state = BackfillState.MISSING if deleted else BackfillState.WAITING
    return {
        "backfill_id": backfill_id,
        "study_instance_uid": uid,
        "state": state,
        "attempts": 0,
        "reason": DELETED if deleted else None,
        "settled_at": now if deleted else None,
    }


def _next_studies(session: Session, backfill: Backfill) -> Sequence[Row[str, datetime]]:
    key = (Study.first_received_at, Study.study_instance_uid)
    query = select(Study.study_instance_uid, Study.first_received_at).where(
        Study.first_received_at >= backfill.since,
        Study.first_received_at < backfill.until,
        Study.state.in_(SETTLED),
        Study.retracted_at.is_(None),
    )
    if backfill.source is not None:
        query = query.where(Study.calling_ae_title == backfill.source)
    if backfill.finding is not None:
        flagged = select(Prediction.run_id).where(Prediction.finding == backfill.finding, Prediction.flagged)
        query = query.where(Study.current_run_id.in_(flagged))
    if backfill.listed_time is not None:
        query = query.where(tuple_(*key) < (backfill.listed_time, backfill.listed_study))
    return session.execute(query.order_by(*(part.desc() for part in key)).limit(STEP_STUDIES)).all()


def _judged(session: Session, step: Iterable[Row[str, datetime]]) -> list[tuple[str, bool | None]]:
    """Return each study and whether images it needs are deleted; None where no image is fit for analysis."""
    uids = [row.study_instance_uid for row in step]
    fit = (
        select(Instance.study_instance_uid, func.count(Instance.deleted_at))
        .where(Instance.study_instance_uid.in_(uids), is_fit())
        .group_by(Instance.study_instance_uid)
    )
    deleted = {uid: bool(count) for uid, count in session.execute(fit)}
    return [(uid, deleted.get(uid)) for uid in uids]


def give_up(session: Session, wanted: Wanted, by: str) -> int:
    """End the order with these words: what waits is not analysed again, what is in hand is finished.

    Returns
    -------
    int
        How many studies waited.

    Raises
    ------
    ReprocessingRefused
        No such order is under way; the message names those that are.
    """
    one_at_a_time(session.connection(), _ORDERING)
    found = open_order(session, wanted)
    if found is None:
        raise ReprocessingRefused(_none_under_way(session))
    backfill = session.get_one(Backfill, found.id, with_for_update=True)
    now = database_now(session)
    waited = session.scalars(
        update(BackfillStudy)
        .where(BackfillStudy.backfill_id == backfill.id, BackfillStudy.state.in_(OPEN_STATES))
        .values(state=BackfillState.SKIPPED, settled_at=now, reason="the order was given up")
        .returning(BackfillStudy.id),
        execution_options={"synchronize_session": False},
    ).all()
    backfill.ended_at, backfill.given_up_by = now, by
    backfill.listed_at = backfill.listed_at or now
    record(session, "backfill_given_up", actor=by, details={"backfill": backfill.id, "studies": len(waited)}, at=now)
    return len(waited)


def _none_under_way(session: Session) -> str:
    """Return in words that no order has the options given, with those of the orders that are under way."""
    under_way = select(Backfill).where(Backfill.ended_at.is_(None)).order_by(Backfill.id.desc()).limit(MOST_NAMED)
    orders = [f"{_options(backfill)} (backfill {backfill.id})" for backfill in session.scalars(under_way)]
    if not orders:
        return "no order is under way; there is nothing to give up"
    return f"no order with these options is under way; give one up by its own: {'; '.join(orders)}"


def _options(backfill: Backfill) -> str:
    """Return the options that mean this order on the command line."""
    words = ["--since", _typed_time(backfill.since)]
    words += [] if backfill.open_ended else ["--until", _typed_time(backfill.until)]
    for option, value in (("--model", backfill.bundle), ("--source", backfill.source), ("--finding", backfill.finding)):
        words += [option, value] if value is not None else []
    return shlex.join(words + (["--no-delivery"] if backfill.aside else []))


def _typed_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}"
