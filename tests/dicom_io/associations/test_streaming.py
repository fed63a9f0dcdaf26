"""Receiving in large steps: the same bytes as pynetdicom would have kept, however the sender cuts them."""

from __future__ import annotations

import fcntl
import hashlib
import random
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from factories import chest_radiograph
from file_limits import files_of_at_most
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from slow_cases import mostly_slow
from storage_ends import DX, FolderReceiver, associate, encode, listeners, store_bytes, store_one
from store_pdus import COMMAND, LAST, command, connected, fragment, pdu

from dicom_io.associations import private_parts, streaming
from dicom_io.associations.fragment_run import FragmentRun
from dicom_io.associations.holding_socket import HoldingSocket
from dicom_io.associations.store_response import success_pdu
from dicom_io.services.storage_scp import StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER
from dicom_io.storing.spool import SpooledDataSet

ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


@pytest.fixture
def start(receiver: FolderReceiver) -> Iterator[Callable[..., StorageScp]]:
    with listeners(receiver) as starter:
        yield starter


def partial_files(receiver: FolderReceiver) -> list[Path]:
    return list((receiver.store.root / INCOMING_FOLDER).glob("*"))


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def cut(encoded: bytes, draw: random.Random) -> list[bytes]:
    """Return PDUs that carry the data set: fragments of all lengths, empty ones, several in one PDU."""
    fragments, position = [], 0
    while position < len(encoded):
        step = draw.choice([0, 1, 2, 7, 500, 4096, 60_000, 130_000])
        last = position + step >= len(encoded)
        fragments.append(fragment(LAST if last else 0, encoded[position : position + step]))
        position += step
    if draw.random() < 0.5:  # as some senders do: the last fragment is empty
        fragments[-1] = fragments[-1][:5] + b"\x00" + fragments[-1][6:]
        fragments.append(fragment(LAST, b""))
    pdus = []
    while fragments:
        count = draw.choice([1, 1, 1, 2, 3])
        together, fragments = fragments[:count], fragments[count:]
        if sum(map(len, together)) > 131072:
            pdus += [pdu(one) for one in together]
        else:
            pdus.append(pdu(*together))
    return pdus


def test_the_private_parts_of_pynetdicom_are_those_this_was_written_for() -> None:
    assert not private_parts.private_parts_changed(), (
        "pynetdicom receives differently now: read it beside dicom_io/associations/streaming.py, adapt, "
        f"and note the new source digest {private_parts.source_digest()}"
    )


@pytest.mark.parametrize("seed", mostly_slow(range(12), *range(5)))
def test_whatever_the_cuts_what_is_stored_is_what_was_sent(start, receiver, seed) -> None:
    draw = random.Random(seed)
    dataset = chest_radiograph(PixelData=draw.randbytes(300_000))
    encoded = encode(dataset)
    first = pdu(fragment(COMMAND | LAST, command(dataset.SOPInstanceUID)))
    stream = b"".join([first, *cut(encoded, draw)])
    with connected(start()) as connection:
        for _ in range(2):  # the second right behind the answer to the first
            position = 0
            while position < len(stream):
                step = draw.choice([1, 5, 11, 1000, 40_000, 200_000])
                connection.sendall(stream[position : position + step])
                position += step
            assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in connection.recv(4096)
    assert len(receiver.files) == 2
    assert receiver.store.open_path(receiver.files[0].path).read_bytes().endswith(encoded)
    assert receiver.files[0] == receiver.files[1]
    assert isinstance(receiver.received[0].chunks, SpooledDataSet)


def like_a_sender(encoded: bytes, draw: random.Random) -> list[bytes]:
    """Return PDUs as senders make them: all of one length, but the last; sometimes another one among them."""
    usual = draw.choice([8_192, 16_372, 65_524, 131_060])
    pdus, position = [], 0
    while position < len(encoded):
        step = usual if draw.random() < 0.98 else draw.choice([0, 9_000, usual - 2])
        last = position + step >= len(encoded)
        pdus.append(pdu(fragment(LAST if last else 0, encoded[position : position + step])))
        position += step
    return pdus


@pytest.mark.parametrize("seed", mostly_slow(range(8), *range(4)))
def test_what_comes_in_a_row_is_stored_and_hashed_as_it_was_sent(start, receiver, seed) -> None:
    draw = random.Random(seed)
    dataset = chest_radiograph(PixelData=draw.randbytes(2 * draw.randrange(1_000_000, 3_000_000)))
    encoded = encode(dataset)
    first = pdu(fragment(COMMAND | LAST, command(dataset.SOPInstanceUID)))
    stream = b"".join([first, *like_a_sender(encoded, draw)]) * 3  # nobody waits for an answer
    with connected(start()) as connection:
        position = 0
        while position < len(stream):
            step = draw.choice([6, 12, 40_000, 131_072, 1_000_000, 1_000_000])
            connection.sendall(stream[position : position + step])
            position += step
        wait_until(lambda: len(receiver.files) == 3)
    (stored,) = set(receiver.files)
    content = receiver.store.open_path(stored.path).read_bytes()
    assert content.endswith(encoded)
    assert stored.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("behind_bytes", [2_700_000, streaming.STEP_BYTES + 400])
