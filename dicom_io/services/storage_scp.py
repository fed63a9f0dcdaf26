"""The Storage SCP: takes every storage class in every transfer syntax and hands instances on undecoded (PS3.4 annex B).

How one object is answered stands in `dicom_io.services.store_service`.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE, SOPClassCommonExtendedNegotiation, UserIdentityNegotiation

from dicom_io.associations.client import LEAST_PDU_BYTES
from dicom_io.associations.private_parts import private_parts_changed
from dicom_io.associations.server import BoundedServer, drop_what_was_arriving, end_without_request
from dicom_io.foundation.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_io.foundation.tls import CurrentTls
from dicom_io.services.negotiation import (
    APPLICATION_CONTEXT,
    LIMIT_EXCEEDED,
    OTHER_APPLICATION,
    VERIFICATION,
    Rejection,
    granted,
    rejection,
    storage_service_of_unknown_classes,
    supported_contexts,
)
from dicom_io.services.storage_commitment import STATUS_INVALID_ARGUMENT as COMMITMENT_INVALID_ARGUMENT
from dicom_io.services.storage_commitment import STORAGE_COMMITMENT, TakeAnswer, answer_event
from dicom_io.services.store_service import Origin, answer_store
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
    ScpSettings,
)

if TYPE_CHECKING:  # where no worklist is offered, nothing of it is loaded
    from dicom_io.ups.scp import UpsScp

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
KERBEROS = 3
"""User identity type whose confirmation needs a ticket of the server's own (PS3.7 D.3.3.7.2)."""


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
        self._ae.maximum_associations = sys.maxsize  # it would count connections that ask for nothing; see _too_many
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
            (evt.EVT_CONN_CLOSE, drop_what_was_arriving),
            *(self._worklist.handlers() if self._worklist else ()),
            (evt.EVT_N_ACTION, self._act),  # the last one bound is the one
        ]
        try:
            server = BoundedServer(
                self._ae,
                (settings.host, port),
                settings.ae_title,
                self._ae.supported_contexts,
                evt_handlers=handlers,
                shared_port=settings.shared_port,
            )
        except OSError as error:
            raise PortTaken(error, settings.host, port) from error
        server.maximum_instance_bytes = settings.maximum_instance_bytes
        server.spool_folder = self._spool_folder()
        server.pdu_timeout_seconds = settings.pdu_timeout_seconds
        server.tls = tls
        self._servers[name] = server

    def _spool_folder(self) -> Path | None:
        """Return where to write what arrives; None, and it is kept in memory, where that cannot be done."""
        folder = self.settings.spool_folder
        if folder is None:
            return None
        if private_parts_changed():
            LOGGER.warning("this pynetdicom is not the one that receiving was made fast for; it works, but slower")
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return folder

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
        refused = (
            _of_another_application(request)
            or rejection(self.settings, calling, called, address, self._receiver.accepting())
            or _too_small(association.requestor.maximum_length or 0)
            or self._too_many()
        )
        if refused is not None:
            LOGGER.warning("association from %s at %s rejected: %s", calling, address, refused.reason)
            association.acse.send_reject(refused.result, refused.source, refused.diagnostic)
            association.kill()
            return
        if association.requestor.user_identity is not None:
            self._answer_identity(association, calling)
        association.acceptor.supported_contexts = supported_contexts(
            request.presentation_context_definition_list, granted(self.settings, calling)
        )

    def _answer_identity(self, association: Association, calling: str) -> None:
        """Confirm a user where that is configured; who is not confirmed sees that, and goes on or aborts."""
        asked = cast(UserIdentityNegotiation, association.requestor.user_identity)
        if calling not in self.settings.user_confirmed or asked.user_identity_type == KERBEROS:
            LOGGER.info("%s wants its user confirmed, which is not done for it; it may abort over that", calling)
            return
        confirmed = UserIdentityNegotiation()
        # PS3.7 D.3.3.7.2: empty for all but Kerberos and what an identity provider says
        confirmed.server_response = b""
        association.acceptor.add_negotiation_item(confirmed)

    def _too_many(self) -> Rejection | None:
        """Count the associations that were asked for, the present one included."""
        asked = sum(one.requestor.primitive is not None for one in self._ae.active_associations)
        return LIMIT_EXCEEDED if asked > self.settings.maximum_associations else None

    def _map_unknown_classes(self, event: Event) -> dict[UID, SOPClassCommonExtendedNegotiation]:
        proposed = _association_request(event).presentation_context_definition_list
        return storage_service_of_unknown_classes(proposed)

    def _commitment(self, event: Event) -> tuple[int, None]:
        if self._take_commitment is None:
            return COMMITMENT_INVALID_ARGUMENT, None
        return answer_event(event, self._take_commitment)

    def _act(self, event: Event) -> tuple[Any, Any]:
        """Serve the worklist; refuse who asks us to commit, over the context that is there for answers."""
        if event.context.abstract_syntax != STORAGE_COMMITMENT and self._worklist is not None:
            return cast(tuple[Any, Any], dict(self._worklist.handlers())[evt.EVT_N_ACTION](event))
        LOGGER.warning("%s asks for storage commitment, which is not given here", event.assoc.requestor.ae_title)
        return STATUS_UNRECOGNIZED_OPERATION, None

    def _store(self, event: Event) -> Dataset:
        association, opening = event.assoc, _association_request(event)
        origin = Origin(str(opening.calling_ae_title), str(opening.called_ae_title), str(association.requestor.address))
        answer = answer_store(event, self._receiver, origin)
        if answer.study_instance_uid is not None:
            with self._studies_lock:
                self._studies.setdefault(association, set()).add(answer.study_instance_uid)
        return answer.response

    def _close(self, event: Event, aborted: bool) -> None:
        """Tell the receiver once per association; abort and connection loss come as several events.

        A sender may hang up as soon as it has our answer to its release, and that may be seen before the release.
        """
        with self._studies_lock:
            study_instance_uids = self._studies.pop(event.assoc, set())
        if study_instance_uids:
            self._receiver.association_closed(study_instance_uids, aborted and not event.assoc._sent_release)


def _of_another_application(request: A_ASSOCIATE) -> Rejection | None:
    application = str(request.application_context_name or "").strip()
    return None if application == APPLICATION_CONTEXT else OTHER_APPLICATION


def _too_small(most_bytes: int) -> Rejection | None:
    """Reject who takes too little at a time for any answer; 0 is any length (PS3.8 D.1)."""
    why = f"it takes no more than {most_bytes} bytes at a time"
    return Rejection(1, 1, 1, why) if 0 < most_bytes < LEAST_PDU_BYTES else None


def _association_request(event: Event) -> A_ASSOCIATE:
    return cast(A_ASSOCIATE, event.assoc.requestor.primitive)
