"""What is asked and answered about storage commitment (Push Model, PS3.4 annex J), whichever association carries it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom.events import Event

from dicom_io.data_sets.elements import integer
from dicom_io.data_sets.header import text
from dicom_io.data_sets.nesting import TooManyItemsError, require_few_items

LOGGER = logging.getLogger(__name__)

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION_TYPE = 1
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event types of the answer (PS3.4 J.3.3.1)."""

STATUS_SUCCESS = 0x0000
STATUS_PROCESSING_FAILURE = 0x0110
STATUS_INVALID_ARGUMENT = 0x0115

MAXIMUM_ITEMS, MAXIMUM_NESTING = 10_000, 16
"""Of an answer: more objects than are ever asked about together, and its items are nested once."""

FAILURE_WORDS = {
    0x0110: "processing failure",
    0x0112: "the archive does not have it",
    0x0119: "class and instance do not agree",
    0x0122: "the archive does not commit this class",
    0x0131: "the transaction was known already",
    0x0213: "the archive is out of resources",
}
"""Failure Reason (0008,1197) in words (PS3.3 C.14.1.1); others are given as numbers."""


@dataclass(frozen=True)
class CommitmentAnswer:
    """What a peer says about the objects of one transaction."""

    transaction_uid: str
    committed: frozenset[str]
    """SOP Instance UIDs the peer has taken responsibility for."""
    failed: Mapping[str, int]
    """SOP Instance UID -> Failure Reason, 0 where none was given."""


TakeAnswer = Callable[[CommitmentAnswer], bool]
"""Makes an answer durable; False = its transaction is unknown here. What it raises is answered with 0x0110."""


class AnswerError(Exception):
    """The event information cannot be used; the message says what is missing."""


def commitment_request(transaction_uid: str, objects: Mapping[str, str]) -> Dataset:
    """Return the action information of a request (PS3.4 table J.3-1).

    Parameters
    ----------
    objects
        SOP Instance UID -> SOP Class UID.
    """
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_instance_uid, sop_class_uid in objects.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def read_answer(event_type_id: int | None, information: Dataset) -> CommitmentAnswer:
    """Read the event information of an answer (PS3.4 table J.3-2).

    An object that is named both as committed and as failed counts as failed.

    Raises
    ------
    AnswerError
        The event type or the Transaction UID is none.
    """
    if event_type_id not in (ALL_COMMITTED, SOME_FAILED):
        raise AnswerError(f"event type {event_type_id} is neither 1 nor 2")
    transaction_uid = text(information, "TransactionUID")
    if not transaction_uid or not UID(transaction_uid).is_valid:
        raise AnswerError("it has no valid Transaction UID")
    failed = {
        text(item, "ReferencedSOPInstanceUID"): _reason(item) for item in _items(information, "FailedSOPSequence")
    }
    named = {text(item, "ReferencedSOPInstanceUID") for item in _items(information, "ReferencedSOPSequence")}
    return CommitmentAnswer(transaction_uid, frozenset(named - set(failed) - {""}), failed)


def _items(information: Dataset, keyword: str) -> list[Dataset]:
    value = information.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def _reason(item: Dataset) -> int:
    return integer(item, "FailureReason", 0) or 0


def failure_words(reason: int) -> str:
    """Return a Failure Reason in words with its number, such as ``the archive does not have it (0x0112)``."""
    return f"{FAILURE_WORDS.get(reason, 'failed')} (0x{reason:04X})"


def answer_event(event: Event, take: TakeAnswer) -> tuple[int, None]:
    """Answer one N-EVENT-REPORT of a peer; a handler of EVT_N_EVENT_REPORT, on whichever side the association began.

    Returns
    -------
    tuple
        0x0000 once the answer is durable, 0x0115 for what cannot be read or was never asked, 0x0110 when it could not
        be kept now; there is no event reply.
    """
    request: Any = event.request
    try:
        if request.EventInformation is not None:
            encoded, syntax = request.EventInformation.getvalue(), str(event.context.transfer_syntax)
            require_few_items(encoded, syntax, most_items=MAXIMUM_ITEMS, deepest=MAXIMUM_NESTING)
        answer = read_answer(request.EventTypeID, event.event_information)
        known = take(answer)
    except (AnswerError, TooManyItemsError) as error:
        LOGGER.warning("storage commitment answer refused: %s", error)
        return STATUS_INVALID_ARGUMENT, None
    except Exception as error:  # noqa: BLE001 (border to the network: the peer must get a status of ours)
        LOGGER.error("storage commitment answer not kept (%s); its objects are asked about again", type(error).__name__)
        return STATUS_PROCESSING_FAILURE, None
    if not known:
        LOGGER.warning("storage commitment answer to a transaction that was never asked: %s", answer.transaction_uid)
        return STATUS_INVALID_ARGUMENT, None
    return STATUS_SUCCESS, None
