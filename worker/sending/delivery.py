"""From the outbox to the PACS: a study over one association for each destination, backoff, older classes, plain states.

What a destination answers is judged as in PS3.4 B.2.3 and by what real archives mean by it: 0x0000, warnings and
"it is here already" are stored; out of resources (0xA7xx), aborts and timeouts are tried again for ever, with doubling
waits; everything else cannot be cured by repeating, so a report is tried in an older SR class and then, like a picture,
marked refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from dicom_io.services.storage_scu import SendOutcome, send
from dicom_io.storing.instance_store import StoreAway, StoreError
from worker.foundation.failpoints import failpoint
from worker.rows.database import DATABASE_GONE, database_now, outage_words
from worker.rows.events import record, record_all
from worker.rows.states import DeliveryState, ResultKind
from worker.sending import outage, outbox
from worker.sending.archive_identity import settle_identity
from worker.sending.commitment import due_commitment_destinations
from worker.sending.commitment_request import ask_for_commitment
from worker.sending.hl7_delivery import announce
from worker.sending.keeping import keeping_for
from worker.sending.last_look import contradiction, owner_of
from worker.sending.notification_rows import due_channels
from worker.sending.notifying import notify
from worker.sending.older_report import next_report_class, reissue_in_class
from worker.sending.outbox import LOSSES_BEFORE_REFUSAL, Parcel
from worker.sending.post_office import PostOffice
from worker.settings.hl7 import Hl7Destination
from worker.settings.peers import Destination

logger = logging.getLogger(__name__)


def deliver(study_instance_uid: str, office: PostOffice) -> None:
    """Send what is due of one study, to all destinations and people at once; what another process has is left to it."""
    with office.reading() as session:
        now = database_now(session)
        destinations = outbox.due_destinations(session, study_instance_uid, now)
        unasked = due_commitment_destinations(session, study_instance_uid, now)
        channels = due_channels(session, study_instance_uid, now)
        away = outage.destinations_away(session)
    steps: list[tuple[Callable[[str, str, PostOffice], None], str]] = [(notify, name) for name in sorted(channels)]
    steps += [
        (partial(_deliver_to, was_due=name in unasked, away=name in away), name)
        for name in sorted(destinations | unasked)
    ]
    if not steps:
        return
    with ThreadPoolExecutor(len(steps), "delivery") as threads:  # a silent one must not hold up the others
        running = [threads.submit(copy_context().run, step, study_instance_uid, name, office) for step, name in steps]
    for done in running:
        done.result()


def _deliver_to(study_instance_uid: str, destination: str, office: PostOffice, *, was_due: bool, away: bool) -> None:
    asked = not away or _may_try(destination, office)
    while asked:  # again for what an answer that came at once has put back
        while parcels := _take(study_instance_uid, destination, office):  # again for a report in an older class
            outcomes = _deliver_batch(study_instance_uid, destination, parcels, office)
            if any(outcome.unreachable for outcome in outcomes):
                return
            if all(outcome.accepted for outcome in outcomes):
                break  # nothing was put back
        asked = ask_for_commitment(study_instance_uid, destination, office, was_due=was_due)


def _may_try(destination: str, office: PostOffice) -> bool:
    with office.sessions.begin() as session:
        return outage.may_try(session, destination, office.settings)


def _take(study_instance_uid: str, destination: str, office: PostOffice) -> list[Parcel]:
    with office.sessions.begin() as session:
        return outbox.take_due(session, study_instance_uid, destination, office.settings)


def _deliver_batch(
    study_instance_uid: str, name: str, parcels: Sequence[Parcel], office: PostOffice
) -> list[SendOutcome]:
    """Send the parcels, note every answer and return them."""
    destination = office.destination(name)
    if destination is None:
        _give_up(study_instance_uid, parcels, f"destination {name} is not configured any more", office)
        with office.sessions.begin() as session:
            outage.forget(session, name)
        return []
    with _kept_in_hand(parcels, office):
        outcomes = _settled_and_sent(study_instance_uid, destination, parcels, office)
    failpoint("after_store_before_row")
    with office.sessions.begin() as session:
        _note_accepted(session, study_instance_uid, [pair for pair in outcomes if pair[1].accepted], office)
        for parcel, outcome in outcomes:
            if not outcome.accepted:
                _note_not_accepted(session, study_instance_uid, parcel, outcome, office)
        if any(outcome.unreachable for _parcel, outcome in outcomes):
            outage.note_away(session, name, office.worker_name, office.settings)
        elif outcomes:
            outage.note_back(session, name, office.worker_name)
    return [outcome for _parcel, outcome in outcomes]


def _settled_and_sent(
    study_instance_uid: str, destination: Destination | Hl7Destination, parcels: Sequence[Parcel], office: PostOffice
) -> list[tuple[Parcel, SendOutcome]]:
    """Send the parcels; where the archive is to be asked whose study it is, results wait for its answer.

    What takes results back goes as it is: it names whoever they were stored under.
    """
    results = [parcel for parcel in parcels if parcel.kind != ResultKind.REJECTION_NOTE]
    if not results or not isinstance(destination, Destination) or not destination.refresh_identity:
        return _send(study_instance_uid, destination, parcels, office)
    hindrance = settle_identity(study_instance_uid, destination, office)
    if hindrance is None:
        return _send(study_instance_uid, destination, parcels, office)
    notes = [parcel for parcel in parcels if parcel not in results]
    waiting = SendOutcome(
        Path(),
        None,
        hindrance.why,
        False,
        permanent=False,
        comment_is_ours=True,
        unreachable=hindrance.unreachable,
        withheld=True,
    )
    return [*_send(study_instance_uid, destination, notes, office), *((parcel, waiting) for parcel in results)]


def _send(
    study_instance_uid: str, destination: Destination | Hl7Destination, parcels: Sequence[Parcel], office: PostOffice
) -> list[tuple[Parcel, SendOutcome]]:
    """Send the parcels that may still go and whose files are as they were written, over one connection.

    Those with other files are given up; those that were stopped meanwhile are not in the answer.
    """
    ready: dict[Parcel, Path] = {}
    dropped = [(parcel, _dropped(parcel)) for parcel in parcels if parcel.lost >= LOSSES_BEFORE_REFUSAL]
    with office.reading() as session:
        owner = owner_of(session, study_instance_uid)
    for parcel in parcels:
        if parcel.lost >= LOSSES_BEFORE_REFUSAL:
            continue
        try:
            path = _intact_file(parcel, office)
        except StoreAway:
            dropped.append((parcel, _withheld(parcel)))
            continue
        if path is None:
            _give_up(study_instance_uid, [parcel], "the result's file is missing or damaged; requeue the study", office)
        elif wrong := contradiction(parcel, path, owner):
            why = f"the result's file contradicts its study in {wrong}; nothing was sent, requeue the study"
            _give_up(study_instance_uid, [parcel], why, office)
        else:
            ready[parcel] = path
    with office.sessions.begin() as session:
        offered = outbox.offer(session, study_instance_uid, list(ready)) if ready else []
    if not offered:
        return dropped
    paths, settings = [ready[parcel] for parcel in offered], office.settings
    if isinstance(destination, Hl7Destination):
        outcomes = announce(destination, paths, [parcel.attempts for parcel in offered])
    else:
        keeping = keeping_for(destination, office.keeper)
        outcomes = send(destination.peer(), paths, settings.ae_title, office.patience(), keeping)
    return dropped + list(zip(offered, outcomes, strict=True))


def _dropped(parcel: Parcel) -> SendOutcome:
    """Return a refusal without another attempt: sending the same bytes again did not help."""
    comment = "the destination takes it and does not keep it"
    return SendOutcome(Path(parcel.path), None, comment, False, permanent=True, comment_is_ours=True)


def _withheld(parcel: Parcel) -> SendOutcome:
    """Return a delay: what lies on a disk that is not mounted, or is another user's, is not lost."""
    comment = "the folder of results is empty, or another user's; mount its disk, or look whose it is"
    return SendOutcome(Path(parcel.path), None, comment, False, permanent=False, comment_is_ours=True, withheld=True)


