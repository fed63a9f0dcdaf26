"""Deleting received images after the time a site keeps them: rows and results stay, unfinished work is not touched.

The rows say first that the images are deleted, then the files go. A process that dies in between leaves files that no
row claims any more, which the hourly cleaning removes; never a row whose file went unasked. An image that is sent again
meanwhile keeps its file (`worker.rows.orphans.remove_deleted`), and one that is sent again later is kept anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select
from sqlalchemy.orm import Session

from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.orphans import ORPHAN_AFTER_SECONDS
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, Disposition, InboundState, RunState, StudyState
from worker.rows.study_tables import IdentityCorrection, Instance, ReceivedNote, Study
from worker.settings.retention import Retention

ACTOR = "retention"
BATCH_STUDIES = 100
_SETTLED = (StudyState.TRIAGED, StudyState.OUT_OF_SCOPE, StudyState.NOT_ANALYSED)
_KEPT_SINCE = func.coalesce(Instance.restored_at, Instance.received_at)


def expired_studies(session: Session, retention: Retention) -> list[str]:
    """Return studies whose images may be deleted now, the oldest first, ``BATCH_STUDIES`` at most."""
    expired = _expired(retention, database_now(session)).order_by(Study.last_received_at).limit(BATCH_STUDIES)
    return list(session.scalars(expired))


def mark_deleted(session: Session, study_instance_uid: str, retention: Retention) -> list[str]:
    """Note that the study's images are deleted and return their paths; remove the files after the commit.

    Nothing is noted, and no path returned, where the study may no longer lose its images.
    """
    study = locked_study(session, study_instance_uid)
    now = database_now(session)
    still = _expired(retention, now).where(Study.study_instance_uid == study_instance_uid)
    if study is None or session.scalar(still) is None:
        return []
    own = select(Instance).where(Instance.study_instance_uid == study_instance_uid, Instance.deleted_at.is_(None))
    images = session.scalars(own.order_by(Instance.id)).all()
    for image in images:
        image.deleted_at = now
    study.images_deleted_at = now
    record(
        session,
        "images_deleted",
        actor=ACTOR,
        study_instance_uid=study_instance_uid,
        reason=f"{len(images)} stored objects deleted, as the retention of this site says; rows and results stay",
        details={
            "objects": len(images),
            "bytes": sum(image.bytes for image in images),
            **retention.model_dump(exclude_none=True),
        },
        at=now,
    )
    return [image.path for image in images]


def _expired(retention: Retention, now: datetime) -> Select[str]:
    """Return the query for the UIDs of studies whose images have been kept long enough."""
    untouched = now - timedelta(seconds=ORPHAN_AFTER_SECONDS)
    return select(Study.study_instance_uid).where(
        Study.images_deleted_at.is_(None),
        Study.last_received_at <= untouched,
        Study.due_at.is_(None),
        _image(Instance.deleted_at.is_(None)),
        ~_image(Instance.deleted_at.is_(None), untouched < _KEPT_SINCE),
        or_(_is_old(retention, now), _is_committed(retention, now)),
        *(~unfinished for unfinished in _unfinished()),
    )


def _is_old(retention: Retention, now: datetime) -> ColumnElement[bool]:
    if retention.images_after_days is None:
        return false()
    oldest = now - timedelta(days=retention.images_after_days)
    return and_(Study.state.in_(_SETTLED), ~_image(Instance.deleted_at.is_(None), oldest < _KEPT_SINCE))


def _is_committed(retention: Retention, now: datetime) -> ColumnElement[bool]:
    """Return the condition that the archive has answered for every result long enough ago."""
    if retention.images_after_commitment_days is None:
        return false()
    oldest = now - timedelta(days=retention.images_after_commitment_days)
    committed = (Run.id == Study.current_run_id, Delivery.state == DeliveryState.COMMITTED)
    return and_(
        Study.state == StudyState.TRIAGED,
        _delivery(*committed),
        ~_delivery(*committed, Delivery.committed_at > oldest),
        ~_image(Instance.deleted_at.is_(None), oldest < _KEPT_SINCE),
    )


def _unfinished() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of which none may hold: somebody still needs the images, or may need them."""
    under_way = Run.state.in_((RunState.QUEUED, RunState.RUNNING))
    asked = and_(Delivery.state == DeliveryState.SENT, Delivery.commitment_due_at.is_not(None))
    stopped = Delivery.state.in_((DeliveryState.REFUSED, DeliveryState.FAILED))
    owed = select(IdentityCorrection.id).where(
        IdentityCorrection.study_instance_uid == Study.study_instance_uid, IdentityCorrection.run_id.is_(None)
    )
    note = select(ReceivedNote.instance_id).join(Instance)
    return (
        select(Run.id).where(Run.study_instance_uid == Study.study_instance_uid, under_way).exists(),
        _delivery(or_(Delivery.state == DeliveryState.PENDING, asked)),
        _delivery(Run.id == Study.current_run_id, stopped),
        _image(Instance.current.is_(True), Instance.disposition == Disposition.CANDIDATE),
        and_(Study.current_run_id.is_not(None), owed.exists()),
        note.where(
            Instance.study_instance_uid == Study.study_instance_uid, ReceivedNote.state == InboundState.WAITING
        ).exists(),
    )


def _image(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    own = Instance.study_instance_uid == Study.study_instance_uid
    return select(Instance.id).where(own, *conditions).correlate(Study).exists()


def _delivery(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    deliveries = select(Delivery.id).join(Result, Delivery.result_id == Result.id).join(Run, Result.run_id == Run.id)
    return deliveries.where(Run.study_instance_uid == Study.study_instance_uid, *conditions).correlate(Study).exists()
