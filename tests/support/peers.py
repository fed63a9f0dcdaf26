"""Real DICOM peers for tests, on a free port of this machine: a stand-in PACS that records what arrives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from dicom_io.foundation.peer import Peer
from dicom_io.foundation.tls import TlsFiles

StatusRule = Callable[[str, str], int]
"""(SOP Class UID, SOP Instance UID) -> DIMSE status to answer with."""


def accept_everything(sop_class_uid: str, sop_instance_uid: str) -> int:
    """Answer 0x0000 to every object."""
    return 0x0000


@dataclass
class Arrival:
    """One C-STORE request as it arrived."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    status: int
    file_bytes: bytes = field(repr=False)

    @property
    def dataset(self) -> Dataset:
        """The object, read back from its bytes."""
        return pydicom.dcmread(BytesIO(self.file_bytes))


_STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


class StandInPacs:
    """A Storage SCP; `arrivals` lists every request, accepted or not, `stored` what was accepted.

    Parameters
    ----------
    status
        What to answer; may be replaced while running (attribute `status`).
    sop_classes
        Abstract syntaxes to accept; None = all storage classes.
    delay_seconds
        Time to wait before each answer.
    transfer_syntaxes
        What `sop_classes` are accepted in.
    tls
        What it shows, and whom it trusts; None = without TLS.
    """

    def __init__(
        self,
        ae_title: str = "PACS",
        status: StatusRule = accept_everything,
        sop_classes: Sequence[str] | None = None,
        delay_seconds: float = 0.0,
        port: int = 0,
        transfer_syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
        tls: TlsFiles | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.tls = tls
        self.status = status
        self.delay_seconds = delay_seconds
        self.port = port
        self.arrivals: list[Arrival] = []
        self.associations = 0
        self.echoes = 0
        self._changed = threading.Condition()
        self._handlers: list[Any] = []
        self._ae = AE(ae_title)
        self._ae.require_called_aet = True
        self._ae.maximum_pdu_size = 131072
        self._ae.add_supported_context(Verification)
        if sop_classes is None:
            self._handlers.append((evt.EVT_REQUESTED, self._take_every_class))
        for sop_class in sop_classes or ():
            self._ae.add_supported_context(sop_class, list(transfer_syntaxes))

    def offer(self, sop_class: str, handler: tuple[object, Callable[[Event], object]]) -> None:
        """Take another service's requests, too; call it before `start`."""
        self._ae.add_supported_context(sop_class)
        self._handlers.append(handler)

    def start(self) -> None:
        """Listen; `peer` is valid afterwards. A second start after `stop` takes the same port."""
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_ACCEPTED, self._accepted),
        ]
        handlers += self._handlers
        context = self.tls.context(server_side=True) if self.tls else None
        server = self._ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=context
        )
        self.port = server.server_address[1]

    def stop(self) -> None:
        """Abort what runs and close the port."""
        for server in self._ae._servers:
            with suppress(OSError):  # somebody has closed it
                server.socket.shutdown(socket.SHUT_RDWR)  # wakes its loop, which looks twice a second
        self._ae.shutdown()

    @property
    def peer(self) -> Peer:
        """Address for a sender."""
        return Peer(self.ae_title, "127.0.0.1", self.port, self.tls)

    @property
    def destination(self) -> dict[str, Any]:
        """How a site's configuration names it, as its only archive."""
        return {"name": "pacs", "ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port}

    @property
    def stored(self) -> list[Arrival]:
        """What was answered with success or a warning."""
        return [arrival for arrival in self.arrivals if arrival.status == 0 or arrival.status >> 12 == 0xB]

    def wait_for(self, count: int, timeout_seconds: float = 10.0) -> list[Arrival]:
        """Return the accepted objects as soon as there are `count`.

        Raises
        ------
        TimeoutError
            There were fewer when the time was over.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while len(self.stored) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{len(self.stored)} of {count} objects arrived in {timeout_seconds} s")
        return self.stored

    def _store(self, event: Event) -> int:
        time.sleep(self.delay_seconds)
        request = event.request
        sop_class_uid, sop_instance_uid = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        status = self.status(sop_class_uid, sop_instance_uid)
        calling = str(event.assoc.requestor.primitive.calling_ae_title)
        syntax = str(event.context.transfer_syntax)
        arrival = Arrival(sop_class_uid, sop_instance_uid, syntax, calling, status, event.encoded_dataset())
        with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()
        return status

    def _take_every_class(self, event: Event) -> None:
        """Support the storage classes that are proposed; pynetdicom copies a list of all 170 for every association."""
        acceptor, proposed = event.assoc.acceptor, event.assoc.requestor.primitive.presentation_context_definition_list
        asked = {str(context.abstract_syntax) for context in proposed} & _STORAGE_CLASSES
        taken = [build_context(sop_class, ALL_TRANSFER_SYNTAXES) for sop_class in sorted(asked)]
        acceptor.supported_contexts = [*acceptor.supported_contexts, *taken]

    def _echo(self, event: Event) -> int:
        self.echoes += 1
        return 0x0000

    def _accepted(self, event: Event) -> None:
        self.associations += 1


class WatchedPacs(StandInPacs):
    """A stand-in that knows which associations are open, and how those that are not ended."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.open: list[Association] = []
        self.most_open = 0
        self.released = self.aborted = 0
        self._handlers += [
            (evt.EVT_ESTABLISHED, self._note_open),
            (evt.EVT_RELEASED, self._note_released),
            (evt.EVT_ABORTED, self._note_aborted),
            (evt.EVT_CONN_CLOSE, self._note_closed),
        ]

    def _note_open(self, event: Event) -> None:
        self.open.append(event.assoc)
        self.most_open = max(self.most_open, len(self.open))

    def _note_released(self, event: Event) -> None:
        self.released += 1

    def _note_aborted(self, event: Event) -> None:
        self.aborted += 1

    def _note_closed(self, event: Event) -> None:
        if event.assoc in self.open:
            self.open.remove(event.assoc)


@contextmanager
def watched_pacs() -> Iterator[WatchedPacs]:
    """Start a watched stand-in on a free port and stop it afterwards."""
    pacs = WatchedPacs()
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()


@contextmanager
def running_pacs(
    ae_title: str = "PACS",
    status: StatusRule = accept_everything,
    sop_classes: Sequence[str] | None = None,
    delay_seconds: float = 0.0,
    transfer_syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
    tls: TlsFiles | None = None,
) -> Iterator[StandInPacs]:
    """Start a stand-in PACS on a free port and stop it afterwards."""
    pacs = StandInPacs(ae_title, status, sop_classes, delay_seconds, transfer_syntaxes=transfer_syntaxes, tls=tls)
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()


@pytest.fixture
def pacs() -> Iterator[StandInPacs]:
    """A stand-in PACS that accepts everything."""
    with running_pacs() as started:
        yield started
