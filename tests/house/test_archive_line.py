"""The relay of the soak does what its faults claim: warnings reach the sender, broken connections leave no answer."""

from __future__ import annotations

from pathlib import Path

from archive_line import WARNING_STATUS, ArchiveLine
from factories import chest_radiograph, write_dicom
from peers import running_pacs

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import send

CUT_AFTER_BYTES = 5000


def test_the_line_passes_on_warns_and_breaks_off(tmp_path: Path) -> None:
    file = write_dicom(chest_radiograph(), tmp_path / "image.dcm")
    with running_pacs() as pacs:
        line = ArchiveLine(pacs.port)
        peer = Peer(pacs.ae_title, "127.0.0.1", line.port)
        (passed,) = send(peer, [file], "CXRAI")
        line.warn = True
        (warned,) = send(peer, [file], "CXRAI")
        line.warn, line.cut_after_bytes = False, CUT_AFTER_BYTES
        (cut,) = send(peer, [file], "CXRAI")
        line.close()
        assert len(pacs.stored) == 2
    assert (passed.status, warned.status, warned.accepted, cut.status) == (0, WARNING_STATUS, True, None)
    assert (line.warnings, line.cuts) == (1, 1)
