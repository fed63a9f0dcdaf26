"""Answers C-STORE requests, whichever side opened the association: nothing is decoded and nothing analysed meanwhile.

The order for one object: the whole data set in its file (`dicom_io.storing.spool`) or in memory, header parsed and
checked, receiver makes it durable, answer.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from dicom_io.associations.store_request import PlainStore
from dicom_io.associations.store_serving import SUCCESS
from dicom_io.data_sets.file_meta import encode_file_meta
from dicom_io.data_sets.header import text
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.storing.acceptance import RefusedError, checked_header
from dicom_io.storing.instance_store import Content, StoreError
from dicom_io.storing.receiving import (
    STATUS_CANNOT_UNDERSTAND,
    STATUS_OUT_OF_RESOURCES,
    STATUS_PROCESSING_FAILURE,
    STATUS_SOP_CLASS_MISMATCH,
    STATUS_SUCCESS,
    STATUS_UNRECOGNIZED_OPERATION,
    ReceivedInstance,
    ReceiveOutcome,
    Receiver,
    ReceiverUnavailable,
    RefusedInstance,
)
from dicom_io.storing.spool import SpooledDataSet

LOGGER = logging.getLogger(__name__)
ERROR_COMMENT_CHARACTERS = 64
_SEND_AGAIN = ReceiveOutcome(STATUS_OUT_OF_RESOURCES, "Cannot store now, send again later")
_REFUSAL_STATUS = {ReasonCode.SOP_CLASS_MISMATCH: STATUS_SOP_CLASS_MISMATCH}


@dataclass(frozen=True)
class Origin:
    """Who sends to whom."""

    calling_ae_title: str
    """Of the sender, also where we have opened the association."""
    called_ae_title: str
    peer_address: str
    """IP address of the sender."""


@dataclass(frozen=True)
class StoreAnswer:
    """The response to send, and the study that now has one object more; None where nothing was stored."""

    response: Dataset
    study_instance_uid: str | None


def answer_store(event: Event, receiver: Receiver, origin: Origin) -> StoreAnswer:
    """Answer one C-STORE request; pynetdicom would turn any exception into 0xC211, so none leaves here."""
    study_instance_uid = None
    if not isinstance(event.request, C_STORE):  # pynetdicom hands on whatever names a storage class
        return StoreAnswer(_response(ReceiveOutcome(STATUS_UNRECOGNIZED_OPERATION)), None)
    try:
        outcome, study_instance_uid = _receive(event, receiver, origin)
    except (StoreError, ReceiverUnavailable) as error:
        LOGGER.error("instance not stored: %s", error)
        outcome = _SEND_AGAIN
    except (OSError, MemoryError) as error:  # no file descriptor left, say: nothing is wrong with the object
        LOGGER.error("instance not stored: %s", getattr(error, "strerror", None) or type(error).__name__)
        outcome = _SEND_AGAIN
    except Exception as error:  # noqa: BLE001 (border to the network: a sender must always get a status of ours)
        stack = "".join(traceback.format_tb(error.__traceback__))  # no message: it could hold patient data
        LOGGER.error("instance not stored: unexpected %s\n%s", type(error).__name__, stack)
        outcome = ReceiveOutcome(STATUS_PROCESSING_FAILURE, f"Internal error ({type(error).__name__})")
    finally:
        spooled = event.request.DataSet
        if isinstance(spooled, SpooledDataSet) and not isinstance(event.request, PlainStore):
            spooled.discard()  # as `serve_store` does it with a plain one
    return StoreAnswer(_response(outcome), study_instance_uid)


def _response(outcome: ReceiveOutcome) -> Dataset:
    if outcome.status == STATUS_SUCCESS and not outcome.comment:
        return SUCCESS
    response = Dataset()
    response.Status = outcome.status
    if outcome.comment:
        response.ErrorComment = outcome.comment.encode("ascii", "replace").decode()[:ERROR_COMMENT_CHARACTERS]
    return response


def _receive(event: Event, receiver: Receiver, origin: Origin) -> tuple[ReceiveOutcome, str | None]:
    request = cast(C_STORE, event.request)
    spooled = request.DataSet if isinstance(request.DataSet, SpooledDataSet) and request.DataSet.on_disk else None
    syntax = str(event.context.transfer_syntax)
    calling, address = origin.calling_ae_title, origin.peer_address
    sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    encoded: bytes | memoryview
    chunks: Content
    if spooled is not None:
        encoded, chunks = spooled.view(), spooled
    else:
        encoded = request.DataSet.getvalue() if request.DataSet is not None else b""
        chunks = (encode_file_meta(sop_class_uid, sop_instance_uid, syntax), encoded)
    try:
        header = checked_header(encoded, syntax, sop_class_uid, sop_instance_uid)
    except RefusedError as error:
        LOGGER.warning("instance from %s at %s refused (%s): %s", calling, address, error.reason_code, error)
        receiver.refuse(RefusedInstance(error.reason_code, str(error), calling, address, chunks))
        status = _REFUSAL_STATUS.get(error.reason_code, STATUS_CANNOT_UNDERSTAND)
        return ReceiveOutcome(status, str(error)), None
    received = ReceivedInstance(
        header=header,
        study_instance_uid=text(header, "StudyInstanceUID"),
        series_instance_uid=text(header, "SeriesInstanceUID"),
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=syntax,
        calling_ae_title=calling,
        called_ae_title=origin.called_ae_title,
        peer_address=address,
        chunks=chunks,
    )
    outcome = receiver.receive(received)
    return outcome, received.study_instance_uid if outcome.status == STATUS_SUCCESS else None
