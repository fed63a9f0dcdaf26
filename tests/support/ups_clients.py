"""A UPS client on pynetdicom alone, as another vendor would write it: nothing of the worker's own code is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    UPSFilteredGlobalSubscriptionInstance,
    UPSGlobalSubscriptionInstance,
)

ALL, FILTERED = str(UPSGlobalSubscriptionInstance), str(UPSFilteredGlobalSubscriptionInstance)
CHANGE_STATE, REQUEST_CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 1, 2, 3, 4, 5
CALLED_AE_TITLE = "CXRAI"


def dataset(**keywords: Any) -> Dataset:
    """Return a data set of these attributes."""
    made = Dataset()
    for keyword, value in keywords.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return the item of a code sequence."""
    return dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def performed() -> Dataset:
    """Return the modifications with which a performer says what it did, as COMPLETED requires."""
    item = dataset(
        PerformedStationNameCodeSequence=[code("READ1", "99SITE", "Reading room 1")],
        PerformedWorkitemCodeSequence=[code("110005", "DCM", "Interpretation")],
        PerformedProcedureStepStartDateTime="20260302093000",
        PerformedProcedureStepEndDateTime="20260302093500",
        OutputInformationSequence=[],
    )
    return dataset(UnifiedProcedureStepPerformedProcedureSequence=[item])


def scheduled(**keywords: Any) -> Dataset:
    """Return the attributes of a new workitem as N-CREATE needs them; keywords replace some."""
    attributes: dict[str, Any] = {
        "ProcedureStepState": "SCHEDULED",
        "ScheduledProcedureStepPriority": "MEDIUM",
        "ProcedureStepLabel": "READ CHEST",
        "WorklistLabel": "SITE",
        "ScheduledProcedureStepStartDateTime": "20260302093000",
        "InputReadinessState": "READY",
        "PatientName": "EXAMPLE^ONE",
        "PatientID": "P-1",
    }
    return dataset(**(attributes | keywords))


