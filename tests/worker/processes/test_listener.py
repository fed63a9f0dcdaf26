"""The listener as a process of its own, with a real SCU: kill -9, second starts, taken ports, clean stops."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from arrivals import store
from factories import chest_radiograph
from forks import Order, Started, start_command
from services import free_port, wait_for_port
from sqlalchemy import func, select

from worker.rows.database import SessionFactory
from worker.rows.run_tables import Run
from worker.rows.study_tables import Instance, Study
from worker.settings.config import Settings

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 60.0

Start = Callable[..., "Listener"]


@pytest.fixture
def port() -> int:
    return free_port()


@dataclass
class Listener:
    """A process and the file it writes to."""

    process: Started
    log: Path

    def end(self, seconds: float = 30.0) -> tuple[int, str]:
        """Wait for its end; return its status and what it wrote."""
        return self.process.wait(seconds), self.log.read_text()

    def stop(self) -> tuple[int, str]:
        """Stop it like a service manager; return its status and what it wrote."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()


@pytest.fixture
def start(database_url: str, settings: Settings, port: int, tmp_path: Path) -> Iterator[Start]:
    """Start ``python -m worker listen`` on this test's database and data folder."""
    started: list[Listener] = []

    def begin(*, forked: bool = True, **extra: str) -> Listener:
        environment = os.environ | {
            "CXR_DATA_DIR": str(settings.data_dir),
            "CXR_DATABASE_URL": database_url,
            "CXR_LISTEN_PORT": str(port),
            "CXR_ACCEPT_UNKNOWN_SOURCES": "true",
            "CXR_MINIMUM_FREE_BYTES": "0",
        }
        log = tmp_path / f"listener-{len(started)}.log"
        order = Order("worker", ["listen"], environment | extra, str(ROOT))
        started.append(Listener(start_command(order, log, forked=forked), log))
        return started[-1]

    yield begin
    for listener in started:
        listener.process.kill()
        listener.process.wait(10)


def count(sessions: SessionFactory, table: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def files(settings: Settings) -> list[Path]:
    return list(settings.instances_dir.glob("[0-9]*/*.dcm"))


def test_a_listener_killed_between_file_and_row_leaves_exactly_one_row_after_the_resend(
    start: Start, port: int, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    first = start(CXR_FAILPOINT="after_file_before_row")
    wait_for_port(port, START_SECONDS)
    assert store(port, [dataset]) == [None]  # no answer: the sender keeps its copy
    assert first.process.wait(20) == -signal.SIGKILL
    assert count(sessions, Instance) == 0
    assert len(files(settings)) == 1
    start()
    wait_for_port(port, START_SECONDS)
    assert store(port, [dataset]) == [0x0000]
    assert count(sessions, Instance) == count(sessions, Study) == 1
    assert len(files(settings)) == 1


def test_a_listener_killed_between_row_and_reply_has_the_instance_and_the_resend_adds_nothing(
    start: Start, port: int, sessions: SessionFactory, settings: Settings
) -> None:
    dataset = chest_radiograph()
    first = start(CXR_FAILPOINT="after_row_before_reply")
    wait_for_port(port, START_SECONDS)
    assert store(port, [dataset]) == [None]
    assert first.process.wait(20) == -signal.SIGKILL
    assert count(sessions, Instance) == 1
    with sessions() as session:
        assert session.scalars(select(Study.due_at)).one() is not None  # the sweeper will find it
    start()
    wait_for_port(port, START_SECONDS)
    assert store(port, [dataset]) == [0x0000]
    assert count(sessions, Instance) == 1
    assert len(files(settings)) == 1


def test_the_end_of_the_association_queues_the_run_and_a_stop_is_clean(
    start: Start, port: int, sessions: SessionFactory, settings: Settings
) -> None:
    listener = start(forked=False)
    wait_for_port(port, START_SECONDS)
    assert store(port, [chest_radiograph(), chest_radiograph()]) == [0x0000, 0x0000]
    status, output = listener.stop()
    assert status == 0, output
    assert count(sessions, Run) == 2
    messages = list((settings.data_dir / "queue" / "messages").glob("*.routine.msg"))
    assert len(messages) == 2
    assert "PHANTOM-1" not in output


def test_a_broker_that_is_down_costs_no_association_and_no_study(
    start: Start, port: int, sessions: SessionFactory
) -> None:
    listener = start(CXR_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0")
    wait_for_port(port, START_SECONDS)
    assert store(port, [chest_radiograph()]) == [0x0000]
    assert store(port, [chest_radiograph()]) == [0x0000]
    status, output = listener.stop()
    assert status == 0, output
    assert count(sessions, Run) == 2  # queued in the database; the sweeper rings again
    assert "the sweeper will" in output


def test_a_broker_that_takes_connections_and_never_answers_holds_up_no_association(
    start: Start, port: int, sessions: SessionFactory
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # the system takes connections for it
        broker_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        listener = start(CXR_BROKER_URL=broker_url, CXR_MAXIMUM_ASSOCIATIONS="2")
        wait_for_port(port, START_SECONDS)
        answers = [store(port, [chest_radiograph()]) for _ in range(6)]
        begun = time.monotonic()
        status, output = listener.stop()
        stopping_seconds = time.monotonic() - begun
    assert answers == [[0x0000]] * 6, "associations that have ended waited for the broker and were counted"
    assert status == 0, output
    assert stopping_seconds < 15  # nor does a stop wait for it
    assert count(sessions, Run) == 6


def test_a_second_listener_on_the_same_port_and_data_folder_says_who_has_it(start: Start, port: int) -> None:
    first = start()
    wait_for_port(port, START_SECONDS)
    second = start()
    status, output = second.end(START_SECONDS)
    assert status == 1
    assert f"pid {first.process.pid}" in output.replace("\n", " ")
    assert "Traceback" not in output


def test_an_occupied_port_is_named_and_nothing_is_left_running(start: Start, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        status, output = start().end(START_SECONDS)
    assert status == 1
    assert f"127.0.0.1:{port}" in output.replace("\n", "")
    assert "Traceback" not in output


def test_an_unmigrated_database_is_refused_with_the_command_that_helps(start: Start, tmp_path: Path) -> None:
    status, output = start(CXR_DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}").end(START_SECONDS)
    assert status == 1
    assert "python -m worker migrate" in " ".join(output.split())
    assert "Traceback" not in output
