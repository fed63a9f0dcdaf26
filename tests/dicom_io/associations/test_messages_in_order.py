"""Messages are taken in the order of their fragments, however these are put into PDUs, and before what ends them all.

PS3.8 9.3.1 and annex E: a P-DATA-TF PDU holds one presentation data value or more, of one message or of several.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import chest_radiograph
from pdu_fuzzing import Connection
from pdu_mutations import A_ABORT, A_RELEASE_RQ, DX, EXPLICIT, IMPLICIT, VERIFICATION, associate_request
from pdu_mutations import command as other_command
from pydicom.dataset import Dataset
from storage_ends import FolderReceiver, ReceivedInstance, ReceiveOutcome, encode, listeners
from store_pdus import COMMAND, LAST, command, fragment, pdu

from dicom_io.associations.streaming import MAXIMUM_WAITING
from dicom_io.services.storage_scp import StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER

ECHO, STORE = 1, 3
"""Presentation contexts."""
PATIENCE_SECONDS = 10.0
WAYS = pytest.mark.parametrize("spooled", [True, False], ids=["to disk", "in memory"])


class HeldReceiver(FolderReceiver):
    """Keeps the first object waiting until it may be stored."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_store, self.asked = threading.Event(), threading.Event()
        self.may_store.set()

    def receive(self, received: ReceivedInstance) -> ReceiveOutcome:
        self.asked.set()
        assert self.may_store.wait(PATIENCE_SECONDS)
        return super().receive(received)


@pytest.fixture
def receiver(tmp_path: Path) -> HeldReceiver:
    return HeldReceiver(tmp_path / "instances")


@pytest.fixture
def start(receiver: HeldReceiver) -> Iterator[Callable[..., StorageScp]]:
    with listeners(receiver) as starter:
        yield starter


def opened(scp: StorageScp) -> Connection:
    connection = Connection(scp.address)
    proposed = [(ECHO, VERIFICATION, (IMPLICIT,)), (STORE, DX, (EXPLICIT,)), (STORE + 2, DX, (IMPLICIT,))]
    connection.say(associate_request(proposed=proposed))
    answer = connection.hear(time.monotonic() + PATIENCE_SECONDS)
    assert answer is not None and answer[0] == 2
    return connection


def images(count: int) -> list[Dataset]:
    return [chest_radiograph(PixelData=bytes([number]) * 20_000) for number in range(count)]


def values(dataset: Dataset, most_bytes: int = 1 << 20) -> list[bytes]:
    """Return the presentation data values of one C-STORE request."""
    encoded = encode(dataset)
    cuts = range(0, len(encoded), most_bytes)
    last = cuts[-1]
    data = [fragment(LAST if at == last else 0, encoded[at : at + most_bytes], STORE) for at in cuts]
    return [fragment(COMMAND | LAST, command(dataset.SOPInstanceUID), STORE), *data]


def echo_value() -> bytes:
    return fragment(COMMAND | LAST, other_command(0x0030, VERIFICATION), ECHO)


def heard(connection: Connection, count: int) -> list[int]:
    """Return the types of the next PDUs; a status other than success, and a rejection, are none that is expected."""
    until, kinds = time.monotonic() + PATIENCE_SECONDS, []
    for _ in range(count):
        answer = connection.hear(until)
        kinds.append(answer[0] if answer is not None else 0)
        if answer is not None and answer[0] == 4:
            assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in answer
    return kinds


def stored(receiver: HeldReceiver) -> list[bytes]:
    return [receiver.store.open_path(file.path).read_bytes() for file in receiver.files]