@dataclass
class Client:
    """Queries and works off a worklist of workitems over associations of its own."""

    port: int
    ae_title: str = "RIS"
    called_ae_title: str = CALLED_AE_TITLE

    @contextmanager
    def association(self) -> Iterator[Association]:
        """Open an association in which Push, Watch, Pull and Query are proposed."""
        ae = AE(self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        for sop_class in (
            UnifiedProcedureStepPush,
            UnifiedProcedureStepWatch,
            UnifiedProcedureStepPull,
            UnifiedProcedureStepQuery,
        ):
            ae.add_requested_context(sop_class)
        association = ae.associate("127.0.0.1", self.port, ae_title=self.called_ae_title)
        if not association.is_established:
            raise ConnectionError(f"no association with {self.called_ae_title} on port {self.port}")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def find(self, model: str = UnifiedProcedureStepPull, **keys: Any) -> list[Dataset]:
        """Return what a C-FIND with these keys answers."""
        found, statuses = self.find_with_statuses(dataset(**keys), model)
        if statuses[-1] != 0x0000:
            raise RuntimeError(f"C-FIND ended with 0x{statuses[-1]:04X}")
        return found

    def find_with_statuses(
        self, keys: Dataset, model: str = UnifiedProcedureStepPull
    ) -> tuple[list[Dataset], list[int]]:
        """Return the identifiers and all statuses of a C-FIND."""
        with self.association() as association:
            responses = list(association.send_c_find(keys, model))
        return [found for _, found in responses if found is not None], [
            int(status.Status) for status, _ in responses if "Status" in status
        ]

    def get(self, uid: str, *keywords: str) -> tuple[int, Dataset | None]:
        """Return status and attributes of an N-GET."""
        from pydicom.datadict import tag_for_keyword

        tags = [tag_for_keyword(keyword) for keyword in keywords]
        with self.association() as association:
            status, attributes = association.send_n_get(
                tags, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
            )
        return int(status.Status), attributes

    def set(self, uid: str, modifications: Dataset, transaction_uid: str | None = None) -> int:
        """Return the status of an N-SET."""
        if transaction_uid is not None:
            modifications.TransactionUID = transaction_uid
        with self.association() as association:
            status, _ = association.send_n_set(
                modifications, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
            )
        return int(status.Status)

    def create(self, attributes: Dataset, uid: str | None) -> tuple[int, Dataset | None]:
        """Return status and answer of an N-CREATE."""
        with self.association() as association:
            status, answer = association.send_n_create(attributes, UnifiedProcedureStepPush, uid)
        return int(status.Status), answer

    def act(self, action: int, uid: str, **information: Any) -> int:
        """Return the status of an N-ACTION; without information it has no data set."""
        given = dataset(**information) if information else None
        with self.association() as association:
            status, _ = association.send_n_action(
                given, action, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull
            )
        return int(status.Status)

    def claim(self, uid: str, transaction_uid: str | None = None) -> tuple[int, str]:
        """Claim the workitem; returns the status and the Transaction UID it was claimed with."""
        chosen = transaction_uid or str(generate_uid())
        return self.change(uid, "IN PROGRESS", chosen), chosen

    def change(self, uid: str, state: str, transaction_uid: str) -> int:
        """Ask for another state."""
        return self.act(CHANGE_STATE, uid, ProcedureStepState=state, TransactionUID=transaction_uid)

    def subscribe(self, uid: str = ALL, receiver: str = "RIS", lock: str = "FALSE", **keys: Any) -> int:
        """Subscribe a receiver to one workitem, or to all."""
        return self.act(SUBSCRIBE, uid, ReceivingAE=receiver, DeletionLock=lock, **keys)


@dataclass(frozen=True)
class Notice:
    """One N-EVENT-REPORT as it arrived."""

    event_type: int
    uid: str
    information: Dataset
    calling_ae_title: str


@dataclass
class Receiver:
    """Takes event reports on a port; `status` answers them, and may be changed while it runs."""

    ae_title: str = "RIS"
    port: int = 0
    status: int = 0x0000
    notices: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._ae = AE(self.ae_title)
        self._ae.require_called_aet = True

    def start(self) -> None:
        """Listen; a second start after `stop` takes the same port."""
        if not self._ae.supported_contexts:
            self._ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=True, scp_role=True)
        server = self._ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        self.port = server.server_address[1]

    def stop(self) -> None:
        """Close the port."""
        self._ae.shutdown()

    def of(self, uid: str) -> list[Notice]:
        """Return what was told about one workitem."""
        return [notice for notice in self.notices if notice.uid == uid]

    def states(self, uid: str) -> list[str]:
        """Return the states that were reported of one workitem, in the order of their arrival."""
        return [str(notice.information.ProcedureStepState) for notice in self.of(uid) if notice.event_type == 1]

    def wait_for(self, count: int, uid: str | None = None, timeout_seconds: float = 60.0) -> list[Notice]:
        """Return the notices (about ``uid``) as soon as there are ``count``.

        Raises
        ------
        TimeoutError
            There were fewer when the time was over.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while len(chosen := self.of(uid) if uid else list(self.notices)) < count:
                if not self._changed.wait(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError(f"{len(chosen)} of {count} events in {timeout_seconds:g} s: {chosen}")
        return chosen

    def _take(self, event: Event) -> tuple[int, None]:
        request: Any = event.request
        calling = str(event.assoc.requestor.ae_title).strip()
        notice = Notice(int(request.EventTypeID), str(request.AffectedSOPInstanceUID), event.event_information, calling)
        with self._changed:
            self.notices.append(notice)
            self._changed.notify_all()
        return self.status, None


@contextmanager
def receiving(ae_title: str = "RIS", port: int = 0) -> Iterator[Receiver]:
    """Let a receiver listen."""
    receiver = Receiver(ae_title, port)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def values(found: Dataset, *keywords: str) -> Mapping[str, str]:
    """Return attributes as texts."""
    return {keyword: str(found.get(keyword)) for keyword in keywords}
