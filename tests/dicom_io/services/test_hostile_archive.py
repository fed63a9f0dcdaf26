"""An archive whose answers are beyond measure: it costs little, says nothing, and the query ends in words."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from pdu_mutations import VERIFICATION, associate_request, command
from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel
from storage_ends import FolderReceiver
from ups_clients import dataset

from dicom_io.associations import message_limits
from dicom_io.associations.client import ScuSettings
from dicom_io.services import query
from dicom_io.services.query import STUDY_ROOT_FIND, ArchiveError, querying
from dicom_io.services.storage_commitment_scu import request_commitment
from dicom_io.services.storage_scp import StorageScp
from dicom_io.storing.receiving import ScpSettings

PATIENCE = ScuSettings(dimse_timeout_seconds=10.0)


def nested(depth: int) -> Dataset:
    made = dataset(PatientID="P-1")
    for _ in range(depth):
        made = dataset(PatientID="P-1", ReferencedStudySequence=[made])
    return made


BEYOND = {
    "deep": lambda: nested(message_limits.DEEPEST + 1),
    "wide": lambda: dataset(ReferencedStudySequence=[Dataset()] * (message_limits.MOST_ITEMS + 1)),
    "long": lambda: dataset(TextValue="x" * message_limits.MAXIMUM_ANSWER_BYTES),
}


@pytest.fixture
def archive() -> Iterator[StandInPacs]:
    pacs = StandInPacs()
    yield pacs
    pacs.stop()


def answers(matches: Callable[[], Iterable[Dataset]]) -> Callable[[Event], Iterator[tuple[int, Dataset | None]]]:
    def find(_event: Event) -> Iterator[tuple[int, Dataset | None]]:
        for match in matches():
            yield 0xFF00, match
        yield 0x0000, None

    return find


def ask(archive: StandInPacs) -> list[Dataset]:
    with querying(archive.peer, "CXRAI", PATIENCE) as asked:
        return asked.find("STUDY", StudyInstanceUID="1.2.3", PatientID="")


@pytest.mark.parametrize("kind", BEYOND)
def test_an_answer_beyond_measure_ends_the_query(
    archive: StandInPacs, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    archive.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, answers(lambda: [BEYOND[kind]()])))
    archive.start()
    with pytest.raises(ArchiveError, match="did not answer a query"):
        ask(archive)
    assert "more than" in caplog.text


def test_an_answer_within_measure_is_taken(archive: StandInPacs) -> None:
    many = dataset(PatientID="P-1", ReferencedStudySequence=[Dataset()] * 100)
    matches = [nested(message_limits.DEEPEST), many]
    archive.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, answers(lambda: matches)))
    archive.start()
    assert [match.PatientID for match in ask(archive)] == ["P-1", "P-1"]


def test_answers_without_end_end_the_query(archive: StandInPacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MOST_MATCHES", 50)
    endless = (dataset(PatientID="P-1") for _ in itertools.count())
    archive.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, answers(lambda: endless)))
    archive.start()
    with pytest.raises(ArchiveError, match="more than 50 matches"):
        ask(archive)


def test_a_reply_beyond_measure_to_a_commitment_request_is_no_answer(archive: StandInPacs) -> None:
    reply = nested(message_limits.DEEPEST + 1)
    archive.offer(StorageCommitmentPushModel, (evt.EVT_N_ACTION, lambda _event: (0x0000, reply)))
    archive.start()
    outcome = request_commitment(
        archive.peer, "1.2.3", {"1.2.3.4": "1.2.3.5"}, "CXRAI", PATIENCE, lambda _answer: True, wait_seconds=0.0
    )
    assert (outcome.accepted, outcome.comment) == (
        False, "no answer to the request: timeout, abort or lost connection",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("head", "control", "limit"),
    [
        (b"", 1, message_limits.MAXIMUM_COMMAND_BYTES),
        (command(0x0030, VERIFICATION, data_set=True), 0, message_limits.MAXIMUM_MESSAGE_BYTES),
    ],
    ids=["command", "data set"],
)
@pytest.mark.parametrize("spool", [True, False], ids=["to disk", "in memory"])
def test_a_message_without_end_is_cut_by_the_listener(
    tmp_path: Path, head: bytes, control: int, limit: int, spool: bool
) -> None:
    folder = tmp_path / "instances"
    settings = ScpSettings("CXRAI", port=0, accept_unknown_callers=True, spool_folder=folder if spool else None)
    scp = StorageScp(settings, FolderReceiver(folder))
    scp.start()
    try:
        with socket.create_connection(scp.address, timeout=20) as connection:
            connection.sendall(associate_request())
            connection.recv(1 << 16)
            if head:
                connection.sendall(fragment(3, head))
            with pytest.raises((ConnectionError, StopIteration)):
                for _ in range(3 + 2 * limit // 100_000):
                    connection.sendall(fragment(control, bytes(100_000)))
                ended = connection.recv(10)
                assert ended[:1] in (b"", b"\7"), "A-ABORT, or closed"
                raise StopIteration
    finally:
        scp.stop(grace_seconds=1.0)


def fragment(control: int, content: bytes) -> bytes:
    """Return a P-DATA-TF PDU of context 1 with one value (PS3.8 9.3.5)."""
    return struct.pack(">BxIIBB", 4, len(content) + 6, len(content) + 2, 1, control) + content
