"""A test run that is killed leaves no server running and no disk mounted behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from last_will import begun_at, execute
from sites import wait_until

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import os, subprocess, sys, time
from contextlib import ExitStack
from pathlib import Path
from benchmarks.process_tree import descendants
from last_will import ends_with_us, unmounted_with_us
from services import own_redis, postgres_programs, _system_postgres
folder, postmaster = Path(sys.argv[1]), []
with ExitStack() as stack:
    stack.enter_context(own_redis())
    if programs := postgres_programs():
        server = Path(stack.enter_context(_system_postgres(programs)).partition("host=")[2])
        postmaster = (server / "data" / "postmaster.pid").read_text().split()[:1]
    family = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 600 & sleep 600; sleep 600"])
    ends_with_us(family.pid)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode == 0:
        unmounted_with_us(folder)
    print(*descendants(os.getpid())[1:], *postmaster, flush=True)
    time.sleep(600)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")


def test_what_a_killed_run_has_started_ends_with_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "support" / "documents")])
    with subprocess.Popen(
        [sys.executable, "-c", RUN, disk], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as run:
        assert run.stdout is not None
        started = {pid: begun_at(pid) for pid in map(int, run.stdout.readline().split())}
        assert len(started) >= 4
        assert all(started.values()), "all of them run"
        run.kill()
    wait_until(lambda: not any(begun_at(pid) == began for pid, began in started.items()), "all have ended", 20)
    assert not disk.is_mount()


def test_another_process_that_has_the_number_by_now_is_spared() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        execute([f"process {process.pid} {int(begun_at(process.pid)) - 1}"])
        assert process.poll() is None
        execute([f"process {process.pid} {begun_at(process.pid)}"])
        assert process.wait(5) != 0
