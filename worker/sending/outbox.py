"""The rows of the outbox: which results are due where, who has them in hand, what the destination answered.

A parcel is one ``delivery`` row in hand. It is taken by a conditional update with a lease and a fencing token; what is
noted about it later counts only while both still match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, Update, and_, bindparam, or_, select, tuple_, update
from sqlalchemy.orm import Session

from worker.arrival.correction import lacks_correction
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.leases import locked_study
from worker.rows.outcome import takes_back
from worker.rows.replaced import rests_on_replaced
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind, StudyState
from worker.rows.study_tables import Study
from worker.settings.config import Settings

LOSSES_BEFORE_REFUSAL = 3
"""An object that its destination has taken and not kept this often counts as refused; archives that drop a class they
do not know, or file objects under UIDs of their own, would be sent it for ever."""
LONGEST_ABSENCE_SECONDS = 15.0
"""Longest wait between two attempts at a destination that cannot be reached, so that its return is noticed within half
a minute; ``worker.sending.outage`` sees to it that only one study tries."""


@dataclass(frozen=True)
class Parcel:
    """One result in hand for one destination."""

    delivery_id: int
    fencing_token: int
    attempts: int
    """Including the one being made."""
    destination: str
    result_id: int
    run_id: int
    kind: str
    sop_class_uid: str
    path: str
    """Relative to the store of results."""
    sha256: str
    lost: int = 0
    """How often the destination has taken it and not kept it."""
    offered: bool = False
    """Whether an earlier attempt came so far that the destination may have it."""


Moment = datetime | BindParameter[datetime]
"""Aware UTC by the database's clock, given now or with each execution."""


def is_due(now: Moment) -> ColumnElement[bool]:
    """Return the condition for a delivery row that may be taken at ``now`` (aware UTC)."""
    waiting_is_over = or_(Delivery.next_attempt_at.is_(None), Delivery.next_attempt_at <= now)
    return _is_free(now) & waiting_is_over


def _is_free(now: Moment) -> ColumnElement[bool]:
    """Return the condition for a delivery row that waits and that nobody has in hand."""
    free = or_(Delivery.lease_until.is_(None), Delivery.lease_until <= now)
    return (Delivery.state == DeliveryState.PENDING) & free


def due_deliveries(now: datetime) -> Select[Delivery, Result, Run]:
    """Return the query for due deliveries, oldest first.

    Of a held study only what takes results back; nor does a result go while an image it rests on was replaced and no
    run has decided anew: whose it is, and whether it still holds, is open until then. The same while the study was
    corrected and no run has issued results that say so: what an archive has lost would be sent under the old name.
    """
    return _deliveries().where(is_due(now))


@cache
def _deliveries() -> Select[Delivery, Result, Run]:
    """Return the query for deliveries that may go; put together once, as that takes longer than its answer."""
    nothing_came = Study.last_received_at < Run.started_at  # nearly always, and cheaper to see
    stands = or_(nothing_came, ~rests_on_replaced(Run.id))
    is_named_as_now = ~lacks_correction(Study.study_instance_uid)
    return (
        select(Delivery, Result, Run)
        .join(Result, Delivery.result_id == Result.id)
        .join(Run, Result.run_id == Run.id)
        .join(Study, Run.study_instance_uid == Study.study_instance_uid)
        .where(or_(and_(Study.state != StudyState.HELD, stands, is_named_as_now), takes_back()))
        .order_by(Delivery.id)
    )


def may_go() -> Select[int]:
    """Return the query for the ids of deliveries that nothing about their studies keeps back."""
    return _deliveries().with_only_columns(Delivery.id).order_by(None)


def due_destinations(session: Session, study_instance_uid: str, now: datetime) -> set[str]:
    """Return the names of the destinations that something of the study is due for at ``now``."""
    return set(session.scalars(_due_destinations(), {"study": study_instance_uid, "now": now}))


@cache
def _due_destinations() -> Select[str]:
    """Return the query for destinations by ``study`` and ``now``, put together once as well."""
    names = _deliveries().with_only_columns(Delivery.destination).order_by(None).distinct()
    return names.where(is_due(bindparam("now")), Run.study_instance_uid == bindparam("study"))


@cache
def _waiting() -> Select[Delivery, Result, Run]:
    """Return the query for what waits of one ``study`` for one ``destination`` and is free at ``now``."""
    here = (Run.study_instance_uid == bindparam("study"), Delivery.destination == bindparam("destination"))
    return _deliveries().where(_is_free(bindparam("now")), *here)


def take_due(session: Session, study_instance_uid: str, destination: str, settings: Settings) -> list[Parcel]:
    """Take every due delivery of the study to one destination; rows another process took are left out.

    A message that waits longer goes along where it is older than something due: a receiver that was away must hear of
    a withdrawal before it hears the next message about the study, or it would act on the withdrawal last.
    """
    now = database_now(session)
    here = {"study": study_instance_uid, "destination": destination, "now": now}
    waiting = session.execute(_waiting(), here).all()
    last_due = max((row.Delivery.id for row in waiting if _is_over(row.Delivery, now)), default=0)
    wanted = [
        row
        for row in waiting
        if _is_over(row.Delivery, now) or (row.Result.kind == ResultKind.HL7_MESSAGE and row.Delivery.id < last_due)
    ]
    attempts = _taken([row.Delivery for row in wanted], now, settings, session)
    return [
        Parcel(
            delivery_id=delivery.id,
            fencing_token=delivery.fencing_token + 1,
            attempts=attempts[delivery.id],
            destination=destination,
            result_id=result.id,
            run_id=run.id,
            kind=result.kind,
            sop_class_uid=result.sop_class_uid,
            path=result.path,
            sha256=result.sha256,
            lost=delivery.lost,
            offered=delivery.offered,
        )
        for delivery, result, run in wanted
        if delivery.id in attempts
    ]


def _taken(deliveries: Sequence[Delivery], now: datetime, settings: Settings, session: Session) -> dict[int, int]:
    """Take in hand what nobody has taken since it was read, in one statement; return the attempts by row id."""
    if not deliveries:
        return {}
    as_read = [(delivery.id, delivery.fencing_token) for delivery in deliveries]
    taken = session.execute(
        update(Delivery)
        .where(*_with_tokens(as_read), _is_free(now))
        .values(
            fencing_token=Delivery.fencing_token + 1, attempts=Delivery.attempts + 1, lease_until=now + lease(settings)
        )
        .returning(Delivery.id, Delivery.attempts),
        execution_options={"synchronize_session": False},
    )
    return {row.id: row.attempts for row in taken}


def _is_over(delivery: Delivery, now: datetime) -> bool:
    """Return whether the wait before the next attempt is over."""
    return delivery.next_attempt_at is None or delivery.next_attempt_at <= now


def renew(session: Session, parcels: Sequence[Parcel], settings: Settings) -> None:
    """Push the leases of parcels in hand forward."""
    until = database_now(session) + lease(settings)
    session.execute(update(Delivery).where(*_in_hand(*parcels)).values(lease_until=until))


def lease(settings: Settings) -> timedelta:
    """Return how long a parcel stays in hand without renewal."""
    return timedelta(seconds=settings.lease_seconds)


def retry_delay(attempts: int, settings: Settings, *, unreachable: bool = False) -> timedelta:
    """Return the wait after the ``attempts``-th failed attempt: doubling, up to the longest."""
    doublings = min(attempts - 1, 30)
    longest = settings.delivery_longest_retry_seconds
    if unreachable:
        longest = min(longest, LONGEST_ABSENCE_SECONDS)
    return timedelta(seconds=min(settings.delivery_first_retry_seconds * 2**doublings, longest))


def offer(session: Session, study_instance_uid: str, parcels: Sequence[Parcel]) -> list[Parcel]:
    """Note, before a byte leaves, that the destination may have these from now on; returns those that may still go.

    What came since they were taken, such as a new version of an image, a correction or a doubt about the identity,
    stops them as it stops what is due; whatever comes after this finds them offered and takes them back.
    """
    locked_study(session, study_instance_uid)
    these = Delivery.id.in_([parcel.delivery_id for parcel in parcels])
    in_hand, goes = _in_hand(*parcels), Delivery.id.in_(may_go().where(these).correlate(None))
    offered = set(_ids(session, update(Delivery).where(*in_hand, goes).values(offered=True)))
    if len(offered) < len(parcels):
        _ids(session, update(Delivery).where(*in_hand, Delivery.id.not_in(offered)).values(lease_until=None))
    return [parcel for parcel in parcels if parcel.delivery_id in offered]


def note_sent(
    session: Session,
    parcels: Sequence[Parcel],
    status: int | None,
    comment: str | None,
    now: datetime,
    *,
    commitment: bool,
) -> set[int]:
    """Note with one answer that the destination has these results; return the row ids of what was still in hand.

    Parameters
    ----------
    commitment
        True has the destination asked whether it will keep them.
    """
    noted = _noted(DeliveryState.SENT, status, comment) | {
        "sent_at": now,
        "commitment_due_at": now if commitment else None,
        "commitment_requests": 0,
    }
    return set(_ids(session, update(Delivery).where(*_in_hand(*parcels)).values(**noted)))


def note_over(session: Session, parcel: Parcel, state: DeliveryState, status: int | None, comment: str | None) -> bool:
    """Note that this row will not be sent again by itself: refused, failed or superseded."""
    return _note(session, parcel, state, status, comment)


def note_retry(
    session: Session,
    parcel: Parcel,
    status: int | None,
    comment: str | None,
    settings: Settings,
    *,
    unreachable: bool,
    offered: bool,
    passed_over: bool = False,
) -> bool:
    """Put the parcel back for another attempt after the backoff; nothing is dropped by age.

    Parameters
    ----------
    passed_over
        Whether it was kept back for the sake of another, which waits longer each time: it is tried without that soon.
    offered
        Whether the destination may have it all the same.
    """
    failed_attempts = 1 if passed_over else parcel.attempts
    due = database_now(session) + retry_delay(failed_attempts, settings, unreachable=unreachable)
    others: dict[str, Any] = {"next_attempt_at": due, "unreachable": unreachable, "offered": offered}
    return _note(session, parcel, DeliveryState.PENDING, status, comment, **others)


def _note(
    session: Session,
    parcel: Parcel,
    state: DeliveryState,
    status: int | None,
    comment: str | None,
    **others: Any,
) -> bool:
    values = _noted(state, status, comment) | others
    return _changed(session, update(Delivery).where(*_in_hand(parcel)).values(**values))


def _noted(state: DeliveryState, status: int | None, comment: str | None) -> dict[str, Any]:
    """Return the columns that every answer changes."""
    return {
        "state": state,
        "last_status": status,
        "last_comment": comment,
        "lease_until": None,
        "unreachable": False,
    }


def is_in_hand(session: Session, parcel: Parcel) -> bool:
    """Return whether the parcel is still this process's to send."""
    return session.scalar(select(Delivery.id).where(*_in_hand(parcel))) is not None


def _in_hand(*parcels: Parcel) -> Iterable[ColumnElement[bool]]:
    taken = [(parcel.delivery_id, parcel.fencing_token) for parcel in parcels]
    return (*_with_tokens(taken), Delivery.state == DeliveryState.PENDING)


def _with_tokens(known: Sequence[tuple[int, int]]) -> Iterable[ColumnElement[bool]]:
    """Return the condition for the rows of these ids and tokens; SQLite looks through all rows for pairs alone."""
    ids = [delivery_id for delivery_id, _token in known]
    return Delivery.id.in_(ids), tuple_(Delivery.id, Delivery.fencing_token).in_(known)


def _changed(session: Session, change: Update) -> bool:
    return bool(_ids(session, change))


def _ids(session: Session, change: Update) -> Sequence[int]:
    """Make the change and return the ids of the rows that it changed."""
    return session.scalars(change.returning(Delivery.id), execution_options={"synchronize_session": False}).all()


def is_report(parcel: Parcel) -> bool:
    """Return whether the parcel holds the structured report."""
    return parcel.kind == ResultKind.STRUCTURED_REPORT
