"""Who serves a request: the thread that read it, unless something comes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from factories import chest_radiograph
from storage_ends import FolderReceiver, encode, listeners
from store_pdus import LAST, command, connected, fragment, pdu

from dicom_io.associations import waking
from dicom_io.associations.store_request import PlainStore
from dicom_io.associations.waking import RequestQueue, WokenDimse
from dicom_io.services.storage_scp import StorageScp

COMMAND_AND_LAST = 3
SUCCESS = b"\0\0\0\x09\2\0\0\0\0\0"


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


@pytest.fixture
def start(receiver: FolderReceiver) -> Iterator[Callable[..., StorageScp]]:
    with listeners(receiver) as starter:
        yield starter


def whole_request(dataset: Any) -> bytes:
    encoded = encode(dataset)
    pieces = [encoded[at : at + 60_000] for at in range(0, len(encoded), 60_000)]
    pdus = [pdu(fragment(LAST if piece is pieces[-1] else 0, piece)) for piece in pieces]
    return b"".join([pdu(fragment(COMMAND_AND_LAST, command(dataset.SOPInstanceUID))), *pdus])


def test_an_object_that_takes_longer_than_the_network_timeout_is_stored_and_answered(start, receiver) -> None:
    storing, served_by = receiver.receive, []

    def slow(received: Any) -> Any:
        served_by.append(threading.current_thread())
        time.sleep(1.5)
        return storing(received)

    receiver.receive = slow
    scp = start(network_timeout_seconds=0.5)
    with connected(scp) as connection:
        (association,) = scp._ae.active_associations
        give_up_at = time.monotonic() + 10
        while not association.is_established or not association.dimse.msg_queue.is_at_rest:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)  # accepted, but its thread has not come round yet
        connection.sendall(whole_request(chest_radiograph()))
        assert SUCCESS in connection.recv(4096)
    assert served_by == [association.dul]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    found: list[object] = []
    monkeypatch.setattr(waking, "serve_store", lambda association, request, context_id: found.append(request))
    return found


def dimse_of(*, established: bool = True, held: bool = False) -> WokenDimse:
    checkpoint = threading.Event()
    if not held:
        checkpoint.set()
    upper_layer = SimpleNamespace(serves=False, to_user_queue=SimpleNamespace(queue=[]))
    association = SimpleNamespace(
        is_established=established,
        _reactor_checkpoint=checkpoint,
        dul=upper_layer,
        _kill=True,
        _serve_request=lambda request, context_id: None,
    )
    dimse = WokenDimse(cast(Any, association))
    dimse.begin_waiting()
    return dimse


def test_an_object_is_stored_by_the_thread_that_read_it(served) -> None:
    dimse, request = dimse_of(), PlainStore()
    dimse.take_store(request, 1)
    assert served == [request]
    assert dimse.msg_queue.empty()


@pytest.mark.parametrize("why", [{"established": False}, {"held": True}])
def test_an_object_waits_until_its_association_is_ready_for_it(served, why) -> None:
    dimse, request = dimse_of(**why), PlainStore()
    dimse.take_store(request, 1)
    assert served == []
    assert dimse.msg_queue.get_nowait() == (1, request)


def test_an_object_does_not_overtake_what_came_before_it(served) -> None:
    dimse, echo, request = dimse_of(), object(), PlainStore()
    dimse.msg_queue.put((1, cast(Any, echo)))
    dimse.take_store(request, 1)
    assert served == []
    seen: list[bool] = []
    dimse.assoc._serve_request = lambda *_: seen.append(dimse.msg_queue.is_at_rest)  # type: ignore[method-assign]
    dimse.get_msg()
    assert seen == [False]
    dimse.get_msg()
    assert served == [request]
    assert dimse.msg_queue.is_at_rest


def test_a_queue_is_not_at_rest_while_what_was_taken_from_it_is_being_done() -> None:
    waiting = RequestQueue()
    assert waiting.is_at_rest
    waiting.put((1, object()))
    assert not waiting.is_at_rest
    waiting.get()
    assert not waiting.is_at_rest
    waiting.is_served = False
    assert waiting.is_at_rest
    waiting.put((None, None))  # wakes the thread, and is nothing to do
    waiting.get()
    assert waiting.is_at_rest
