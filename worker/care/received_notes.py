"""Rejection notes that archives sent, done one after the other in the order in which they came; for the sweeper."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Set
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_reading import RejectionNote, UnreadableNoteError, read_rejection_note
from dicom_io.storing.instance_store import InstanceStore, StoreAway, StoreError
from worker.arrival.queued import QueuedRun
from worker.care.image_rejection import Rejection, reject_images
from worker.rows.batches import in_batches
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.leases import locked_study
from worker.rows.run_tables import Result
from worker.rows.states import DeliveryState, InboundState, ResultKind
from worker.rows.study_tables import Instance, ReceivedNote
from worker.sending.rejection import Why, reject_results
from worker.settings.config import Settings

logger = logging.getLogger(__name__)

BATCH_NOTES = 50
FIRST_WAIT_SECONDS = 10.0
"""Before a note that could not be done is tried again; doubles each time, up to `LONGEST_WAIT_SECONDS`."""
LONGEST_WAIT_SECONDS = 3600.0


def notes_to_apply(session: Session) -> list[int]:
    """Return the instance ids of the notes that are due, the oldest first, and count the attempt before it is made."""
    now = database_now(session)
    due = session.scalars(
        select(ReceivedNote)
        .where(ReceivedNote.state == InboundState.WAITING)
        .where(or_(ReceivedNote.next_attempt_at.is_(None), ReceivedNote.next_attempt_at <= now))
        .order_by(ReceivedNote.instance_id)
        .limit(BATCH_NOTES)
    ).all()
    for row in due:
        row.attempts += 1
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(row.attempts - 1, 20), LONGEST_WAIT_SECONDS)
        row.next_attempt_at = now + timedelta(seconds=wait)
    return [row.instance_id for row in due]


def apply_note(session: Session, instance_id: int, settings: Settings) -> list[QueuedRun]:
    """Do what one note says, or note that it says nothing; returns the runs to ring for after the commit.

    Raises
    ------
    StoreError
        The store of results is full, or a store is away; nothing was changed.
    """
    row = session.get(ReceivedNote, instance_id, with_for_update=True)
    if row is None or row.state != InboundState.WAITING:
        return []
    instance = row.instance
    try:
        note = read_rejection_note(InstanceStore(settings.instances_dir).open_intact(instance.path, instance.sha256))
    except StoreAway:  # a disk that is not mounted; tried again
        raise
    except (UnreadableNoteError, StoreError) as error:
        why = str(error) if isinstance(error, UnreadableNoteError) else "its file is gone or damaged"
        _settle(session, row, instance, InboundState.UNMATCHED, f"it may reject images, and {why}; look at it")
        return []
    if note is None:
        row.state, row.reason = InboundState.IGNORED, "its title rejects nothing"
        return []
    ours = _our_results(session, note)
    images = _by_study(note, {result.sop_instance_uid for result in ours})
    rejection = Rejection(note.title, instance.calling_ae_title or "unknown", instance.sop_instance_uid)
    _reject_ours(session, ours, rejection, settings)
    runs = [reject_images(session, uid, images[uid], rejection, settings) for uid in sorted(images)]
    named = f"{sum(map(len, images.values()))} objects of {len(images)} studies and {len(ours)} results of ours"
    _settle(session, row, instance, InboundState.APPLIED, f"{note.title.meaning}: {named}")
    return [run for run in runs if run is not None]


def _by_study(note: RejectionNote, ours: Set[str]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for study_instance_uid, sop_instance_uid in note.sop_instance_uids:
        if sop_instance_uid not in ours:
            found[study_instance_uid].add(sop_instance_uid)
    return found


def _our_results(session: Session, note: RejectionNote) -> list[Result]:
    """Return the objects of ours that the note names, in the order in which their studies are locked."""
    uids = sorted(uid for _study, uid in note.sop_instance_uids)
    found: list[Result] = []
    for some in in_batches(uids):
        query = select(Result).where(Result.sop_instance_uid.in_(some), Result.kind != ResultKind.HL7_MESSAGE)
        found += session.scalars(query)
    return sorted(found, key=lambda result: (result.run.study_instance_uid, result.run_id, result.id))


def _reject_ours(session: Session, ours: list[Result], rejection: Rejection, settings: Settings) -> None:
    """Send these results nowhere again, and tell the archives that have not said so themselves."""
    sender = {item.name for item in settings.destinations if item.ae_title == rejection.by}
    by_run: dict[int, list[Result]] = defaultdict(list)
    for result in ours:
        by_run[result.run_id].append(result)
    for run_id, results in by_run.items():
        uid = results[0].run.study_instance_uid
        locked_study(session, uid)
        there = [item for result in results for item in result.deliveries if item.destination in sender]
        for delivery in there:
            _rejected_there(delivery, rejection)
        told, _ = reject_results(session, results, Why(rejection.title, rejection.sentence, rejection.by), settings)
        record(
            session,
            "rejected_elsewhere",
            actor=rejection.by,
            study_instance_uid=uid,
            run_id=run_id,
            reason=f"{len(results)} results of ours were declared invalid ({rejection.sentence}); the study keeps its"
            " priority until a person retracts it",
            details={"note": rejection.note_uid, "title": rejection.title.code_value, "others_told": told},
        )


def _rejected_there(delivery: Delivery, rejection: Rejection) -> None:
    delivery.state, delivery.lease_until, delivery.commitment_due_at = DeliveryState.SUPERSEDED, None, None
    delivery.offered = False  # it has it no longer
    delivery.last_comment = f"declared invalid there: {rejection.title.meaning}"


def _settle(session: Session, row: ReceivedNote, instance: Instance, state: InboundState, reason: str) -> None:
    row.state, row.reason = state, reason
    logger.info("rejection note %s is %s", instance.sop_instance_uid, state)
    record(
        session,
        f"rejection_note_{state}",
        actor=instance.calling_ae_title or "unknown",
        study_instance_uid=instance.study_instance_uid,
        reason=reason,
        details={"sop_instance_uid": instance.sop_instance_uid},
    )