def _intact_file(parcel: Parcel, office: PostOffice) -> Path | None:
    try:
        return office.results.open_intact(parcel.path, parcel.sha256)
    except StoreAway:
        raise
    except StoreError:
        return None


def _give_up(study_instance_uid: str, parcels: Sequence[Parcel], why: str, office: PostOffice) -> None:
    with office.sessions.begin() as session:
        for parcel in parcels:
            if outbox.note_over(session, parcel, DeliveryState.FAILED, None, why):
                _record(session, "delivery_failed", study_instance_uid, parcel, why, office)


def _note_accepted(
    session: Session, study_instance_uid: str, outcomes: Sequence[tuple[Parcel, SendOutcome]], office: PostOffice
) -> None:
    """Write what the destination has into its rows and into the audit trail, equal answers together."""
    answers: dict[tuple[int | None, str], list[tuple[Parcel, SendOutcome]]] = {}
    for parcel, outcome in outcomes:
        answers.setdefault((outcome.status, outcome.comment), []).append((parcel, outcome))
    for (status, comment), equal in answers.items():
        parcels, now = [parcel for parcel, _outcome in equal], database_now(session)
        commitment = _commits(parcels[0], office)
        noted = outbox.note_sent(session, parcels, status, comment, now, commitment=commitment)
        kind, answer = "stored" if commitment else "delivered", describe_answer(equal[0][1])
        told = [
            _event(kind, study_instance_uid, parcel, answer, office) | {"at": now}
            for parcel in parcels
            if parcel.delivery_id in noted
        ]
        record_all(session, told)


