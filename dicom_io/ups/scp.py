"""The UPS SCP: DIMSE requests checked, handed to the worklist, and answered with a status of ours (PS3.4 annex CC).

Every request may come in a context of any of the four classes (Push, Watch, Pull, Query): common clients take the first
one that was accepted for all they do.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.events import Event

from dicom_io.data_sets.header import PARSE_ERRORS
from dicom_io.data_sets.nesting import TooManyItemsError, require_few_items
from dicom_io.foundation.uids import is_valid_uid
from dicom_io.ups.attributes import MAXIMUM_DATA_SET_BYTES, MAXIMUM_ITEMS, MAXIMUM_NESTING
from dicom_io.ups.matching import HIDDEN, answer, declare_character_set, unsupported_keys
from dicom_io.ups.service import (
    FILTERED_SUBSCRIPTION,
    PUSH,
    UPS_CLASSES,
    WELL_KNOWN,
    ActionType,
    Subscription,
    Worklist,
    WorklistUnavailable,
)
from dicom_io.ups.status import UpsRefusal, UpsStatus

LOGGER = logging.getLogger(__name__)
ERROR_COMMENT_CHARACTERS = 64
OPTIONAL_KEYS_UNSUPPORTED = 0xFF01

Answer = tuple[Dataset, Dataset | None]


class UpsScp:
    """Event handlers of an association acceptor that serve one worklist."""

    def __init__(self, worklist: Worklist) -> None:
        self._worklist = worklist

    def handlers(self) -> list[Any]:
        """Return the handlers to bind, pynetdicom's way."""
        return [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_GET, self._answering(self._get)),
            (evt.EVT_N_SET, self._answering(self._modify)),
            (evt.EVT_N_CREATE, self._answering(self._create)),
            (evt.EVT_N_ACTION, self._answering(self._act)),
        ]

    def _answering(self, serve: Callable[[Event], Answer]) -> Callable[[Event], Answer]:
        """Return a handler from which no exception escapes: pynetdicom would answer with a status of its own."""

        def answering(event: Event) -> Answer:
            try:
                return serve(event)
            except UpsRefusal as refusal:
                LOGGER.info("UPS request of %s refused: 0x%04X %s", caller(event), refusal.status, refusal)
                return status(refusal.status, str(refusal)), None
            except WorklistUnavailable as error:
                LOGGER.error("UPS request not served: %s", error)
                return status(UpsStatus.PROCESSING_FAILURE, "Cannot serve now, ask again later"), None
            except Exception as error:  # noqa: BLE001 (border to the network: a peer must always get a status of ours)
                return _unexpected(error), None

        return answering

    def _find(self, event: Event) -> Iterator[Answer]:
        try:
            yield from self._found(event)
        except UpsRefusal as refusal:
            yield status(refusal.status, str(refusal)), None
        except WorklistUnavailable as error:
            LOGGER.error("UPS query not served: %s", error)
            yield status(UpsStatus.OUT_OF_RESOURCES, "Cannot serve now, ask again later"), None
        except Exception as error:  # noqa: BLE001 (as above; pynetdicom's own would be 0xC311, "already COMPLETED")
            _unexpected(error)
            yield status(UpsStatus.UNABLE_TO_PROCESS, f"Internal error ({type(error).__name__})"), None

    def _found(self, event: Event) -> Iterator[Answer]:
        if str(_request(event).AffectedSOPClassUID) not in UPS_CLASSES:
            raise UpsRefusal(UpsStatus.IDENTIFIER_MISMATCH)
        keys = _data_set(event, "Identifier", UpsStatus.UNABLE_TO_PROCESS)
        for workitem in self._worklist.find(keys):
            if event.is_cancelled:
                yield status(UpsStatus.CANCEL), None
                return
            response = Dataset()
            response.Status = OPTIONAL_KEYS_UNSUPPORTED if unsupported_keys(workitem, keys) else UpsStatus.PENDING
            yield response, answer(workitem, keys)

    def _get(self, event: Event) -> Answer:
        uid = _requested(event)
        asked = event.attribute_identifiers
        workitem = self._worklist.get(uid)
        if not asked:
            declare_character_set(workitem)
            return status(UpsStatus.SUCCESS), workitem
        chosen, lacking = Dataset(), False
        for tag in asked:
            if tag in workitem:
                chosen.add(workitem[tag])
            elif tag != 0x00080005:
                lacking = True
        declare_character_set(chosen)
        return status(UpsStatus.OPTIONAL_ATTRIBUTES_UNSUPPORTED if lacking else UpsStatus.SUCCESS), chosen

    def _modify(self, event: Event) -> Answer:
        uid = _requested(event)
        modifications = _data_set(event, "ModificationList")
        transaction_uid = str(modifications.get("TransactionUID") or "")
        return status(self._worklist.modify(uid, transaction_uid, modifications, caller(event))), None

    def _create(self, event: Event) -> Answer:
        if str(_request(event).AffectedSOPClassUID) != PUSH:
            raise UpsRefusal(UpsStatus.NO_SUCH_CLASS)
        given = _request(event).AffectedSOPInstanceUID
        uid = str(given) if given is not None else ""
        if given is not None and (not is_valid_uid(uid) or uid in WELL_KNOWN):
            raise UpsRefusal(UpsStatus.INVALID_INSTANCE)
        attributes = _data_set(event, "AttributeList")
        if not given:
            uid = str(generate_uid(prefix=None))
        outcome = status(self._worklist.create(uid, attributes, caller(event)))
        if given:
            return outcome, None
        made = Dataset()
        made.AffectedSOPInstanceUID = uid
        return outcome, made

    def _act(self, event: Event) -> Answer:
        uid = _requested(event)
        try:
            action = ActionType(_request(event).ActionTypeID)
        except ValueError:
            raise UpsRefusal(UpsStatus.NO_SUCH_ACTION) from None
        given = _data_set(event, "ActionInformation")
        if action is ActionType.CHANGE_STATE:
            _require(given, "ProcedureStepState")
            transaction_uid = str(given.get("TransactionUID") or "")
            outcome = self._worklist.change_state(uid, str(given.ProcedureStepState), transaction_uid, caller(event))
        elif action is ActionType.REQUEST_CANCEL:
            outcome = self._worklist.request_cancel(uid, given, caller(event))
        else:
            outcome = self._change_subscription(action, uid, given)
        return status(outcome), None

    def _change_subscription(self, action: ActionType, uid: str, given: Dataset) -> UpsStatus:
        _require(given, "ReceivingAE")
        receiver = str(given.ReceivingAE).strip()
        if action is ActionType.SUBSCRIBE:
            return self._worklist.subscribe(_subscription(uid, receiver, given))
        if action is ActionType.UNSUBSCRIBE:
            return self._worklist.unsubscribe(uid, receiver)
        if uid not in WELL_KNOWN:
            raise UpsRefusal(UpsStatus.ACTION_NOT_APPROPRIATE)
        return self._worklist.suspend(uid, receiver)


