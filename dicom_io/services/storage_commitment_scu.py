"""Asks a peer to commit to objects it was sent, and waits a little for an answer on the same association."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from dicom_io.associations.client import ScuSettings, associate, end
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_commitment import (
    REQUEST_ACTION_TYPE,
    STATUS_SUCCESS,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    CommitmentAnswer,
    TakeAnswer,
    answer_event,
    commitment_request,
)

LOOK_SECONDS = 0.1
ANSWERING_SECONDS = 5.0
"""How long an event may be in the answering before the association is released all the same."""


@dataclass(frozen=True)
class RequestOutcome:
    """Whether the peer has taken the question; its answer comes as an event."""

    accepted: bool
    comment: str = ""
    """What kept it from being asked, in our own words."""
    unreachable: bool = False
    """True when there was no association at all."""


def request_commitment(
    peer: Peer,
    transaction_uid: str,
    objects: Mapping[str, str],
    calling_ae_title: str,
    settings: ScuSettings,
    take: TakeAnswer,
    *,
    wait_seconds: float,
    answered: Callable[[], bool] = lambda: False,
) -> RequestOutcome:
    """Send one N-ACTION (PS3.4 J.3.2) and keep the association open for the answer.

    Parameters
    ----------
    objects
        SOP Instance UID -> SOP Class UID.
    take
        Keeps an answer that comes on this association; called from the association's thread.
    wait_seconds
        How long to wait for it, at most. Many archives answer on an association of their own instead.
    answered
        Says that the answer has come in another way, so that waiting is over.
    """
    came = threading.Event()

    def take_and_tell(answer: CommitmentAnswer) -> bool:
        known = take(answer)
        if known and answer.transaction_uid == transaction_uid:
            came.set()
        return known

    answering: list[threading.Thread] = []

    def on_event(event: Event) -> tuple[int, None]:
        answering.append(threading.current_thread())  # one that pynetdicom starts for each event
        return answer_event(event, take_and_tell)

    handlers = [(evt.EVT_N_EVENT_REPORT, on_event)]
    association = associate(peer, [build_context(STORAGE_COMMITMENT)], calling_ae_title, settings, handlers)
    if isinstance(association, str):
        return RequestOutcome(False, association, unreachable=True)
    try:
        outcome = _ask(association, transaction_uid, objects)
        if outcome.accepted:
            _wait(association, came, wait_seconds, answered)
        return outcome
    finally:
        for thread in answering:
            thread.join(ANSWERING_SECONDS)  # what the archive said is answered before the association is released
        end(association)


def _ask(association: Association, transaction_uid: str, objects: Mapping[str, str]) -> RequestOutcome:
    if not association.accepted_contexts:
        return RequestOutcome(False, "the peer does not offer storage commitment")
    information = commitment_request(transaction_uid, objects)
    try:
        with reactor_held(association):
            response, _reply = association.send_n_action(
                information, REQUEST_ACTION_TYPE, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
            )
    except (ValueError, RuntimeError, OSError) as error:
        return RequestOutcome(False, f"the request was not sent ({type(error).__name__})")
    status = response.get("Status")
    if status is None:
        return RequestOutcome(False, "no answer to the request: timeout, abort or lost connection")
    if status != STATUS_SUCCESS:
        return RequestOutcome(False, f"the request was refused with status 0x{status:04X}")
    return RequestOutcome(True)


def _wait(association: Association, came: threading.Event, wait_seconds: float, answered: Callable[[], bool]) -> None:
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline and association.is_established:
        if came.wait(LOOK_SECONDS) or answered():
            return