def _note_not_accepted(
    session: Session, study_instance_uid: str, parcel: Parcel, outcome: SendOutcome, office: PostOffice
) -> None:
    """Write one answer into its row, and into the audit trail when it settles something."""
    answer = describe_answer(outcome)
    if not outcome.permanent:
        _put_back(session, study_instance_uid, parcel, outcome, answer, office, may_be_there=_may_be_there(outcome))
    elif outbox.is_report(parcel) and (older := next_report_class(parcel.sop_class_uid)):
        _reissue(session, study_instance_uid, parcel, older, outcome, office)
    elif outbox.note_over(session, parcel, DeliveryState.REFUSED, outcome.status, outcome.comment):
        _record(session, "delivery_refused", study_instance_uid, parcel, answer, office)


def _put_back(
    session: Session,
    study_instance_uid: str,
    parcel: Parcel,
    outcome: SendOutcome,
    why: str,
    office: PostOffice,
    *,
    may_be_there: bool,
) -> None:
    """Have the parcel tried again; the audit trail hears of the first time."""
    again = outbox.note_retry(
        session,
        parcel,
        outcome.status,
        outcome.comment,
        office.settings,
        unreachable=outcome.unreachable,
        offered=parcel.offered or may_be_there,
        passed_over=outcome.passed_over,
    )
    if again and parcel.attempts == 1:
        _record(session, "delivery_delayed", study_instance_uid, parcel, why, office)


def _reissue(
    session: Session, study_instance_uid: str, parcel: Parcel, older: str, outcome: SendOutcome, office: PostOffice
) -> None:
    """Put a refused report into the outbox in an older class; once there is room for it, where there is none now."""
    if not outbox.is_in_hand(session, parcel):
        return
    answer = describe_answer(outcome)
    try:
        wrong = reissue_in_class(session, parcel, older, office.results)
    except StoreError as error:  # what else this association brought is noted all the same, else it would go out again
        logger.error("study=%s: its report cannot be written in an older class: %s", study_instance_uid, error)
        why = f"{answer}; not written in an older class yet, for the store of results takes nothing"
        delayed = replace(outcome, comment=why, comment_is_ours=True)
        _put_back(session, study_instance_uid, parcel, delayed, why, office, may_be_there=False)
        return
    if wrong:
        outbox.note_over(session, parcel, DeliveryState.FAILED, outcome.status, wrong)
        _record(session, "delivery_failed", study_instance_uid, parcel, wrong, office)
        return
    outbox.note_over(session, parcel, DeliveryState.SUPERSEDED, outcome.status, f"{answer}; sent in an older class")
    _record(session, "report_class_changed", study_instance_uid, parcel, answer, office)


def _may_be_there(outcome: SendOutcome) -> bool:
    """Return whether the destination may have kept what it did not confirm: it was offered, and no answer came."""
    if outcome.unanswered:  # on one association at least
        return True
    return not outcome.unreachable and not outcome.withheld and outcome.status is None


def _commits(parcel: Parcel, office: PostOffice) -> bool:
    """Return whether the destination is asked to keep this object before it counts as delivered."""
    destination = office.destination(parcel.destination)
    return isinstance(destination, Destination) and destination.storage_commitment


def describe_answer(outcome: SendOutcome) -> str:
    """Return the destination's answer in a few words without its free text, which may quote the patient."""
    if outcome.comment_is_ours:
        return outcome.comment
    if outcome.status is None:
        return "no answer" if not outcome.permanent else "no presentation context"
    return f"status 0x{outcome.status:04X}"


def _record(
    session: Session, kind: str, study_instance_uid: str, parcel: Parcel, reason: str, office: PostOffice
) -> None:
    record(session, **_event(kind, study_instance_uid, parcel, reason, office))


def _event(kind: str, study_instance_uid: str, parcel: Parcel, reason: str, office: PostOffice) -> dict[str, Any]:
    """Return what the audit trail says of a parcel, and tell the log."""
    logger.info("%s: %s to %s, attempt %d (%s)", kind, parcel.kind, parcel.destination, parcel.attempts, reason)
    return {
        "kind": kind,
        "actor": office.worker_name,
        "study_instance_uid": study_instance_uid,
        "run_id": parcel.run_id,
        "reason": reason,
        "details": {"destination": parcel.destination, "delivery_id": parcel.delivery_id, "attempts": parcel.attempts},
    }


@contextmanager
def _kept_in_hand(parcels: Sequence[Parcel], office: PostOffice) -> Iterator[None]:
    """Renew the parcels' leases from a thread while the block runs: a slow archive may take longer than one lease."""
    over = threading.Event()

    def renew_until_over() -> None:
        while not over.wait(office.settings.lease_renewal_seconds):
            try:
                with office.sessions.begin() as session:
                    outbox.renew(session, parcels, office.settings)
            except DATABASE_GONE as error:  # tried again; a lapsed lease costs at most a second, equal sending
                logger.warning("cannot renew %d parcels in hand (%s)", len(parcels), outage_words(error))

    renewer = threading.Thread(target=renew_until_over, name="parcel-leases", daemon=True)
    renewer.start()
    try:
        yield
    finally:
        over.set()
        renewer.join()