def _subscription(uid: str, receiver: str, given: Dataset) -> Subscription:
    _require(given, "DeletionLock")
    lock = str(given.DeletionLock).strip()
    if lock not in ("TRUE", "FALSE"):
        raise UpsRefusal(UpsStatus.INVALID_ARGUMENT, "Deletion Lock is neither TRUE nor FALSE")
    keys = Dataset()
    if uid == FILTERED_SUBSCRIPTION:
        keys = Dataset({element.tag: element for element in given if element.keyword not in _NO_FILTER})
        if not len(keys):
            raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE, "a filtered subscription needs matching keys")
    return Subscription(uid, receiver, lock == "TRUE", keys)


_NO_FILTER = frozenset({"ReceivingAE", "DeletionLock", "SpecificCharacterSet", *HIDDEN})


def status(code: UpsStatus, comment: str = "") -> Dataset:
    """Return a response's status, the comment cut to what fits."""
    response = Dataset()
    response.Status = int(code)
    if comment:
        response.ErrorComment = comment.encode("ascii", "replace").decode()[:ERROR_COMMENT_CHARACTERS]
    return response


def _request(event: Event) -> Any:
    """Return the request; which kind it is, the handler's binding says."""
    return event.request


def caller(event: Event) -> str:
    """Return the calling AE title of the association."""
    return str(event.assoc.requestor.ae_title).strip()


def _unexpected(error: Exception) -> Dataset:
    stack = "".join(traceback.format_tb(error.__traceback__))  # no message: it could hold patient data
    LOGGER.error("UPS request not served: unexpected %s\n%s", type(error).__name__, stack)
    return status(UpsStatus.PROCESSING_FAILURE, f"Internal error ({type(error).__name__})")


def _requested(event: Event) -> str:
    """Return the instance an N-GET, N-SET or N-ACTION is about."""
    if str(_request(event).RequestedSOPClassUID) != PUSH:
        raise UpsRefusal(UpsStatus.NO_SUCH_CLASS)
    return str(_request(event).RequestedSOPInstanceUID)


def _data_set(event: Event, parameter: str, unreadable: UpsStatus = UpsStatus.INVALID_ATTRIBUTE_VALUE) -> Dataset:
    """Return a request's data set, read to its last item; an absent one is empty.

    Raises
    ------
    UpsRefusal
        It is too long, has too many items, or cannot be read.
    """
    encoded: BytesIO | None = getattr(_request(event), parameter)
    if encoded is None or not encoded.getvalue():
        return Dataset()
    if len(encoded.getvalue()) > MAXIMUM_DATA_SET_BYTES:
        raise UpsRefusal(UpsStatus.RESOURCE_LIMITATION)
    syntax = str(event.context.transfer_syntax)
    try:
        require_few_items(encoded.getvalue(), syntax, most_items=MAXIMUM_ITEMS, deepest=MAXIMUM_NESTING)
        dataset: Dataset = event._get_dataset(parameter, "")
        dataset.decode()
        for element in dataset.iterall():
            if element.VR != "SQ":  # its items follow, and in words they would take their time at every level
                str(element.value)
    except TooManyItemsError as error:
        raise UpsRefusal(unreadable, str(error)) from None
    except PARSE_ERRORS as error:
        raise UpsRefusal(unreadable, f"the data set cannot be read ({type(error).__name__})") from None
    return dataset


def _require(dataset: Dataset, keyword: str) -> None:
    if keyword not in dataset:
        raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE, f"{keyword} is missing")
    if not dataset.get(keyword):
        raise UpsRefusal(UpsStatus.MISSING_ATTRIBUTE_VALUE, f"{keyword} is empty")
