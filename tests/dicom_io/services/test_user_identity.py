"""Senders that name a user and want it confirmed (PS3.7 D.3.3.7): dcmtk, and PDUs written by hand."""

from __future__ import annotations

import logging
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom
from orthanc import need
from pdu_mutations import IMPLICIT, VERIFICATION, associate_request
from storage_ends import FolderReceiver, listeners

from dicom_io.services.storage_scp import StorageScp
from worker.processes.listener import scp_settings
from worker.settings.config import load_settings

ACCEPTED = 2
IDENTITY, IDENTITY_CONFIRMED = 0x58, 0x59
USER, SECRET = b"radiographer", b"open sesame"
CONFIRMED = frozenset({"FUZZER", "MODALITY"})
"""The first calls from the requests written by hand, the other from dcmtk."""


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


def accept(scp: StorageScp, identity: bytes) -> dict[int, bytes]:
    """Return the sub-items of the user information that answer a request with this user identity, by item type."""
    request = associate_request(proposed=((1, VERIFICATION, (IMPLICIT,)),))
    place = request.rindex(b"\x50\x00")
    (length,) = struct.unpack_from(">H", request, place + 2)
    item = struct.pack(">BxH", IDENTITY, len(identity)) + identity
    whole = request[: place + 2] + struct.pack(">H", length + len(item)) + request[place + 4 :] + item
    with socket.create_connection(scp.address, timeout=10) as connection:
        connection.sendall(whole[:2] + struct.pack(">I", len(whole) - 6) + whole[6:])
        answered = connection.recv(1 << 16)
    assert answered[0] == ACCEPTED
    position, items = answered.rindex(b"\x50\x00") + 4, {}
    while position < len(answered):
        kind, length = struct.unpack_from(">BxH", answered, position)
        items[kind] = answered[position + 4 : position + 4 + length]
        position += 4 + length
    return items


def identity(kind: int, wanted: int, *fields: bytes) -> bytes:
    return bytes([kind, wanted]) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


@pytest.mark.parametrize("kind", [1, 2, 4, 5])
@pytest.mark.parametrize("secret", [SECRET, b""])
def test_a_user_is_confirmed_where_that_is_wanted_and_configured(
    receiver: FolderReceiver, kind: int, secret: bytes
) -> None:
    with listeners(receiver) as start:
        scp = start(user_confirmed=CONFIRMED)
        assert accept(scp, identity(kind, 1, USER, secret))[IDENTITY_CONFIRMED] == b"\0\0"  # an empty server response
        assert IDENTITY_CONFIRMED not in accept(scp, identity(kind, 0, USER, secret))


@pytest.mark.parametrize(
    "said",
    [identity(3, 1, b"a ticket", b""), identity(6, 1, USER, b""), identity(1, 2, USER, b""), b"\1", b""],
    ids=["Kerberos, which needs a ticket of ours", "type unknown", "flag unknown", "cut short", "empty"],
)
def test_what_cannot_be_confirmed_is_passed_over(receiver: FolderReceiver, said: bytes) -> None:
    with listeners(receiver) as start:
        assert IDENTITY_CONFIRMED not in accept(start(user_confirmed=CONFIRMED), said)


def test_nobody_else_is_confirmed_and_neither_user_nor_passcode_is_logged(
    receiver: FolderReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with listeners(receiver) as start:
        assert IDENTITY_CONFIRMED not in accept(start(user_confirmed={"OTHER"}), identity(2, 1, USER, SECRET))
    assert "FUZZER wants its user confirmed" in caplog.text
    assert USER.decode() not in caplog.text
    assert SECRET.decode() not in caplog.text


@pytest.mark.parametrize(("confirmed", "stored"), [(CONFIRMED, 1), (frozenset(), 0)])
def test_dcmtk_sends_once_its_user_is_confirmed(
    receiver: FolderReceiver, confirmed: frozenset[str], stored: int, tmp_path: Path
) -> None:
    path = write_dicom(chest_radiograph(), tmp_path / "chest.dcm")
    with listeners(receiver) as start:
        host, port = start(user_confirmed=confirmed).address
        named = ["-usr", USER.decode(), "-pwd", SECRET.decode(), "-rsp"]
        call = [need("storescu", "dcmtk"), "-aet", "MODALITY", "-aec", "CXRAI", *named, host, str(port), str(path)]
        sent = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert (sent.returncode == 0, len(receiver.received)) == (bool(stored), stored), sent.stderr


def test_whose_user_is_confirmed_stands_in_the_configuration() -> None:
    sources = [{"ae_title": "STRICT", "confirm_user_identity": True}, {"ae_title": "USUAL"}]
    assert scp_settings(load_settings(sources=sources)).user_confirmed == {"STRICT"}
