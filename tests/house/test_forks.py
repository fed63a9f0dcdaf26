"""Forks as stand-ins for fresh processes: to whoever looks from inside or waits outside they are the same (Linux)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forks import Order, forking_is_enough, run_command, start_command

pytestmark = pytest.mark.skipif(not forking_is_enough(), reason="forks stand in for processes on Linux only")
PROBE = """
import gc, json, os, random, resource, signal, sys, threading, warnings
signals = {number.name: str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()
           if isinstance(number, signal.Signals)}
print(json.dumps({
    "name": __name__, "arguments": sys.argv[1:], "path": sys.path[0], "folder": os.getcwd(), "signals": signals,
    "environment": dict(os.environ), "group": os.getpgid(0), "session": os.getsid(0), "parent": os.getppid(),
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1], "threads": threading.active_count(),
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE), "mask": os.umask(0), "filters": len(warnings.filters) > 0,
    "buffered": sys.stdout.line_buffering, "flags": str(sys.flags),
}))
print(random.random(), os.urandom(4).hex(), os.getpid(), file=sys.stderr)
sys.exit(3)
"""


def test_a_fork_finds_what_a_fresh_process_finds_and_nothing_of_another_fork(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    environment = os.environ | {"CXR_FAILPOINT": "after_claim"}
    command = [sys.executable, "-W", "ignore", "-m", "probe", "one", "two words"]
    fresh = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    first, second = (run_command("probe", ["one", "two words"], environment, tmp_path) for _ in range(2))
    assert (fresh.returncode, first.returncode, second.returncode) == (3, 3, 3), fresh.stderr + first.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout) == json.loads(fresh.stdout)
    assert not set(first.stderr.split()) & set(second.stderr.split()), "the same random numbers"


def test_a_fork_is_waited_for_and_killed_like_any_child(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)")
    log = tmp_path / "log.txt"
    process = start_command(Order("sleeper", [], dict(os.environ), str(tmp_path)), log)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    assert process.poll() is None
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert log.read_text() == "asleep\n"
    assert not Path(f"/proc/{process.pid}").exists()
