"""A data set leaves in the fragments that pynetdicom would make of it, at once or by way of its queue."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.associations.waking import TOGETHER_BYTES, RequestorDimse, WokenRequestorDul

OFFSET, CONTEXT_ID = 7, 5


def request(folder: Path, length: int) -> C_STORE:
    """Return a request whose data set stands in a file behind some bytes."""
    path = folder / "object"
    path.write_bytes(b"\xff" * OFFSET + bytes(number % 251 for number in range(length)))
    made = C_STORE()
    made.MessageID, made.Priority = 1, 2
    made.AffectedSOPClassUID, made.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    made._dataset_path = path, OFFSET
    return made


def as_pynetdicom(made: C_STORE, most_bytes: int) -> bytes:
    message = C_STORE_RQ()
    message.primitive_to_message(made)
    return b"".join(P_DATA_TF(primitive).encode() for primitive in message.encode_msg(CONTEXT_ID, most_bytes))


@pytest.mark.parametrize("most_bytes", [0, 128, 4096, 16382, 131072, 2 * TOGETHER_BYTES])
@pytest.mark.parametrize("length", [1, 122, 123, 16376, 16377, 3 * TOGETHER_BYTES - 18, 3 * TOGETHER_BYTES + 1])
@pytest.mark.parametrize("taken", [10_000, 1, 3], ids=["at once", "by the queue", "by the queue from the third on"])
def test_a_data_set_is_sent_as_pynetdicom_sends_it(
    most_bytes: int, length: int, taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, at_once, queued = BytesIO(), [], []

    def send_at_once(_layer: WokenRequestorDul, pdus: bytes) -> bool:
        at_once.append(pdus)
        if len(at_once) >= taken:
            return False
        sent.write(pdus)
        return True

    def queue(_layer: DULServiceProvider, primitive: P_DATA) -> None:
        queued.append(primitive)
        sent.write(P_DATA_TF(primitive).encode())

    monkeypatch.setattr(WokenRequestorDul, "send_at_once", send_at_once)
    monkeypatch.setattr(DULServiceProvider, "send_pdu", queue)
    layer, dimse = (kind.__new__(kind) for kind in (WokenRequestorDul, RequestorDimse))
    layer._bell = SimpleNamespace(ring=lambda: None)
    acceptor = SimpleNamespace(maximum_length=most_bytes)
    dimse._assoc = SimpleNamespace(dul=layer, is_requestor=True, acceptor=acceptor)
    made = request(tmp_path, length)
    dimse.send_msg(made, CONTEXT_ID)
    assert sent.getvalue() == as_pynetdicom(made, most_bytes)
    assert len(at_once) <= taken, "what went by the queue was overtaken"
    assert bool(queued) == (len(at_once) == taken)