def test_fragments_that_become_longer_while_much_has_arrived(start, receiver, monkeypatch, behind_bytes: int) -> None:
    """What is read as a row and is none is more than one step, or one step and a little that nothing follows."""
    row_bytes, fragment_bytes = 320_000, 60_000
    dataset = chest_radiograph(PixelData=b"")
    dataset.PixelData = bytes(
        row_bytes + behind_bytes - behind_bytes // fragment_bytes * 12 - 12 - len(encode(dataset))
    )
    encoded = encode(dataset)
    starts = [*range(0, row_bytes, 16_000), *range(row_bytes, len(encoded), fragment_bytes), len(encoded)]
    pdus = [pdu(fragment(LAST if end == len(encoded) else 0, encoded[at:end])) for at, end in pairwise(starts)]
    row, behind = b"".join(pdus[: row_bytes // 16_000]), b"".join(pdus[row_bytes // 16_000 :])
    assert behind_bytes - 30 <= len(behind) <= behind_bytes
    is_busy, read_into = threading.Event(), HoldingSocket.read_into

    def after_a_while(self: HoldingSocket, *buffers: memoryview) -> int | None:
        if is_busy.is_set():
            wait_until(lambda: waiting_bytes(self) >= min(len(behind), 1_500_000))
            is_busy.clear()
        return read_into(self, *buffers)

    monkeypatch.setattr(HoldingSocket, "read_into", after_a_while)
    with connected(start()) as connection:
        connection.sendall(pdu(fragment(COMMAND | LAST, command(dataset.SOPInstanceUID))) + row)
        time.sleep(0.3)
        is_busy.set()
        connection.sendall(behind)
        assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in connection.recv(4096)
    assert receiver.store.open_path(receiver.files[0].path).read_bytes().endswith(encoded)


def waiting_bytes(transport: HoldingSocket) -> int:
    connection = transport.socket
    assert connection is not None
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, b"\0" * 4))[0])


def test_one_association_leaves_its_buffers_to_the_next(start, receiver) -> None:
    scp = start()
    streaming._IDLE_BUFFERS.clear()
    for number in range(3):
        dataset = chest_radiograph(PixelData=bytes([number]) * 3_000_000)
        store_one(scp, dataset)
        wait_until(lambda: len(streaming._IDLE_BUFFERS) == 2)
        content = receiver.store.open_path(receiver.files[-1].path).read_bytes()
        assert content.endswith(encode(dataset))
        assert receiver.files[-1].sha256 == hashlib.sha256(content).hexdigest()


@given(
    left=st.integers(0, 10),
    values=st.lists(st.binary(min_size=10, max_size=10), max_size=6),
    strange=st.binary(max_size=30),
    held=st.integers(0, 11),
    room=st.integers(1, 60),
    cut=st.integers(0, 200),
)
def test_a_run_loses_nothing_and_adds_nothing(left, values, strange, held, room, cut) -> None:
    head = b"h" * 11 + b"!"
    begun = bytes(range(left))
    held_bytes = 0 if begun else held
    stream = begun + b"".join(head + value for value in values) + strange
    stream = stream[: max(cut, held_bytes)]
    run, buffer = FragmentRun(head, 10, 60), memoryview(bytearray(room))
    layout, rest = run.layout(buffer, len(begun), stream[:held_bytes]), stream[held_bytes:]
    count = 0
    for place in layout:
        piece = rest[count : count + len(place)]
        place[: len(piece)] = piece
        count += len(piece)
    found = run.gathered(buffer, len(begun), stream[:held_bytes], count)
    expected, position = stream[: held_bytes + count], len(begun)
    taken = bytearray(expected[:position])
    while expected[position : position + 12] == head:
        taken += expected[position + 12 : position + 22]
        position += 22
    assert bytes(buffer[: found.value_bytes]) == taken
    assert found.behind == expected[position:]
    assert found.left_bytes == max(0, position - len(expected))
    assert found.began == (position > len(begun))


def test_both_paths_store_the_same_file(start, receiver) -> None:
    dataset = chest_radiograph(PixelData=bytes(range(256)) * 4000)
    store_one(start(spooled=True), dataset)
    store_one(start(spooled=False), dataset)
    assert receiver.files[0] == receiver.files[1]
    assert isinstance(receiver.received[0].chunks, SpooledDataSet)
    assert isinstance(receiver.received[1].chunks, tuple)
    assert receiver.received[0].header == receiver.received[1].header


def test_another_pynetdicom_is_received_from_as_it_does_itself(start, receiver, monkeypatch, caplog) -> None:
    monkeypatch.setattr(private_parts, "_KNOWN_SOURCE", "of another version")
    assert store_one(start(), chest_radiograph()).Status == 0x0000
    assert isinstance(receiver.received[0].chunks, tuple)
    assert "slower" in caplog.text


