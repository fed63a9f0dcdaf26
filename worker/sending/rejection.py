"""Taking results back: archives get a rejection note (IHE IOCM), HL7 receivers a withdrawal, what waits is stopped.

One note names what one run has, or may have, at one destination. It goes through the outbox like any other object, so
an archive that is down hears of it later; until it has taken the note, the view ``triage_worklist`` counts what it
rejects among the ``leftovers``. What may or may not have arrived (sent, and no answer) gets a note of its own: an
archive that refuses a note because it does not know an object must still take the one about those it has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pydicom
from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_io.data_sets.rejection_title import RejectionTitle
from dicom_io.results.identity_guard import require_identity
from dicom_io.results.rejection_note import build_rejection_note
from dicom_io.results.result_file import write_result
from dicom_io.storing.instance_store import InstanceStore, StoreAway, StoreError
from worker.rows.database import database_now
from worker.rows.delivery_tables import Delivery
from worker.rows.events import record
from worker.rows.outcome import supersede_pending
from worker.rows.run_tables import Result, Run
from worker.rows.states import DeliveryState, ResultKind
from worker.sending.withdrawal import withdraw_announcements
from worker.settings.config import Settings

_KEPT_APART = (ResultKind.HL7_MESSAGE, ResultKind.REJECTION_NOTE)
_STORED = (DeliveryState.SENT, DeliveryState.COMMITTED)
_UNSETTLED = (DeliveryState.PENDING, DeliveryState.SUPERSEDED, DeliveryState.FAILED)


@dataclass(frozen=True)
class TakenBack:
    """Who is told."""

    objects: int = 0
    """Objects that an archive has, or may have, times archives."""
    messages: int = 0
    """HL7 receivers that were told of the study."""
    by_hand: int = 0
    """Objects that no note can name any more, because their files here are gone or damaged."""
    untold: int = 0
    """HL7 receivers whose message cannot be withdrawn any more, because its file here is gone or damaged."""

    @property
    def anybody(self) -> bool:
        """Whether somebody is told: ring for the study's delivery after the commit."""
        return self.objects + self.messages > 0

    @property
    def words(self) -> str:
        """What happens now, as the end of a sentence; empty where nobody has to be told."""
        said = []
        if self.objects:
            said.append(f"rejection notes for {self.objects} sent objects are on their way")
        if self.messages:
            said.append(f"{self.messages} HL7 messages are withdrawn")
        if self.by_hand:
            lost = f"{self.by_hand} sent objects must be removed from the archive by hand"
            said.append(f"{lost}: their files are gone or damaged")
        if self.untold:
            lost = f"the receivers of {self.untold} HL7 messages must be told by a person that these were wrong"
            said.append(f"{lost}: their files are gone or damaged")
        return "; ".join(said)


@dataclass(frozen=True)
class Why:
    """Why results are taken back, for archives, receivers and the audit trail."""

    title: RejectionTitle
    words: str
    """A sentence; never patient data."""
    actor: str


def take_back(
    session: Session, runs: Sequence[Run], why: Why, settings: Settings, *, messages: bool = True
) -> TakenBack:
    """Take back everything these runs of one study have sent or may have sent, and stop what still waits.

    Call it before a new run of the study ends, so that receivers hear of the old before the new. The caller has locked
    the study's row and commits.

    Parameters
    ----------
    messages
        False leaves HL7 receivers what they were told: for corrections that came from there, and that the next message
        says anyway.

    Raises
    ------
    StoreError
        The store of results is full or away.
    """
    store = InstanceStore(settings.results_dir)
    objects = by_hand = 0
    for run in runs:
        of_run = session.scalars(select(Result).where(Result.run_id == run.id).order_by(Result.id)).all()
        named, unnamed = reject_results(session, of_run, why, settings)
        objects, by_hand = objects + named, by_hand + unnamed
    withdrawn, untold = withdraw_announcements(session, runs, store, why.words, why.actor) if messages else (0, 0)
    supersede_pending(session, select(Result.id).where(Result.run_id.in_([run.id for run in runs])))
    return TakenBack(objects, withdrawn, by_hand, untold)


