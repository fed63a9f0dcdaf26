"""The Storage SCP: takes every storage class in every transfer syntax and hands instances on undecoded (PS3.4 annex B).

The order for one C-STORE: whole data set in memory, header parsed and checked, receiver makes it durable, answer.
Nothing is decoded and nothing analysed while the sender waits.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from typing import Any, cast
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassCommonExtendedNegotiation

from dicom_io.acceptance import RefusedError, checked_header
from dicom_io.association_server import BoundedServer, end_without_request
from dicom_io.file_meta import encode_file_meta
from dicom_io.header import text
from dicom_io.instance_store import StoreError
from dicom_io.negotiation import (
    VERIFICATION,
    granted,
    rejection,
    storage_service_of_unknown_classes,
    supported_contexts,
)
from dicom_io.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.reasons import ReasonCode
from dicom_io.receiving import (
    STATUS_CANNOT_UNDERSTAND,
    STATUS_OUT_OF_RESOURCES,
    STATUS_PROCESSING_FAILURE,
    STATUS_SOP_CLASS_MISMATCH,
    STATUS_SUCCESS,
    ReceivedInstance,
    ReceiveOutcome,
    Receiver,
    ReceiverUnavailable,
    RefusedInstance,
    ScpSettings,
)
from dicom_io.storage_commitment import STATUS_INVALID_ARGUMENT as COMMITMENT_INVALID_ARGUMENT
from dicom_io.storage_commitment import TakeAnswer, answer_event
from dicom_io.tls import CurrentTls
from dicom_io.ups_scp import UpsScp

__all__ = [
    "STATUS_CANNOT_UNDERSTAND",
    "STATUS_OUT_OF_RESOURCES",
    "STATUS_PROCESSING_FAILURE",
    "STATUS_SOP_CLASS_MISMATCH",
    "STATUS_SUCCESS",
    "ReceiveOutcome",
    "ReceivedInstance",
    "Receiver",
    "ReceiverUnavailable",
    "RefusedInstance",
    "ScpSettings",
    "StorageScp",
]

LOGGER = logging.getLogger(__name__)
PLAIN, TLS = "plain", "TLS"
ERROR_COMMENT_CHARACTERS = 64
_REFUSAL_STATUS = {ReasonCode.SOP_CLASS_MISMATCH: STATUS_SOP_CLASS_MISMATCH}


class PortTaken(OSError):
    """A port cannot be bound."""

    def __init__(self, cause: OSError, host: str, port: int) -> None:
        self.port, self.cause = port, cause.strerror or str(cause)
        super().__init__(cause.errno, f"cannot listen on {host} port {port}: {self.cause}")


class StorageScp:
    """Listens until stopped; every instance goes to `receiver`.

    Parameters
    ----------
    settings
        Address, callers, limits.
    receiver
        Called from the associations' threads.
    take_commitment
        Keeps the answers of archives that were asked for storage commitment; None = nobody was asked.
    worklist
        Answers UPS requests on the same port; None = there is no worklist.
    """

    def __init__(
        self,
        settings: ScpSettings,
        receiver: Receiver,
        take_commitment: TakeAnswer | None = None,
        worklist: UpsScp | None = None,
    ) -> None:
        self.settings = settings
        self._take_commitment = take_commitment
        self._worklist = worklist
        self._receiver = receiver
        self._servers: dict[str, BoundedServer] = {}
        self._threads: list[threading.Thread] = []
        self._studies: WeakKeyDictionary[Association, set[str]] = WeakKeyDictionary()
        self._studies_lock = threading.Lock()
        self._ae = AE(settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._ae.maximum_pdu_size = settings.maximum_pdu_bytes
        self._ae.maximum_associations = settings.maximum_associations
        self._ae.network_timeout = settings.network_timeout_seconds
        self._ae.dimse_timeout = settings.dimse_timeout_seconds
        self._ae.acse_timeout = settings.acse_timeout_seconds
        self._ae.add_supported_context(VERIFICATION)  # the rest is decided per association

    def start(self) -> None:
        """Bind the port, the one for TLS or both, and serve in the background.

        Raises
        ------
        PortTaken, TlsFileError
            A port is not ours to bind, a TLS file cannot be used; the message names it.
        """
        tls = CurrentTls(self.settings.tls) if self.settings.tls else None
        try:
            if self.settings.port is not None:
                self._bind(PLAIN, self.settings.port, None)
            if tls is not None:
                self._bind(TLS, self.settings.tls_port, tls)
        except OSError:
            for server in self._servers.values():
                server.server_close()
            self._servers = {}
            raise
        for name, server in self._servers.items():
            self._ae._servers.append(server)
            thread = threading.Thread(target=server.serve_forever, args=(0.1,), name=f"storage-scp-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _bind(self, name: str, port: int, tls: CurrentTls | None) -> None:
        settings = self.settings
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._negotiate),
            (evt.EVT_SOP_COMMON, self._map_unknown_classes),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._commitment),
            (evt.EVT_RELEASED, self._close, [False]),
            (evt.EVT_ABORTED, self._close, [True]),
            (evt.EVT_CONN_CLOSE, self._close, [True]),
            (evt.EVT_CONN_CLOSE, end_without_request),
            *(self._worklist.handlers() if self._worklist else ()),
        ]
        try:
            server = BoundedServer(
                self._ae,
                (settings.host, port),
                settings.ae_title,
                self._ae.supported_contexts,
                evt_handlers=handlers,
            )
        except OSError as error:
            raise PortTaken(error, settings.host, port) from error
        server.maximum_instance_bytes = settings.maximum_instance_bytes
        server.tls = tls
        self._servers[name] = server

    @property
    def address(self) -> tuple[str, int]:
        """Host and port actually bound, without TLS."""
        return self._bound(PLAIN)

    @property
    def tls_address(self) -> tuple[str, int]:
        """Host and port actually bound for TLS."""
        return self._bound(TLS)

    def _bound(self, name: str) -> tuple[str, int]:
        if name not in self._servers:
            raise RuntimeError(f"the Storage SCP has no {name} port, or is not started; call start() first")
        host, port = self._servers[name].server_address[:2]
        return str(host), int(port)

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Accept nothing new, let running associations finish for at most `grace_seconds`, abort the rest."""
        for server in self._servers.values():
            server.shutdown()
        deadline = time.monotonic() + grace_seconds
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        self._ae.shutdown()
        for thread in self._threads:
            thread.join(grace_seconds)
        self._servers, self._threads = {}, []

    def _negotiate(self, event: Event) -> None:
        """Decide about an association request before pynetdicom answers it."""
        association = event.assoc
        request = _association_request(event)
        calling, called, address = request.calling_ae_title, request.called_ae_title, association.requestor.address
        refused = rejection(self.settings, calling, called, address, self._receiver.accepting())
        if refused is not None:
            LOGGER.warning("association from %s at %s rejected: %s", calling, address, refused.reason)
            association.acse.send_reject(refused.result, refused.source, refused.diagnostic)
            association.kill()
            return
        association.acceptor.supported_contexts = supported_contexts(
            request.presentation_context_definition_list, granted(self.settings, calling)
        )

    def _map_unknown_classes(self, event: Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        proposed = _association_request(event).presentation_context_definition_list
        return storage_service_of_unknown_classes(proposed)

    def _commitment(self, event: Event) -> tuple[int, None]:
        if self._take_commitment is None:
            return COMMITMENT_INVALID_ARGUMENT, None
        return answer_event(event, self._take_commitment)

    def _store(self, event: Event) -> Dataset:
        """Answer one C-STORE request; pynetdicom would turn any exception into 0xC211, so none leaves here."""
        try:
            outcome = self._receive(event)
        except (StoreError, ReceiverUnavailable) as error:
            LOGGER.error("instance not stored: %s", error)
            outcome = ReceiveOutcome(STATUS_OUT_OF_RESOURCES, "Cannot store now, send again later")
        except Exception as error:  # noqa: BLE001 (border to the network: a sender must always get a status of ours)
            stack = "".join(traceback.format_tb(error.__traceback__))  # no message: it could hold patient data
            LOGGER.error("instance not stored: unexpected %s\n%s", type(error).__name__, stack)
            outcome = ReceiveOutcome(STATUS_PROCESSING_FAILURE, f"Internal error ({type(error).__name__})")
        response = Dataset()
        response.Status = outcome.status
        if outcome.comment:
            response.ErrorComment = outcome.comment.encode("ascii", "replace").decode()[:ERROR_COMMENT_CHARACTERS]
        return response

    def _receive(self, event: Event) -> ReceiveOutcome:
        association, request = event.assoc, cast(C_STORE, event.request)
        opening = _association_request(event)
        encoded = request.DataSet.getvalue() if request.DataSet is not None else b""
        syntax = str(event.context.transfer_syntax)
        calling, address = str(opening.calling_ae_title), str(association.requestor.address)
        sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        chunks = (encode_file_meta(sop_class_uid, sop_instance_uid, syntax), encoded)
        try:
            header = checked_header(encoded, syntax, sop_class_uid, sop_instance_uid)
        except RefusedError as error:
            LOGGER.warning("instance from %s at %s refused (%s): %s", calling, address, error.reason_code, error)
            self._receiver.refuse(RefusedInstance(error.reason_code, str(error), calling, address, chunks))
            status = _REFUSAL_STATUS.get(error.reason_code, STATUS_CANNOT_UNDERSTAND)
            return ReceiveOutcome(status, str(error))
        received = ReceivedInstance(
            header=header,
            study_instance_uid=text(header, "StudyInstanceUID"),
            series_instance_uid=text(header, "SeriesInstanceUID"),
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=sop_class_uid,
            transfer_syntax_uid=syntax,
            calling_ae_title=calling,
            called_ae_title=str(opening.called_ae_title),
            peer_address=address,
            chunks=chunks,
        )
        outcome = self._receiver.receive(received)
        if outcome.status == STATUS_SUCCESS:
            with self._studies_lock:
                self._studies.setdefault(association, set()).add(received.study_instance_uid)
        return outcome

    def _close(self, event: Event, aborted: bool) -> None:
        """Tell the receiver once per association; abort and connection loss come as several events."""
        with self._studies_lock:
            study_instance_uids = self._studies.pop(event.assoc, set())
        if study_instance_uids:
            self._receiver.association_closed(study_instance_uids, aborted)


def _association_request(event: Event) -> A_ASSOCIATE:
    return cast(A_ASSOCIATE, event.assoc.requestor.primitive)