@pytest.mark.parametrize("room_bytes", [0, 100, 302])
def test_a_disk_without_room_for_the_head_leaves_the_data_set_alone(tmp_path: Path, room_bytes: int) -> None:
    with files_of_at_most(room_bytes):
        spooled = SpooledDataSet(tmp_path, bytes(300))
        spooled.write(b"data set")
    assert not spooled.on_disk
    assert spooled.getvalue() == b"data set"
    assert spooled.tell() == len(b"data set")


def test_a_disk_that_refuses_midway_is_answered_and_the_next_object_is_stored(start, receiver) -> None:
    association = associate(start())
    large, small = chest_radiograph(PixelData=bytes(400_000)), chest_radiograph()
    with files_of_at_most(200_000):
        assert store_bytes(association, encode(large), DX, large.SOPInstanceUID).Status == 0xA700
        assert association.is_established
    assert store_bytes(association, encode(large), DX, large.SOPInstanceUID).Status == 0x0000
    assert store_bytes(association, encode(small), DX, small.SOPInstanceUID).Status == 0x0000
    association.release()
    assert len(receiver.files) == 2


def test_a_spool_folder_that_is_gone_costs_speed_only(start, receiver) -> None:
    scp = start()
    (receiver.store.root / INCOMING_FOLDER).rmdir()
    assert store_one(scp, chest_radiograph()).Status == 0x0000
    assert isinstance(receiver.received[0].chunks, tuple)


@pytest.mark.parametrize("ending", [ABORT, b""])
def test_a_sender_that_goes_in_the_middle_leaves_nothing_behind(start, receiver, ending) -> None:
    with connected(start()) as connection:
        connection.sendall(pdu(fragment(COMMAND | LAST, command("1.2.3"))) + pdu(fragment(0, bytes(100_000))))
        wait_until(lambda: partial_files(receiver))
        connection.sendall(ending)
    wait_until(lambda: not partial_files(receiver), 4.0)  # at once, not when nobody knows the association any more
    assert receiver.received == receiver.refused == []


@pytest.mark.parametrize("reset", [True, False], ids=["with a reset", "at the end of what came"])
def test_the_log_says_whose_connection_was_lost(start, receiver, caplog, reset: bool) -> None:
    with connected(start()) as connection:
        connection.sendall(pdu(fragment(COMMAND | LAST, command("1.2.3"))) + pdu(fragment(0, bytes(100_000))))
        wait_until(lambda: partial_files(receiver))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    wait_until(lambda: "at 127.0.0.1 lost while a data set arrived" in caplog.text)


@pytest.mark.parametrize("silent_after", [0, 7, 12, 5000])
def test_a_sender_that_falls_silent_anywhere_in_a_data_set_is_cut(start, receiver, silent_after: int) -> None:
    dataset = chest_radiograph(PixelData=bytes(200_000))
    row = b"".join(pdu(fragment(0, encode(dataset)[at : at + 10_000])) for at in range(0, 100_000, 10_000))
    with connected(start(network_timeout_seconds=1.0)) as connection:
        connection.sendall(pdu(fragment(COMMAND | LAST, command(dataset.SOPInstanceUID))) + row)
        connection.sendall(pdu(fragment(0, bytes(10_000)))[:silent_after])
        wait_until(lambda: partial_files(receiver))
        wait_until(lambda: not partial_files(receiver), seconds=6.0)


def test_a_refused_object_is_quarantined_whole_and_leaves_no_partial_file(start, receiver) -> None:
    dataset = chest_radiograph()
    association = associate(start())
    encoded = encode(dataset)[:-1000]
    assert store_bytes(association, encoded, DX, dataset.SOPInstanceUID).Status == 0xC000
    association.release()
    (quarantined,) = (receiver.store.root / "quarantine").glob("*.bin")
    assert quarantined.read_bytes().endswith(encoded)
    assert partial_files(receiver) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_answer_sent_directly_is_the_one_pynetdicom_would_send(seed) -> None:
    draw = random.Random(seed)
    response = C_STORE()
    response.MessageIDBeingRespondedTo = draw.randrange(65536)
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = UID(DX), UID("1.2." + "3" * draw.randrange(1, 60))
    response.Status = 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    (fragment_of_it,) = message.encode_msg(5, 16384)
    uids = str(response.AffectedSOPClassUID), str(response.AffectedSOPInstanceUID)
    assert success_pdu(5, response.MessageIDBeingRespondedTo, *uids) == P_DATA_TF(fragment_of_it).encode()


def test_an_association_at_rest_costs_next_to_nothing_and_notices_its_end(start) -> None:
    scp = start()
    with connected(scp) as connection:
        started = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - started < 0.15  # both sides of pynetdicom's own loops took more than that
        sent = time.monotonic()
        connection.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        assert connection.recv(4096)[0] == 6
        assert time.monotonic() - sent < 5
    wait_until(lambda: not scp._ae.active_associations)
