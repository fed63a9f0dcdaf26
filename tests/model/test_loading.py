from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = """
import os, runpy, signal, sys
from importlib.abc import MetaPathFinder

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":  # every command line needs it, and loads it before most else
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, {handler})
sys.meta_path.insert(0, Interrupting())
sys.argv = [{module!r}, "--help"]
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
COMMAND_LINES = ("model", "worker", "worklist", "training")


def interrupted(module: str, handler: str) -> subprocess.CompletedProcess[str]:
    """Ask a command line for its help, and interrupt it as Ctrl-C does while it is loaded."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module, handler=handler)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("module", COMMAND_LINES)
def test_ctrl_c_ends_a_command_that_is_still_loaded_without_a_stack_trace(module: str) -> None:
    done = interrupted(module, "signal.default_int_handler")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_command_in_the_background_goes_on_where_ctrl_c_is_ignored() -> None:
    done = interrupted("worker", "signal.SIG_IGN")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


WITH_A_CHILD = """
import multiprocessing, time
from pathlib import Path
from model.loading import children_without_ctrl_c

child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
with children_without_ctrl_c():
    child.start()
print(*(Path(f"/proc/{pid}/status").read_text().partition("SigBlk:")[2].split()[0] for pid in ("self", child.pid)))
child.kill()
"""


def test_ctrl_c_does_not_reach_the_first_child_of_a_process_either() -> None:
    command = [sys.executable, "-c", WITH_A_CHILD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    own, child = (int(mask, 16) & 1 << signal.SIGINT - 1 for mask in done.stdout.split())
    assert child and not own
