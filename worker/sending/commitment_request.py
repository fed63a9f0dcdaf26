"""Asks a destination to commit to what it was sent (PS3.4 annex J); the answer may come here or to the listener."""

from __future__ import annotations

import logging

from dicom_io.services.storage_commitment_scu import RequestOutcome, request_commitment
from worker.sending.commitment import (
    Transaction,
    forget_uncommitted,
    is_answered,
    note_asked,
    note_not_asked,
    take_uncommitted,
)
from worker.sending.commitment_answer import answer_taker
from worker.sending.outage import note_away, note_back
from worker.sending.post_office import PostOffice
from worker.settings.peers import Destination

logger = logging.getLogger(__name__)


def ask_for_commitment(study_instance_uid: str, name: str, office: PostOffice, *, was_due: bool) -> bool:
    """Ask about everything of the study that is due to be asked about at this destination, in one transaction.

    Parameters
    ----------
    was_due
        Whether there was something to ask about before this delivery; forgotten where that is no longer wanted.

    Returns
    -------
    bool
        Whether the destination took a question; its answer may have come meanwhile.
    """
    destination = office.destination(name)
    if not isinstance(destination, Destination) or not destination.storage_commitment:
        if was_due:
            with office.sessions.begin() as session:
                forget_uncommitted(session, study_instance_uid, name)
        return False
    with office.sessions.begin() as session:
        transaction = take_uncommitted(session, study_instance_uid, name, office.settings, office.worker_name)
    if transaction is None:
        return False
    outcome = _ask(destination, transaction, office)
    logger.info("commitment of %d objects %s %s", len(transaction.objects), name, outcome.comment or "asked for")
    with office.sessions.begin() as session:
        if outcome.accepted:
            note_asked(session, transaction)
        else:
            note_not_asked(session, transaction, outcome, office.settings, office.worker_name)
        if outcome.unreachable:
            note_away(session, name, office.worker_name, office.settings)
        else:
            note_back(session, name, office.worker_name)
    return outcome.accepted


def _ask(destination: Destination, transaction: Transaction, office: PostOffice) -> RequestOutcome:
    reading = office.reading

    def answered() -> bool:
        with reading() as session:
            return is_answered(session, transaction.transaction_uid)

    return request_commitment(
        destination.peer(),
        transaction.transaction_uid,
        transaction.objects,
        office.settings.ae_title,
        office.patience(),
        answer_taker(office.sessions, office.settings, office.worker_name),
        wait_seconds=destination.commitment_wait_seconds,
        answered=answered,
    )
