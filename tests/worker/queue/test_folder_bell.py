"""A message on disk is taken when it is there, the next one when a process is free; nobody sleeps meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools

from worker.processes.tasks import ring_triage
from worker.queue import folder_bell
from worker.queue.celery_app import app, configure
from worker.queue.folder_bell import FolderBell
from worker.settings.config import Settings


@pytest.fixture(autouse=True)
def _leave_no_connections() -> Iterator[None]:
    yield
    pools.reset()


@pytest.fixture
def seldom_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look every minute, so that only the bell can be quick."""
    monkeypatch.setattr(folder_bell, "SAFETY_SECONDS", 60.0)
    monkeypatch.setattr(folder_bell, "LOOK_SECONDS", 60.0)


@pytest.mark.usefixtures("seldom_looked_at")
def test_a_waiting_consumer_gets_the_message_of_another_at_once(
    make_settings: Callable[..., Settings],
) -> None:
    configure(make_settings())
    threading.Timer(0.5, ring_triage, ("1.2.3", "routine")).start()
    got, seconds = received(1, timeout=20.0)
    assert got == ["1.2.3"]
    assert 0.4 < seconds < 5.0


@pytest.mark.usefixtures("seldom_looked_at")
def test_a_process_that_is_free_again_gets_the_next_message_at_once(make_settings: Callable[..., Settings]) -> None:
    configure(make_settings())
    for number in (1, 2):
        ring_triage(f"1.2.{number}", "routine")
    got, seconds = received(2, timeout=20.0, acknowledge_after=0.5)
    assert got == ["1.2.1", "1.2.2"]
    assert 0.4 < seconds < 5.0


def test_without_a_bell_the_folder_is_looked_at_all_the_same(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_bell, "_watch", lambda folder: None)  # another system, or no more watches
    configure(make_settings())
    threading.Timer(0.3, ring_triage, ("1.2.3", "routine")).start()
    assert received(1, timeout=20.0)[0] == ["1.2.3"]


def test_nobody_waits_longer_than_asked(make_settings: Callable[..., Settings]) -> None:
    configure(make_settings())
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        received(1, timeout=0.2)
    assert 0.2 <= time.monotonic() - started < 5.0


def test_a_ring_is_not_lost_between_two_waits_and_many_are_one(tmp_path: Path) -> None:
    bell = FolderBell(tmp_path)
    for _ in range(100_000):
        bell.ring()
    started = time.monotonic()
    while time.monotonic() - started < 0.2:
        bell.wait(0.01)
    bell.ring()
    started = time.monotonic()
    bell.wait(30.0)
    assert time.monotonic() - started < 0.1


def received(count: int, timeout: float, acknowledge_after: float = 0.0) -> tuple[list[str], float]:
    """Take that many messages, one at a time; return the studies they name and how long it took."""
    studies: list[str] = []

    def take(body: Any, message: Any) -> None:
        studies.append(body[0][0])
        threading.Timer(acknowledge_after, message.ack).start()

    started = time.monotonic()
    with app.connection_for_read() as connection:
        consumer = connection.Consumer([app.amqp.queues["routine"]], callbacks=[take], prefetch_count=1)
        with consumer:
            while len(studies) < count:
                connection.drain_events(timeout=timeout)
        return studies, time.monotonic() - started
