"""A context that was accepted for one service carries no other: who may verify or work off may not send by that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from factories import chest_radiograph
from pdu_fuzzing import Connection
from pdu_mutations import (
    A_RELEASE_RQ,
    COMMITMENT,
    CT,
    DX,
    IMPLICIT,
    VERIFICATION,
    associate_request,
    command,
    encoded_command,
)
from pydicom.dataset import Dataset
from storage_ends import FolderReceiver, encode, listeners
from store_pdus import COMMAND, LAST, fragment, pdu

from dicom_io.services.storage_commitment import CommitmentAnswer
from dicom_io.services.storage_scp import StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER

ABORTED, RELEASED, SECONDS = 7, 6, 10.0
Start = Callable[..., StorageScp]


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


@pytest.fixture
def heard() -> list[CommitmentAnswer]:
    return []


@pytest.fixture
def start(receiver: FolderReceiver, heard: list[CommitmentAnswer]) -> Iterator[Start]:
    def take(answer: CommitmentAnswer) -> bool:
        heard.append(answer)
        return True

    with listeners(receiver, take) as starter:
        yield partial(starter, accept_unknown_callers=False)


def what_comes_of(scp: StorageScp, abstract_syntax: str, message: bytes) -> list[int]:
    """Send a message under the only context and release; return the types of the PDUs that answer."""
    connection = Connection(scp.address)
    connection.say(associate_request(proposed=[(1, abstract_syntax, (IMPLICIT,))]))
    until, kinds = time.monotonic() + SECONDS, []
    opened = connection.hear(until)
    assert opened is not None and opened[0] == 2
    connection.say(message + A_RELEASE_RQ)
    while not kinds or kinds[-1] not in (ABORTED, RELEASED):
        heard = connection.hear(until)
        assert heard is not None
        kinds.append(heard[0])
    connection.end()
    return kinds


def store(dataset: Dataset) -> bytes:
    asked = command(0x0001, DX, uid=dataset.SOPInstanceUID, data_set=True)
    return pdu(fragment(COMMAND | LAST, asked), fragment(LAST, encode(dataset, implicit=True)))


@pytest.mark.parametrize("spool", [{}, {"spool_folder": None}], ids=["to disk", "in memory"])
@pytest.mark.parametrize("abstract_syntax", [VERIFICATION, "1.2.840.10008.5.1.4.34.6.1"], ids=["verification", "UPS"])
def test_who_may_only_work_off_cannot_send(
    start: Start, receiver: FolderReceiver, caplog: pytest.LogCaptureFixture, abstract_syntax: str, spool: dict
) -> None:
    scp = start(worklist_callers={"FUZZER": ()}, **spool)
    assert what_comes_of(scp, abstract_syntax, store(chest_radiograph())) == [ABORTED]
    assert receiver.received == receiver.refused == []
    assert list((receiver.store.root / INCOMING_FOLDER).glob("*")) == []
    assert "came under a presentation context of another service" in caplog.text


def test_a_source_cannot_answer_for_an_archive(start: Start, heard: list[CommitmentAnswer]) -> None:
    answer = Dataset()
    answer.TransactionUID = "1.2.3"
    event = encoded_command(
        [
            (0x0002, COMMITMENT.encode()), (0x0100, b"\x00\x01"), (0x0110, b"\7\0"), (0x0800, b"\0\0"),
            (0x1000, b"1.2.840.10008.1.20.1.1"), (0x1002, b"\1\0"),
        ]
    )  # fmt: skip
    told = pdu(fragment(COMMAND | LAST, event), fragment(LAST, encode(answer, implicit=True)))
    assert what_comes_of(start(callers={"FUZZER": ()}), VERIFICATION, told) == [ABORTED]
    assert heard == []
    archive = start(callers={}, commitment_peers=frozenset({"FUZZER"}))
    assert what_comes_of(archive, COMMITMENT, told) == [4, RELEASED]
    assert len(heard) == 1


@pytest.mark.parametrize("abstract_syntax", [CT, "1.3.6.1.4.1.99999.1"], ids=["CT", "private"])
def test_an_image_under_the_context_of_another_storage_class_is_taken(
    start: Start, receiver: FolderReceiver, abstract_syntax: str
) -> None:
    """As some devices send it; what kind of image it is, its own header says (PS3.4 B.2.3)."""
    assert what_comes_of(start(callers={"FUZZER": ()}), abstract_syntax, store(chest_radiograph())) == [4, RELEASED]
    assert len(receiver.received) == 1
