"""Several listener processes on one port, with dcmtk's storescu, and what dies meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factories import chest_radiograph
from forks import Order, Started, start_command
from orthanc import need
from services import free_port
from sqlalchemy import select

from worker.rows.database import SessionFactory
from worker.rows.study_tables import Instance
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

pytestmark = pytest.mark.either_database

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, SENDERS, IMAGES_OF_EACH = 3, 3, 6
PATIENCE_SECONDS = 90.0

Start = Callable[..., Started]


@pytest.fixture
def group_settings(database_url: str, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(
        database_url=database_url,
        listen_port=free_port(),
        accept_unknown_sources=True,
        listener_processes=PROCESSES,
    )


@pytest.fixture
def start(group_settings: Settings, tmp_path: Path) -> Iterator[Start]:
    started = []

    def begin(*, forked: bool = True) -> Started:
        order = Order("worker", ["listen"], settings_environment(group_settings), str(ROOT), supervisor=True)
        started.append(start_command(order, tmp_path / "log.txt", forked=forked))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS:g} s"
        time.sleep(0.05)


def members(settings: Settings) -> dict[int, int]:
    """Return the process id of each member that lives and listens, by its number."""
    found = {}
    for number in range(1, PROCESSES + 1):
        lock = settings.data_dir / f"listener-{number}.lock"
        words = lock.read_text().split() if lock.exists() else []
        if len(words) > 1 and listens(int(words[1]), settings.listen_port):
            found[number] = int(words[1])
    return found


def listens(pid: int, port: int) -> bool:
    """Say whether one of the process's sockets listens on the port (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    try:
        return any(str(end.readlink()) in inodes for end in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has just ended
        return False


def send_until_taken(settings: Settings, files: list[Path]) -> int:
    """Send one file an association, again and again until storescu is content; return how often it was not."""
    failures = 0
    command = [need("storescu", "dcmtk"), "-aec", settings.ae_title, "-aet", "MODALITY", "-to", "10"]
    for file in files:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            done = subprocess.run(
                [*command, "127.0.0.1", str(settings.listen_port), str(file)], capture_output=True, check=False
            )
            if done.returncode == 0:
                break
            failures += 1
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)
    return failures


def test_a_member_that_is_killed_is_replaced_and_nothing_that_was_acknowledged_is_lost(
    start: Start, group_settings: Settings, sessions: SessionFactory, tmp_path: Path
) -> None:
    folders, sent = [], {}
    for sender in range(SENDERS):
        folders.append([])
        for number in range(IMAGES_OF_EACH):
            dataset = chest_radiograph()
            folders[-1].append(tmp_path / f"{sender}-{number}.dcm")
            dataset.save_as(folders[-1][-1], enforce_file_format=True)
            sent[str(dataset.SOPInstanceUID)] = dataset.PixelData
    group = start()
    wait_until(lambda: len(members(group_settings)) == PROCESSES, "every member listens")
    first = members(group_settings)
    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(send_until_taken, group_settings, files) for files in folders]
        for number in (1, 3):
            time.sleep(0.3)
            os.kill(first[number], signal.SIGKILL)
        for one in sending:
            one.result()
    with sessions() as session:
        rows = session.execute(select(Instance.sop_instance_uid, Instance.path)).all()
    assert sorted(row.sop_instance_uid for row in rows) == sorted(sent)
    for row in rows:
        assert sent[row.sop_instance_uid] in (group_settings.instances_dir / row.path).read_bytes()
    wait_until(lambda: len(members(group_settings)) == PROCESSES, "the killed members are back")
    now = members(group_settings)
    assert now[2] == first[2]
    assert now[1] != first[1]
    assert now[3] != first[3]
    group.send_signal(signal.SIGTERM)
    assert group.wait(60) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in now.values())


def test_a_port_that_another_program_has_is_named(start: Start, group_settings: Settings, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", group_settings.listen_port))
        other.listen()
        assert start(forked=False).wait(60) == 1
    log = (tmp_path / "log.txt").read_text().replace("\n", "")
    assert f"127.0.0.1:{group_settings.listen_port}" in log
    assert "Traceback" not in log
