"""An archive whose answers have no end: messages that grow, responses that only say "pending", or one every while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from endless_answers import PENDING, always_pending, fragment
from factories import chest_radiograph, write_dicom
from pdu_mutations import command
from peers import StandInPacs
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel
from storage_ends import FolderReceiver
from ups_clients import dataset

from dicom_io.associations import message_limits
from dicom_io.associations.client import ScuSettings
from dicom_io.associations.kept_association import Call, KeptAssociation
from dicom_io.services import retrieve
from dicom_io.services.query import STUDY_ROOT_FIND, ArchiveError, ArchiveTooSlow, querying
from dicom_io.services.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE, Outcome, Wanted, get, move
from dicom_io.services.storage_commitment_scu import request_commitment

PATIENCE = ScuSettings(dimse_timeout_seconds=10.0)
HASTE = ScuSettings(dimse_timeout_seconds=10.0, answers_seconds=0.6)
CR = "1.2.840.10008.5.1.4.1.1.1"
PIECE = bytes(100_000)
SENT_BYTES = 200 << 20
"""What a flood would have a process collect that does not stop it."""
GROWTH_BYTES = 96 << 20
"""What it may grow by meanwhile: a message of the largest size allowed, and its copies while its buffer grows."""
ACTION_RESPONSE, EVENT_REQUEST, STORE_RESPONSE = 0x8130, 0x0100, 0x8001
RESPONSES = {STUDY_ROOT_FIND: 0x8020, STUDY_ROOT_MOVE: 0x8021, STUDY_ROOT_GET: 0x8010}


@pytest.fixture
def archive() -> Iterator[StandInPacs]:
    pacs = StandInPacs()
    yield pacs
    pacs.stop()


@contextmanager
def bounded_growth() -> Iterator[None]:
    """Look at this process's memory again and again; the stand-in, in it, too, sends the same bytes all over."""
    before, peak, over = resident_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        peak = resident_bytes()
        while not over.wait(0.005):
            peak = max(peak, resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert peak, "nothing was measured"
    assert peak - before < GROWTH_BYTES


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def flood(event: Event, head: bytes, control: int) -> None:
    """Send a message without end over the association, past pynetdicom."""
    connection, context_id = event.assoc.dul.socket.socket, event.context.context_id
    with suppress(OSError):  # the other side has had enough
        if head:
            connection.sendall(fragment(context_id, 3, head))
        for _ in range(SENT_BYTES // len(PIECE)):
            connection.sendall(fragment(context_id, control, PIECE))


def floods(kind: str, field: int, uid: str) -> Callable[[Event], None]:
    """Return what answers with an endless command set, an endless data set, or an event that nobody asked for."""
    head = {"command": b"", "data set": command(field, uid, data_set=True),
            "event": command(EVENT_REQUEST, uid, data_set=True)}[kind]  # fmt: skip
    return lambda event: flood(event, head, 1 if kind == "command" else 0)


def offer(archive: StandInPacs, uid: str, misbehave: Callable[[Event], None], well_after: int = 99) -> None:
    """Let the archive misbehave for so many requests, and say then that all is done."""
    count = 0

    def answer(event: Event) -> Iterator[Any]:
        nonlocal count
        count += 1
        if count <= well_after:
            misbehave(event)
        if uid == STUDY_ROOT_MOVE:
            yield ("127.0.0.1", archive.port)
        yield 0

    def find(event: Event) -> Iterator[Any]:
        misbehave(event)
        yield 0x0000, None

    events = {STUDY_ROOT_FIND: evt.EVT_C_FIND, STUDY_ROOT_MOVE: evt.EVT_C_MOVE, STUDY_ROOT_GET: evt.EVT_C_GET}
    archive.offer(uid, (events[uid], find if uid == STUDY_ROOT_FIND else answer))
    archive.start()


def retrieved(archive: StandInPacs, uid: str, folder: Path, settings: ScuSettings, objects: int = 1) -> list[Outcome]:
    wanted = [Wanted("1.2.3", "1.2.3.1", f"1.2.3.1.{number}", CR) for number in range(objects)]
    if uid == STUDY_ROOT_MOVE:
        return list(move(archive.peer, wanted, "CXRAI", settings))
    return list(get(archive.peer, wanted, "CXRAI", settings, FolderReceiver(folder)))


KINDS = ["command", "data set", "event"]
RETRIEVALS = {"move": STUDY_ROOT_MOVE, "get": STUDY_ROOT_GET}


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_answered_without_end_ends_in_words(archive: StandInPacs, kind: str) -> None:
    offer(archive, STUDY_ROOT_FIND, floods(kind, RESPONSES[STUDY_ROOT_FIND], STUDY_ROOT_FIND))
    refused = pytest.raises(ArchiveError, match="did not answer a query")
    with bounded_growth(), querying(archive.peer, "CXRAI", PATIENCE) as asked, refused:
        asked.find("STUDY", StudyInstanceUID="1.2.3")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", RETRIEVALS)
def test_a_retrieval_answered_without_end_ends_in_words(
    archive: StandInPacs, how: str, kind: str, tmp_path: Path
) -> None:
    uid = RETRIEVALS[how]
    offer(archive, uid, floods(kind, RESPONSES[uid], uid))
    with bounded_growth():
        ((_, hindrance),) = retrieved(archive, uid, tmp_path, PATIENCE)
    assert hindrance == "no answer: timeout, abort or lost connection"


def test_an_object_without_end_that_comes_by_c_get_is_cut(
    archive: StandInPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_limits, "MAXIMUM_OBJECT_BYTES", 8 << 20)
    offer(archive, STUDY_ROOT_GET, lambda event: flood(event, command(0x0001, CR, data_set=True), 0))
    with bounded_growth():
        ((_, hindrance),) = retrieved(archive, STUDY_ROOT_GET, tmp_path, PATIENCE)
    assert hindrance == "no answer: timeout, abort or lost connection"


@pytest.mark.parametrize("kind", KINDS)
def test_a_commitment_request_answered_without_end_ends_in_words(archive: StandInPacs, kind: str) -> None:
    misbehave = floods(kind, ACTION_RESPONSE, StorageCommitmentPushModel)

    def answer(event: Event) -> tuple[int, None]:
        misbehave(event)
        return 0x0000, None

    archive.offer(StorageCommitmentPushModel, (evt.EVT_N_ACTION, answer))
    archive.start()
    with bounded_growth():
        outcome = request_commitment(
            archive.peer, "1.2.3", {"1.2.3.4": CR}, "CXRAI", PATIENCE, lambda _answer: True, wait_seconds=0.0
        )
    assert outcome.comment == "no answer to the request: timeout, abort or lost connection"


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_without_end_to_an_object_sent_over_a_kept_association_is_cut(kind: str, tmp_path: Path) -> None:
    class FloodingPacs(StandInPacs):
        def _store(self, event: Event) -> int:
            floods(kind, STORE_RESPONSE, CR)(event)
            return 0x0000

    image = chest_radiograph()
    path = write_dicom(image, tmp_path / "image.dcm")
    pacs = FloodingPacs()
    pacs.start()
    try:
        kept = KeptAssociation.open(
            Call(pacs.peer, "CXRAI", PATIENCE), [(image.SOPClassUID, str(image.file_meta.TransferSyntaxUID))]
        )
        assert isinstance(kept, KeptAssociation)
        with bounded_growth():
            assert kept.begin()
            assert "Status" not in kept.association.send_c_store(path)
            kept.finish()
        kept.release()
    finally:
        pacs.stop()


@pytest.mark.parametrize("how", RETRIEVALS)
def test_a_retrieval_that_is_pending_for_ever_ends_in_words(
    archive: StandInPacs, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "MOST_ANSWERS", 300)
    uid = RETRIEVALS[how]
    offer(archive, uid, always_pending(RESPONSES[uid], uid))
    with bounded_growth():
        ((_, hindrance),) = retrieved(archive, uid, tmp_path, PATIENCE)
    assert hindrance == "archive answers more than 300 times that it is not done"


def test_what_nobody_looks_at_yet_waits_at_the_archive(archive: StandInPacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_limits, "MOST_WAITING", 50)
    sent = 0

    def find(_event: Event) -> Iterator[tuple[int, Dataset | None]]:
        nonlocal sent
        for _ in range(3000):
            sent += 1
            yield PENDING, dataset(PatientID="P-1", StudyDescription="x" * 60)
        yield 0x0000, None

    archive.offer(STUDY_ROOT_FIND, (evt.EVT_C_FIND, find))
    archive.start()
    with querying(archive.peer, "CXRAI", HASTE) as asked:
        association: Any = asked._association
        keys = dataset(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        association.send_c_find(keys, STUDY_ROOT_FIND)
        time.sleep(1.5)
        assert 50 < association.dimse.msg_queue.qsize() < 150
        association.abort()


def test_a_query_whose_answers_trickle_ends_in_time(archive: StandInPacs) -> None:
    offer(archive, STUDY_ROOT_FIND, always_pending(RESPONSES[STUDY_ROOT_FIND], STUDY_ROOT_FIND, 0.2))
    began = time.monotonic()
    with querying(archive.peer, "CXRAI", HASTE) as asked, pytest.raises(ArchiveTooSlow, match=r"in 0\.6 s"):
        asked.find("STUDY", StudyInstanceUID="1.2.3")
    assert time.monotonic() - began < 8.0, "and not after the 20 s for which it trickles"


@pytest.mark.parametrize("how", RETRIEVALS)
def test_after_a_retrieval_that_trickles_the_next_object_is_asked_for(
    archive: StandInPacs, how: str, tmp_path: Path
) -> None:
    uid = RETRIEVALS[how]
    offer(archive, uid, always_pending(RESPONSES[uid], uid, 0.2), well_after=1)
    first, second = (hindrance for _, hindrance in retrieved(archive, uid, tmp_path, HASTE, objects=2))
    assert first == "archive did not say within 0.6 s that it was sent"
    assert "did not say" not in second
    assert "before this object" not in second
    assert archive.associations == 2


def test_an_archive_that_never_comes_to_an_end_is_not_called_for_ever(archive: StandInPacs, tmp_path: Path) -> None:
    offer(archive, STUDY_ROOT_MOVE, always_pending(RESPONSES[STUDY_ROOT_MOVE], STUDY_ROOT_MOVE, 0.2))
    haste = ScuSettings(dimse_timeout_seconds=10.0, answers_seconds=0.3)
    said = [hindrance for _, hindrance in retrieved(archive, STUDY_ROOT_MOVE, tmp_path, haste, objects=6)]
    assert archive.associations == retrieve.MOST_UNENDING
    assert said[retrieve.MOST_UNENDING :] == ["association ended before this object was asked for"] * 3


@pytest.mark.parametrize("how", RETRIEVALS)
def test_an_object_over_which_the_archive_aborts_keeps_no_other_from_being_asked_for(
    archive: StandInPacs, how: str, tmp_path: Path
) -> None:
    """Else those behind it never come: it is the first of what is missing each time."""
    uid = RETRIEVALS[how]
    offer(archive, uid, lambda event: event.assoc.abort(), well_after=1)
    hindrances = [hindrance for _, hindrance in retrieved(archive, uid, tmp_path, PATIENCE, objects=3)]
    assert hindrances[0] == "no answer: timeout, abort or lost connection"
    assert "before this object" not in "".join(hindrances)
    assert hindrances[1] != hindrances[0]
    assert archive.associations == 2


@pytest.mark.parametrize("how", RETRIEVALS)
def test_an_archive_that_aborts_over_each_object_is_not_called_for_ever(
    archive: StandInPacs, how: str, tmp_path: Path
) -> None:
    uid = RETRIEVALS[how]
    offer(archive, uid, lambda event: event.assoc.abort())
    said = [hindrance for _, hindrance in retrieved(archive, uid, tmp_path, PATIENCE, objects=6)]
    assert archive.associations == retrieve.MOST_LOST_IN_A_ROW
    assert said[retrieve.MOST_LOST_IN_A_ROW :] == ["association ended before this object was asked for"] * 3
