"""A PACS that is asked for storage commitment: what it was asked, and how it answers, where, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from dicom_io.associations.reactor_pause import reactor_held

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
Reason = Callable[[str], int | None]
"""SOP Instance UID -> Failure Reason, or None where the object is committed."""


@dataclass
class Archive:
    """A stand-in PACS with storage commitment; every field may be changed while it runs."""

    pacs: StandInPacs
    reason: Reason = lambda sop_instance_uid: None
    answers: bool = True
    request_status: int = 0x0000
    on_new_association_to: tuple[str, int] | None = None
    """(AE title, port) of who is to be told; None answers on the association of the request."""
    role_selection: bool = True
    delay_seconds: float = 0.05
    requests: list[Dataset] = field(default_factory=list)
    event_statuses: list[int | None] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def transaction_uids(self) -> list[str]:
        """Of every request, in order."""
        return [str(request.TransactionUID) for request in self.requests]

    def answer(self, request: Dataset, association: Association | None = None) -> int | None:
        """Tell what became of a request's objects; returns the status of the one who is told."""
        if association is None:
            return self._on_new_association(request)
        report, kind = self._report(request)
        with reactor_held(association):
            response, _ = association.send_n_event_report(report, kind, STORAGE_COMMITMENT, INSTANCE)
        self.event_statuses.append(response.get("Status"))
        return self.event_statuses[-1]

    def wait(self) -> None:
        """Wait until every answer was given."""
        for thread in self._threads:
            thread.join(10)

    def _report(self, request: Dataset) -> tuple[Dataset, int]:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence, failed = [], []
        for asked in request.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
            reason = self.reason(str(asked.ReferencedSOPInstanceUID))
            if reason is None:
                report.ReferencedSOPSequence.append(item)
            else:
                item.FailureReason = reason
                failed.append(item)
        if failed:
            report.FailedSOPSequence = failed
        return report, 2 if failed else 1

    def _on_new_association(self, request: Dataset) -> int | None:
        assert self.on_new_association_to is not None
        title, port = self.on_new_association_to
        ae = AE(self.pacs.ae_title)
        ae.add_requested_context(STORAGE_COMMITMENT)
        negotiated = []
        if self.role_selection:
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid, role.scu_role, role.scp_role = STORAGE_COMMITMENT, False, True
            negotiated.append(role)
        association = ae.associate("127.0.0.1", port, ae_title=title, ext_neg=negotiated)
        assert association.is_established, "the listener did not let the archive answer"
        try:
            return self.answer(request, association)
        finally:
            association.release()

    def _asked(self, event: Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        if self.request_status == 0 and self.answers:
            association = None if self.on_new_association_to else event.assoc
            thread = threading.Thread(target=self._answer_later, args=(event.action_information, association))
            self._threads.append(thread)
            thread.start()
        return self.request_status, None

    def _answer_later(self, request: Dataset, association: Association | None) -> None:
        time.sleep(self.delay_seconds)
        self.answer(request, association)


@contextmanager
def running_archive(ae_title: str = "PACS", **fields: object) -> Iterator[Archive]:
    """Start a stand-in PACS with storage commitment on a free port and stop it afterwards."""
    pacs = StandInPacs(ae_title)
    archive = Archive(pacs, **fields)  # type: ignore[arg-type]
    pacs.offer(STORAGE_COMMITMENT, (evt.EVT_N_ACTION, archive._asked))
    pacs.start()
    try:
        yield archive
    finally:
        archive.wait()
        pacs.stop()
