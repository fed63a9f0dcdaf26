from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_test_bundle
from services import free_port

from worker.foundation.errors import AddressInUse, AlreadyRunning, StartError, UnmigratedDatabase
from worker.foundation.service_process import Service, ServiceGaveUp
from worker.processes.up import Supervisor, services
from worker.rows.service_lock import sole_process
from worker.runs.workplace import BundleUnusable
from worker.settings.config import Settings, load_settings
from worker.settings.environment import settings_environment


def quiet_server() -> tuple[str, ...]:
    """Return a real process that runs until it is stopped, in place of one of ours."""
    return ("http.server", "--bind", "127.0.0.1", str(free_port()))


@pytest.fixture
def ready_to_start(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Settings:
    write_test_bundle(tmp_path / "bundle")
    return make_settings(database_url=sqlite_url, bundles={"default": tmp_path / "bundle"}, listen_port=free_port())


@pytest.fixture
def running(ready_to_start: Settings) -> Iterator[Supervisor]:
    """A supervisor of two stand-in services, in a thread."""
    supervisor = Supervisor(ready_to_start, [Service("first", quiet_server()), Service("second", quiet_server())])
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    wait_until(lambda: all(service.process for service in supervisor.services))
    yield supervisor
    supervisor.ask_to_stop()
    thread.join(20)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_process_is_started_again_and_the_other_left_alone(running: Supervisor) -> None:
    first, second = running.services
    assert first.process is not None
    assert second.process is not None
    killed, untouched = first.process.pid, second.process.pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: first.process is not None and first.process.pid != killed)
    assert first.process.poll() is None
    assert second.process.pid == untouched


def test_stopping_stops_every_process(running: Supervisor) -> None:
    pids = [service.process.pid for service in running.services if service.process]
    running.ask_to_stop()
    wait_until(lambda: all(service.process and service.process.poll() is not None for service in running.services))
    assert not any(is_alive(pid) for pid in pids)


def test_a_listener_that_cannot_start_ends_the_whole_start(ready_to_start: Settings) -> None:
    steady = Service("steady", quiet_server())
    broken = Service("listener", ("no_such_module_anywhere",), essential=True)
    with pytest.raises(ServiceGaveUp, match="listener ended with status 1 before it was ready"):
        Supervisor(ready_to_start, [steady, broken]).run()
    assert steady.process is not None
    assert steady.process.poll() is not None


def test_a_second_start_on_the_same_data_folder_is_refused(ready_to_start: Settings) -> None:
    with sole_process("up", ready_to_start.data_dir), pytest.raises(AlreadyRunning, match="already runs on the data"):
        Supervisor(ready_to_start, []).run()


def test_an_occupied_port_is_refused_before_anything_starts(ready_to_start: Settings) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", ready_to_start.listen_port))
        occupant.listen()
        with pytest.raises(AddressInUse, match="stop the program that uses it or change listen_port"):
            Supervisor(ready_to_start, services(worklist=False)).run()


def test_an_unmigrated_database_is_refused_before_anything_starts(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UnmigratedDatabase, match="python -m worker migrate"):
        Supervisor(make_settings(), services(worklist=True)).run()


@pytest.mark.parametrize(
    ("demonstration", "folder", "message"),
    [(False, "elsewhere", "does not exist"), (True, "bundle", "is a demonstration and may")],
)
def test_an_unusable_bundle_is_refused_before_anything_starts(
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    tmp_path: Path,
    demonstration: bool,
    folder: str,
    message: str,
) -> None:
    write_test_bundle(tmp_path / "bundle", demonstration=demonstration)
    settings = make_settings(database_url=sqlite_url, bundles={"default": tmp_path / folder})
    with pytest.raises(BundleUnusable, match=message) as refusal:
        Supervisor(settings, services(worklist=False)).run()
    assert isinstance(refusal.value, StartError)


def test_children_read_exactly_the_settings_of_the_supervisor(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(
        listen_port=free_port(),
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
        sources=[{"ae_title": "MODALITY", "urgent": True}],
        thresholds={"Effusion": 0.25},
    )
    monkeypatch.setenv("CXR_LEASE_SECONDS", "77")
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings
