"""Who hears of a workitem, and the event reports that wait for them; all in the transaction of what they report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from dicom_io.ups.events import EventReport, creation_reports, restarted, state_report
from dicom_io.ups.matching import matches
from dicom_io.ups.service import FILTERED_SUBSCRIPTION, GLOBAL_SUBSCRIPTION, WELL_KNOWN, Subscription
from worker.rows.batches import in_batches
from worker.rows.database import database_now, inserting
from worker.rows.workitem_tables import Workitem, WorkitemEvent, WorkitemSubscription
from worker.ups.workitems import decoded, encoded, reading_order, rows_of


def receivers(session: Session, sop_instance_uid: str) -> list[str]:
    """Return the AE titles that are subscribed to the workitem."""
    return list(
        session.scalars(
            select(WorkitemSubscription.receiving_ae_title)
            .where(WorkitemSubscription.sop_instance_uid == sop_instance_uid)
            .order_by(WorkitemSubscription.receiving_ae_title)
        )
    )


def notify(session: Session, sop_instance_uid: str, reports: Iterable[EventReport]) -> None:
    """Let every subscriber of the workitem be told."""
    titles = receivers(session, sop_instance_uid)
    for report in reports:
        _tell(session, titles, report)


def _tell(session: Session, ae_titles: Sequence[str], report: EventReport) -> None:
    now = database_now(session)
    session.add_all(
        WorkitemEvent(
            receiving_ae_title=title,
            sop_instance_uid=report.sop_instance_uid,
            event_type=int(report.event_type),
            information=encoded(report.information),
            created_at=now,
        )
        for title in ae_titles
    )
    session.flush()


def introduce(session: Session, row: Workitem, site_zone: tzinfo, *, created: bool) -> None:
    """Subscribe those to the workitem who want to hear of all, or of such as it is now, and tell them of it.

    Parameters
    ----------
    created
        True for a new workitem; False for one that changed and may match a filter it did not match before.
    """
    known = set(receivers(session, row.sop_instance_uid))
    workitem = decoded(row.attributes)
    for wish in session.scalars(_global_wishes()).all():
        if wish.receiving_ae_title in known:
            continue
        filtered = wish.sop_instance_uid == FILTERED_SUBSCRIPTION
        if (filtered and not matches(workitem, decoded(wish.match_keys), site_zone)) or not (created or filtered):
            continue
        known.add(wish.receiving_ae_title)
        _subscribe(session, wish.receiving_ae_title, row.sop_instance_uid, wish.deletion_lock)
        for report in creation_reports(workitem):
            _tell(session, [wish.receiving_ae_title], report)


def _global_wishes() -> Select[WorkitemSubscription]:
    return select(WorkitemSubscription).where(WorkitemSubscription.sop_instance_uid.in_(WELL_KNOWN))


def subscribe_one(session: Session, row: Workitem, subscription: Subscription) -> None:
    """Subscribe to one workitem, or change the lock, and tell its state (PS3.4 table CC.2.3-2)."""
    _subscribe(session, subscription.receiving_ae_title, row.sop_instance_uid, subscription.deletion_lock)
    _tell(session, [subscription.receiving_ae_title], state_report(decoded(row.attributes)))


def subscribe_globally(session: Session, subscription: Subscription, site_zone: tzinfo) -> None:
    """Subscribe to all workitems there are and will be, or to those that match; with a lock their states are told."""
    title = subscription.receiving_ae_title
    _subscribe(session, title, subscription.sop_instance_uid, subscription.deletion_lock, encoded(subscription.keys))
    known = select(WorkitemSubscription.sop_instance_uid).where(WorkitemSubscription.receiving_ae_title == title)
    unknown = reading_order(session, Workitem.sop_instance_uid.not_in(known))
    for row in (row for batch in in_batches(unknown) for row in rows_of(session, batch)):
        workitem = decoded(row.attributes)
        if subscription.sop_instance_uid == FILTERED_SUBSCRIPTION and not matches(
            workitem, subscription.keys, site_zone
        ):
            continue
        _subscribe(session, title, row.sop_instance_uid, subscription.deletion_lock)
        if subscription.deletion_lock:
            _tell(session, [title], state_report(workitem))


def _subscribe(
    session: Session,
    ae_title: str,
    sop_instance_uid: str,
    deletion_lock: bool,
    match_keys: dict[str, Any] | None = None,
) -> None:
    changing = {"deletion_lock": deletion_lock, "match_keys": match_keys or {}, "created_at": database_now(session)}
    session.execute(
        inserting(session, WorkitemSubscription)
        .values(receiving_ae_title=ae_title, sop_instance_uid=sop_instance_uid, **changing)
        .on_conflict_do_update(index_elements=["receiving_ae_title", "sop_instance_uid"], set_=changing)
    )


def unsubscribe(session: Session, ae_title: str, sop_instance_uid: str | None) -> None:
    """End a receiver's subscription to one workitem; None ends all it has."""
    ending = delete(WorkitemSubscription).where(WorkitemSubscription.receiving_ae_title == ae_title)
    if sop_instance_uid is not None:
        ending = ending.where(WorkitemSubscription.sop_instance_uid == sop_instance_uid)
    session.execute(ending)


def suspend(session: Session, ae_title: str) -> None:
    """Let a receiver hear of no workitems that come from now on."""
    for uid in sorted(WELL_KNOWN):
        unsubscribe(session, ae_title, uid)


def announce_restart(session: Session, ae_titles: Sequence[str]) -> None:
    """Tell all configured receivers, subscribed or not, that this SCP has started (PS3.4 CC.2.4.3)."""
    _tell(session, ae_titles, restarted(GLOBAL_SUBSCRIPTION))