def reject_results(session: Session, results: Sequence[Result], why: Why, settings: Settings) -> tuple[int, int]:
    """Put notes that reject these objects of one run into the outbox.

    Returns
    -------
    tuple of int
        How many deliveries notes take back, and how many no note can name because the object's file is gone or
        damaged.

    Raises
    ------
    StoreError
        The store of results is full or away.
    """
    groups: dict[tuple[str, bool], list[Delivery]] = defaultdict(list)
    objects = [result for result in results if result.kind not in _KEPT_APART]
    for result in objects:
        for delivery in result.deliveries:
            stored = delivery.state in _STORED
            if stored or _may_be_there(delivery, objects):
                groups[delivery.destination, stored].append(delivery)
    named = sum(_reject(session, deliveries, why, settings) for _, deliveries in sorted(groups.items()))
    return named, sum(map(len, groups.values())) - named


def _may_be_there(delivery: Delivery, of_run: Sequence[Result]) -> bool:
    """Return whether an object without a settled answer may be there: it was offered, and nobody said it is not."""
    if delivery.state not in _UNSETTLED or not delivery.offered:
        return False
    return not any(  # a report that was refused, and sent in an older class
        other.kind == delivery.result.kind
        and other.finding == delivery.result.finding
        and any(later.destination == delivery.destination and later.id > delivery.id for later in other.deliveries)
        for other in of_run
    )


def _reject(session: Session, deliveries: Sequence[Delivery], why: Why, settings: Settings) -> int:
    run, destination = deliveries[0].result.run, deliveries[0].destination
    store = InstanceStore(settings.results_dir)
    headers = [header for delivery in deliveries if (header := _header(delivery.result, store)) is not None]
    note = _note(session, run, headers, why, store, settings) if headers else None
    uid = None if note is None else note.sop_instance_uid
    if note is not None:
        leases = [delivery.lease_until for delivery in deliveries if delivery.lease_until is not None]
        note.deliveries.append(Delivery(destination=destination, next_attempt_at=max(leases, default=None)))
    named = {str(header.SOPInstanceUID) for header in headers}
    for delivery in deliveries:
        delivery.state, delivery.lease_until, delivery.commitment_due_at = DeliveryState.REJECTED, None, None
        delivery.rejection_note_uid = uid if delivery.result.sop_instance_uid in named else None
    left = len(deliveries) - len(headers)
    lost = f"; {left} more cannot be named, for their files are gone or damaged: remove them by hand" if left else ""
    record(
        session,
        "results_rejected",
        actor=why.actor,
        study_instance_uid=run.study_instance_uid,
        run_id=run.id,
        reason=f"{destination} is told that {len(headers)} objects are invalid, {why.title.meaning}{lost}: {why.words}",
        details={"destination": destination, "note": uid, "title": why.title.code_value, "objects": len(headers)},
    )
    session.flush()
    return len(headers)


def _header(result: Result, store: InstanceStore) -> Dataset | None:
    try:
        return pydicom.dcmread(store.open_intact(result.path, result.sha256), stop_before_pixels=True)
    except StoreAway:  # what cannot be reached now is not lost
        raise
    except StoreError:
        return None


def _note(
    session: Session, run: Run, headers: Sequence[Dataset], why: Why, store: InstanceStore, settings: Settings
) -> Result:
    """Return the row of the note about these objects, made where this run has none yet; the file is on disk."""
    now = database_now(session)
    dataset = build_rejection_note(
        headers,
        why.title,
        why.words,
        now,
        site_zone=ZoneInfo(settings.time_zone),
        device_serial_number=settings.device_serial_number,
    )
    uid = str(dataset.SOPInstanceUID)
    known = session.scalars(select(Result).where(Result.run_id == run.id, Result.sop_instance_uid == uid)).one_or_none()
    if known is not None:
        return known
    content = write_result(dataset)
    require_identity(content, headers[0])
    file = store.write(run.study_instance_uid, uid, [content])
    note = Result(
        run_id=run.id,
        kind=ResultKind.REJECTION_NOTE,
        finding=None,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=uid,
        series_instance_uid=str(dataset.SeriesInstanceUID),
        path=file.path,
        bytes=file.bytes,
        sha256=file.sha256,
        created_at=now,
    )
    session.add(note)
    return note
