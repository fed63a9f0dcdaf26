"""Peers that connect and say nothing, or say it byte by byte: they cost little, are cut, and keep nobody else out."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom
from pdu_fuzzing import Connection
from pdu_mutations import (
    DX,
    VERIFICATION,
    associate_request,
    command,
    encoded_command,
    good_store,
    message,
)
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation
from slow_cases import mostly_slow
from storage_ends import FolderReceiver

from dicom_io.associations import server
from dicom_io.associations.server import MAXIMUM_UNASKED
from dicom_io.associations.streaming import MAXIMUM_WAITING
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scp import StorageScp
from dicom_io.services.storage_scu import echo, send
from dicom_io.storing.receiving import ScpSettings

pytestmark = pytest.mark.timeout(180)
IMPATIENT_SECONDS = 0.5
SPOOLS = ("in memory", "to disk")
CUT_WITHIN_SECONDS = 15.0
"""For a busy machine; a peer that is not cut would go on for minutes."""


@pytest.fixture(params=SPOOLS)
def scp(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StorageScp]:
    spool = tmp_path / "instances" if request.param == "to disk" else None
    settings = ScpSettings(
        "CXRAI", port=0, accept_unknown_callers=True, pdu_timeout_seconds=IMPATIENT_SECONDS, spool_folder=spool
    )
    started = StorageScp(settings, FolderReceiver(tmp_path / "instances"))
    started.start()
    yield started
    started.stop(grace_seconds=1.0)


def connect(scp: StorageScp) -> socket.socket:
    return socket.create_connection(scp.address, timeout=CUT_WITHIN_SECONDS)


def require_an_image_gets_in(scp: StorageScp, folder: Path) -> None:
    source = chest_radiograph()
    (outcome,) = send(Peer("CXRAI", *scp.address), [write_dicom(source, folder / "image.dcm")], "MODALITY")
    assert outcome.status == 0x0000


@pytest.mark.slow  # more of them come in the next test
def test_a_hundred_silent_connections_keep_no_sender_out(scp: StorageScp, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(connect(scp))
        time.sleep(1.0)  # let each have its thread
        require_an_image_gets_in(scp, tmp_path)


@pytest.mark.parametrize("scp", mostly_slow(SPOOLS, "to disk"), indirect=True)
@pytest.mark.parametrize("at_once", mostly_slow((32, MAXIMUM_UNASKED), 32))
def test_of_too_many_silent_connections_the_oldest_is_closed(
    scp: StorageScp, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAXIMUM_UNASKED", at_once)
    before = threading.active_count()
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(connect(scp)) for _ in range(at_once + 8)]
        assert connections[0].recv(1) == b""
        require_an_image_gets_in(scp, tmp_path)
        connections[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):  # open still
            connections[-1].recv(1)
        assert threading.active_count() < before + 3 * at_once


def drip(connection: socket.socket, message: bytes) -> float:
    """Send byte by byte until the peer has enough; return after how many seconds."""
    started = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in message:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
            if time.monotonic() - started > CUT_WITHIN_SECONDS:
                break
    return time.monotonic() - started


def test_a_request_that_comes_byte_by_byte_is_cut(scp: StorageScp, tmp_path: Path) -> None:
    with connect(scp) as connection:
        assert drip(connection, b"\x01\x00\x00\x01\x00\x00" + bytes(60_000)) < CUT_WITHIN_SECONDS
    require_an_image_gets_in(scp, tmp_path)


def test_an_image_that_comes_byte_by_byte_is_cut(scp: StorageScp, tmp_path: Path) -> None:
    source = chest_radiograph()
    ae = AE("MODALITY")
    ae.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    association = ae.associate(*scp.address, ae_title="CXRAI")
    assert association.is_established
    transport = association.dul.socket
    assert transport is not None and isinstance(transport.socket, socket.socket)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    request.DataSet = BytesIO(bytes(60_000))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    for part in message.encode_msg(association.accepted_contexts[0].context_id, 16_384):
        pdu = P_DATA_TF()
        pdu.from_primitive(part)
        encoded = pdu.encode()
        if len(encoded) < 10_000:
            transport.socket.sendall(encoded)  # the command goes in one piece
        else:
            assert drip(transport.socket, encoded) < CUT_WITHIN_SECONDS
            break
    deadline = time.monotonic() + CUT_WITHIN_SECONDS
    while scp._ae.active_associations and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not scp._ae.active_associations
    require_an_image_gets_in(scp, tmp_path)


def test_a_sender_that_does_not_wait_for_answers_is_held_back(scp: StorageScp, tmp_path: Path) -> None:
    """PS3.7 D.3.3.3: without a negotiated window one request at a time; each waiting one holds a file open."""
    draw, objects = random.Random(7), 100
    connection = opened(scp)
    requests = b"".join(good_store(draw) for _ in range(objects))
    before, most, answered = open_descriptors(), 0, 0
    sending = threading.Thread(target=connection.say, args=(requests,))
    sending.start()
    while answered < objects and connection.hear(time.monotonic() + CUT_WITHIN_SECONDS) is not None:
        answered += 1
        most = max(most, open_descriptors())
    sending.join()
    assert connection.end() is not None
    assert answered == objects
    assert most <= before + 2 * MAXIMUM_WAITING
    require_an_image_gets_in(scp, tmp_path)


ODD_REQUESTS = {
    "no transfer syntax": associate_request(proposed=[(1, DX, ())]),
    "no protocol version": associate_request().replace(b"\0\1\0\0CXRAI", b"\0\0\0\0CXRAI"),
}
ODD_COMMANDS = {
    "no command field": encoded_command([(2, DX.encode())]),
    "no data set type": encoded_command([(2, DX.encode()), (0x0100, b"\1\0")]),
    "a field twice": encoded_command([(0x0100, b"\1\0\1\0"), (0x0800, b"\1\1")]),
    "an unknown field": encoded_command([(0x0100, b"\xff\x7f"), (0x0800, b"\1\1")]),
}


@pytest.mark.parametrize("request_bytes", ODD_REQUESTS.values(), ids=ODD_REQUESTS)
def test_a_request_that_is_not_understood_ends_its_connection_at_once(scp: StorageScp, request_bytes: bytes) -> None:
    connection = Connection(scp.address)
    connection.say(request_bytes)
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and answer[0] in (3, 7)
    assert (connection.end() or CUT_WITHIN_SECONDS) < 5.0  # it was the ACSE timeout, with the socket open


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + bytes(200), "it speaks TLS"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it speaks no DICOM"),
        (b"\1\0\0\0\0\4abcd", "its association request cannot be understood"),
    ],
    ids=["TLS", "HTTP", "half a request"],
)
def test_the_log_names_who_speaks_something_else(
    scp: StorageScp, caplog: pytest.LogCaptureFixture, first: bytes, why: str
) -> None:
    connection = Connection(scp.address)
    connection.say(first)
    assert (connection.end() or CUT_WITHIN_SECONDS) < 5.0
    said = [record.getMessage() for record in caplog.records if record.name == "dicom_io.associations.lasting"]
    assert len(said) == 1
    assert said[0].startswith(f"connection from 127.0.0.1 closed: {why}")


@pytest.mark.parametrize("command_bytes", ODD_COMMANDS.values(), ids=ODD_COMMANDS)
def test_a_command_that_is_not_understood_is_aborted(scp: StorageScp, command_bytes: bytes) -> None:
    connection = opened(scp)
    connection.say(message(3, command_bytes, b"", random.Random(1)))
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and answer[0] == 7
    assert (connection.end() or CUT_WITHIN_SECONDS) < 5.0


def store_command(changed: Mapping[int, bytes]) -> bytes:
    values = {
        0x0002: DX.encode(),
        0x0100: b"\1\0",
        0x0110: b"\7\0",
        0x0700: b"\0\0",
        0x0800: b"\0\0",
        0x1000: b"2.25.7",
    }
    return encoded_command(sorted((values | changed).items()))


UNANSWERABLE = {
    "no message ID": store_command({0x0110: b""}),
    "no SOP instance": store_command({0x1000: b""}),
    "no SOP class": store_command({0x0002: b""}),
    "a C-STORE of Verification": store_command({0x0002: VERIFICATION.encode()}),
}


@pytest.mark.parametrize("command_bytes", UNANSWERABLE.values(), ids=UNANSWERABLE)
def test_a_request_that_cannot_be_answered_is_aborted_and_no_sender_waits_or_hears_success(
    scp: StorageScp, command_bytes: bytes
) -> None:
    connection = opened(scp)
    connection.say(message(3, command_bytes, b"\x08\0\x16\0UI\0\0", random.Random(1)))
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and answer[0] == 7
    assert (connection.end() or CUT_WITHIN_SECONDS) < 5.0


def test_many_cancels_of_what_was_answered_long_ago_do_no_harm(scp: StorageScp) -> None:
    """PS3.7 9.3.2.3: each may cross the last answer to what it is about."""
    connection = opened(scp)
    for number in range(1, 31):
        cancel = encoded_command([(0x0100, b"\xff\x0f"), (0x0120, bytes([number, 0])), (0x0800, b"\1\1")])
        connection.say(message(1, cancel, b"", random.Random(1)))
    connection.say(message(1, command(0x0030, VERIFICATION), b"", random.Random(1)))
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and answer[0] == 4
    connection.end()


def test_another_service_of_a_storage_class_is_an_unrecognised_operation(scp: StorageScp) -> None:
    connection = opened(scp)
    connection.say(message(3, command(0x0130, DX), b"", random.Random(1)))
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and b"\0\0\0\x09\2\0\0\0\x11\2" in answer  # (0000,0900) is 0x0211
    connection.end()


def test_nonsense_behind_an_abort_is_hung_up_on(scp: StorageScp) -> None:
    connection = opened(scp)
    for _ in range(50):
        connection.say(b"\xff" * 60)
        time.sleep(0.02)
    until = time.monotonic() + CUT_WITHIN_SECONDS
    aborts = list(iter(lambda: connection.hear(until), None))
    hung_up = connection.ended
    connection.end()
    assert hung_up
    assert len(aborts) <= 2


def opened(scp: StorageScp) -> Connection:
    connection = Connection(scp.address)
    connection.say(associate_request())
    answer = connection.hear(time.monotonic() + CUT_WITHIN_SECONDS)
    assert answer is not None and answer[0] == 2
    return connection


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


_TCP_REPAIR = 19
"""linux/tcp.h: closes a connection without a word to the other end, as a line that breaks does."""


def test_a_device_whose_line_breaks_keeps_its_place_no_longer_than_the_system_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "QUIET_SECONDS", 1)
    settings = ScpSettings("CXRAI", port=0, accept_unknown_callers=True, maximum_associations=1)
    scp = StorageScp(settings, FolderReceiver(tmp_path / "instances"))
    scp.start()
    try:
        device = connect(scp)
        device.sendall(associate_request())
        assert device.recv(1) == b"\x02"  # A-ASSOCIATE-AC
        assert "rejected" in echo(Peer("CXRAI", *scp.address), "MODALITY")
        try:
            device.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("only root may break a line")
        device.close()
        deadline = time.monotonic() + CUT_WITHIN_SECONDS
        while refusal := echo(Peer("CXRAI", *scp.address), "MODALITY"):
            assert time.monotonic() < deadline, refusal
            time.sleep(0.1)
    finally:
        scp.stop(grace_seconds=1.0)
