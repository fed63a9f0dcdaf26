"""Both ends of a Storage SCP under test: who takes what it receives, and a requestor that sends what it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation

from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.services.storage_commitment import CommitmentAnswer
from dicom_io.services.storage_scp import ReceivedInstance, ReceiveOutcome, RefusedInstance, ScpSettings, StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER, InstanceStore, StoredFile

DX = DigitalXRayImageStorageForPresentation
EXPLICIT = "1.2.840.10008.1.2.1"


class FolderReceiver:
    """The smallest real receiver: one folder, no database."""

    def __init__(self, root: Path) -> None:
        self.store = InstanceStore(root)
        self.received: list[ReceivedInstance] = []
        self.files: list[StoredFile] = []
        self.refused: list[RefusedInstance] = []
        self.closed: list[tuple[set[str], bool]] = []
        self.trouble: Exception | None = None
        self.open = True
        self.closed_event = threading.Event()

    def accepting(self) -> bool:
        return self.open

    def receive(self, received: ReceivedInstance) -> ReceiveOutcome:
        if self.trouble is not None:
            raise self.trouble
        self.files.append(self.store.write(received.study_instance_uid, received.sop_instance_uid, received.chunks))
        self.received.append(received)
        return ReceiveOutcome()

    def refuse(self, refused: RefusedInstance) -> None:
        self.store.quarantine(refused.chunks, refused.reason)
        self.refused.append(refused)

    def association_closed(self, study_instance_uids: set[str], aborted: bool) -> None:
        self.closed.append((study_instance_uids, aborted))
        self.closed_event.set()


class NoReceiver:
    """A listener that only hears answers."""

    def accepting(self) -> bool:
        return True

    def receive(self, received: ReceivedInstance) -> ReceiveOutcome:
        raise AssertionError("nothing is stored here")

    def refuse(self, refused: RefusedInstance) -> None:
        raise AssertionError("nothing is stored here")

    def association_closed(self, study_instance_uids: set[str], aborted: bool) -> None:
        raise AssertionError("nothing is stored here")


@contextmanager
def listeners(
    receiver: FolderReceiver, take_commitment: Callable[[CommitmentAnswer], bool] | None = None
) -> Iterator[Callable[..., StorageScp]]:
    """Give a maker of running SCPs for this receiver; keywords replace settings. All are stopped in the end."""
    running = []

    def starter(*, spooled: bool = True, **fields: Any) -> StorageScp:
        usual = {
            "ae_title": "CXRAI",
            "port": 0,
            "accept_unknown_callers": True,
            "spool_folder": receiver.store.root / INCOMING_FOLDER if spooled else None,
        }
        scp = StorageScp(ScpSettings(**usual | fields), receiver, take_commitment)
        scp.start()
        running.append(scp)
        return scp

    try:
        yield starter
    finally:
        for scp in running:
            scp.stop(grace_seconds=1.0)


def associate(
    scp: StorageScp, *contexts: tuple[str, str], calling: str = "MODALITY", called: str = "CXRAI"
) -> Association:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = 10
    requested = [build_context(sop_class, syntax) for sop_class, syntax in contexts or [(DX, EXPLICIT)]]
    return ae.associate(*scp.address, contexts=requested, ae_title=called)


def encode(dataset: Dataset, implicit: bool = False) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def store_bytes(
    association: Association, encoded: bytes, sop_class_uid: str = DX, sop_instance_uid: str = "1.2.3"
) -> Dataset:
    """Send bytes as they are, whatever they are: `send_c_store` would insist on a proper data set."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.DataSet = BytesIO(encoded)
    context = next(cx for cx in association.accepted_contexts if cx.abstract_syntax == sop_class_uid)
    with reactor_held(association):  # else its thread may take the answer
        association.dimse.send_msg(request, context.context_id)
        _, response = association.dimse.get_msg(block=True)
    status = Dataset()
    status.Status = response.Status
    if response.ErrorComment is not None:
        status.ErrorComment = response.ErrorComment
    return status


def store_one(scp: StorageScp, dataset: Dataset) -> Dataset:
    association = associate(scp, (dataset.SOPClassUID, EXPLICIT))
    assert association.is_established
    try:
        return store_bytes(association, encode(dataset), dataset.SOPClassUID, dataset.SOPInstanceUID)
    finally:
        association.release()