def require_stored(receiver: HeldReceiver, datasets: list[Dataset]) -> None:
    """Wait until these objects are stored, and nothing else."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(receiver.files) < len(datasets) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [received.sop_instance_uid for received in receiver.received] == [one.SOPInstanceUID for one in datasets]
    for content, dataset in zip(stored(receiver), datasets, strict=True):
        assert content.endswith(encode(dataset))
    assert receiver.refused == []


@WAYS
def test_one_pdu_may_end_one_message_and_begin_the_next(start, receiver, spooled: bool) -> None:
    first, second, third = images(3)
    head, *most, end = values(first, 7_000)
    second_head, *second_data, second_end = values(second, 7_000)
    connection = opened(start(spooled=spooled))
    connection.say(b"".join(map(pdu, [head, *most])) + pdu(end, second_head))
    connection.say(b"".join(map(pdu, second_data)) + pdu(second_end, echo_value(), *values(third)))
    assert heard(connection, 4) == [4, 4, 4, 4]
    require_stored(receiver, [first, second, third])
    connection.say(A_RELEASE_RQ)
    assert heard(connection, 1) == [6]
    connection.end()


@WAYS
def test_one_pdu_may_hold_many_whole_messages(start, receiver, spooled: bool) -> None:
    datasets = images(4)
    together = [value for dataset in datasets for value in (*values(dataset, 9_000), echo_value())]
    connection = opened(start(spooled=spooled))
    connection.say(pdu(*together[:12]) + pdu(*together[12:]))
    assert heard(connection, 8) == [4] * 8
    require_stored(receiver, datasets)
    connection.end()


@WAYS
@pytest.mark.parametrize("ending", [A_ABORT, A_RELEASE_RQ, b""], ids=["abort", "release", "hung up"])
def test_what_ends_the_association_does_not_overtake_what_came_whole_before_it(
    start, receiver, spooled: bool, ending: bytes
) -> None:
    datasets = images(4)
    begun = pdu(fragment(COMMAND | LAST, command("1.2.3"), STORE)) + pdu(fragment(0, bytes(30_000), STORE))
    receiver.may_store.clear()
    connection = opened(start(spooled=spooled))
    whole = [pdu(echo_value(), *values(dataset)) for dataset in datasets]
    connection.say(b"".join(whole) + (begun if ending != A_RELEASE_RQ else b"") + ending)
    if not ending:
        connection._socket.shutdown(1)
    assert receiver.asked.wait(PATIENCE_SECONDS)
    time.sleep(0.3)  # let the end be read while the first object waits
    receiver.may_store.set()
    if ending == A_RELEASE_RQ:
        assert heard(connection, 9) == [4] * 8 + [6]
    require_stored(receiver, datasets)
    connection.end()
    require_no_partial_file(receiver)
    closed = receiver.closed_event.wait(PATIENCE_SECONDS)
    assert closed and set().union(*(studies for studies, _aborted in receiver.closed)) == {
        dataset.StudyInstanceUID for dataset in datasets
    }


def require_no_partial_file(receiver: HeldReceiver) -> None:
    folder, deadline = receiver.store.root / INCOMING_FOLDER, time.monotonic() + PATIENCE_SECONDS
    while any(folder.glob("*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(folder.glob("*")) == []


MISPLACED = {
    "an echo within a data set": lambda head, data, end: [head, data, echo_value(), end],
    "another store within a data set": lambda head, data, end: [head, data, head, end],
    "a data set before its command": lambda head, data, end: [data, head, end],
    "the end of a data set under another context": lambda head, data, end: [head, data, end[:4] + b"\x05" + end[5:]],
    "a piece of a data set under another context": lambda head, data, end: [head, data[:4] + b"\x05" + data[5:], end],
    "a data set within its command": lambda head, data, end: [fragment(COMMAND, head[6:90], 3), data, head, end],
    "no value at all": lambda head, data, end: [head, data, b"\0\0\0\0"],
    "a value without control header": lambda head, data, end: [head, data, b"\0\0\0\1\3"],
    "a value longer than its PDU": lambda head, data, end: [head, data, struct.pack(">I", len(end) + 50) + end[4:]],
}


@WAYS
@pytest.mark.parametrize("together", [True, False], ids=["in one PDU", "in many"])
@pytest.mark.parametrize("arranged", MISPLACED.values(), ids=MISPLACED)
def test_fragments_that_cannot_be_in_that_order_end_the_association_and_store_nothing(
    start, receiver, spooled: bool, together: bool, arranged
) -> None:
    (dataset,) = images(1)
    head, data, end = values(dataset, 15_000)
    connection = opened(start(spooled=spooled))
    pieces = arranged(head, data, end)
    connection.say(pdu(*pieces) if together else b"".join(map(pdu, pieces)))
    assert heard(connection, 1) == [7]
    assert (connection.end() or PATIENCE_SECONDS) < 5.0
    assert receiver.received == receiver.refused == []
    require_no_partial_file(receiver)


def test_many_messages_in_one_pdu_do_not_all_hold_a_file_open(start, receiver) -> None:
    datasets = [chest_radiograph(PixelData=bytes(100)) for _ in range(40)]
    receiver.may_store.clear()
    connection = opened(start(spooled=True))
    connection.say(pdu(*[value for dataset in datasets for value in values(dataset)]) + A_RELEASE_RQ)
    assert receiver.asked.wait(PATIENCE_SECONDS)
    time.sleep(0.3)
    assert len(list((receiver.store.root / INCOMING_FOLDER).glob("*"))) <= MAXIMUM_WAITING + 2
    receiver.may_store.set()
    assert heard(connection, 41) == [4] * 40 + [6]
    require_stored(receiver, datasets)
    connection.end()
