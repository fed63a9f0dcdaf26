"""Triage as a script does it: ``python -m benchmarks.plain_triage PORT ARCHIVE_PORT THREADS``.

pynetdicom as its documentation uses it; the handler of C-STORE decodes, classifies and draws the plain way
(``benchmarks.plain_way.PlainWay``), sends the picture to the archive, and then says success. Nothing is kept, so a
kill loses what was being worked on.
"""

from __future__ import annotations

import sys
from io import BytesIO

import torch
from pydicom import Dataset, dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import SecondaryCaptureImageStorage, Verification

from benchmarks.plain_way import PlainWay


def main() -> None:
    """Listen on the port given until killed."""
    port, archive_port, threads = (int(argument) for argument in sys.argv[1:4])
    way = PlainWay()
    torch.set_num_threads(threads)

    def store(event: Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        _send(dcmread(BytesIO(way.picture_of(dataset))), archive_port)
        return 0x0000

    ae = AE("PLAIN")
    ae.maximum_pdu_size = 131072
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_ECHO, lambda _: 0x0000)])


def _send(picture: Dataset, archive_port: int) -> None:
    ae = AE("PLAIN")
    ae.add_requested_context(SecondaryCaptureImageStorage)
    association = ae.associate("127.0.0.1", archive_port)
    status = association.send_c_store(picture)
    association.release()
    if status.get("Status") != 0x0000:
        raise RuntimeError("the archive did not take a picture")


if __name__ == "__main__":
    main()
