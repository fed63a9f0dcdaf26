"""A process with many files open: ``select`` takes no descriptor above 1023 (FD_SETSIZE of glibc)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom
from file_limits import descriptors_above
from storage_ends import FolderReceiver, listeners

from dicom_io.foundation.peer import Peer
from dicom_io.foundation.readable import readable
from dicom_io.services.storage_scp import StorageScp
from dicom_io.services.storage_scu import ScuSettings, echo, send

FD_SETSIZE = 1024
PATIENT = ScuSettings(acse_timeout_seconds=5, dimse_timeout_seconds=5)


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


@pytest.fixture
def start(receiver: FolderReceiver) -> Iterator[Callable[..., StorageScp]]:
    with descriptors_above(FD_SETSIZE - 1), listeners(receiver) as starter:
        yield starter


@pytest.mark.parametrize("spooled", [True, False])
def test_objects_are_sent_and_received_over_sockets_of_any_number(
    start: Callable[..., StorageScp], receiver: FolderReceiver, tmp_path: Path, spooled: bool
) -> None:
    path = write_dicom(chest_radiograph(), tmp_path / "1.dcm")
    scp = start(spooled=spooled)
    peer = Peer("CXRAI", *scp.address)
    assert echo(peer, "MODALITY", PATIENT) == ""
    (outcome,) = send(peer, [path], "MODALITY", PATIENT)
    assert outcome.accepted, outcome.comment
    assert len(receiver.files) == 1


def test_what_can_be_read_is_told_and_what_was_closed_is_an_error() -> None:
    """An end that the other side has closed can be read: that nothing comes any more."""
    one, other = socket.socketpair()
    silent, talking = os.pipe()
    with one, other:
        assert readable((one.fileno(), silent), 0.0) == []
        other.send(b"x")
        assert readable((one.fileno(), silent), 1.0) == [one.fileno()]
        os.close(talking)
        assert sorted(readable((one.fileno(), silent), 1.0)) == sorted([one.fileno(), silent])
        os.close(silent)
        with pytest.raises(OSError, match="Bad file descriptor"):
            readable((silent,), 0.0)
        one.close()
        with pytest.raises(ValueError, match="negative"):
            readable((one.fileno(),), 0.0)
