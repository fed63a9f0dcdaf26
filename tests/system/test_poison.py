"""Images that end, stop or fill the process that decodes them: given up after some attempts, holding up nobody else.

The decoder's bugs are planted from outside (`tests/support/hostile/planted`); everything else is the real thing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from httpx import Client
from listener_watch import resident_bytes
from pages import served
from pydicom.dataset import Dataset
from sites import LISTEN, SWEEP, TRIAGE, Site, wait_until
from sqlalchemy import select

from benchmarks.process_tree import descendants
from worker.processes.up import settings_environment
from worker.rows.site_tables import Event
from worker.rows.states import RunState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
PLANTED = ROOT / "tests" / "support" / "hostile" / "planted"
SOFT_SECONDS, HARD_SECONDS = 4, 6
MEMORY_LIMIT_BYTES = 1500 << 20
"""Of one process; whoever grows beyond it is killed, as the kernel does where memory is limited."""
SAID = {
    "crash": "signal 11 (SIGSEGV)",
    "eat": "signal 9 (SIGKILL)",
    "loop": "SoftTimeLimitExceeded",
    "native": "Hard time limit",
    "stuck": "Timeout (0:00:10)!",
}
"""What the image does to its process (see `tests/support/hostile/planted`), and what the log must say of it."""
LONGEST_WAIT_SECONDS = 40.0
"""For a healthy study beside it; without other work on the machine it is a few seconds."""


@pytest.fixture
def site(site_with: Callable[..., Site]) -> Site:
    return site_with(concurrency=2)


@dataclass
class Beside:
    """Healthy studies that arrive one after another while something else goes on."""

    site: Site
    folder: Path
    waited_seconds: list[float] = field(default_factory=list)

    def send_one(self) -> None:
        """Send a study and note how long it took until it was triaged."""
        source = chest_radiograph()
        path = write_dicom(source, self.folder / f"{source.SOPInstanceUID}.dcm")
        began = time.monotonic()
        assert self.site.send(path)[0].status == 0x0000
        self.site.wait_for_state(str(source.StudyInstanceUID), "triaged")
        self.waited_seconds.append(time.monotonic() - began)


@contextmanager
def memory_limited(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Kill whatever this process started and that grows too large; gives the ids of what was killed."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for pid in descendants(process.pid):
                if resident_bytes(pid) > MEMORY_LIMIT_BYTES:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def poisonous(deed: str) -> Dataset:
    pixels = drawn_chest()
    pixels[0, :8] = np.frombuffer(b"PLANTED:" + deed.encode().ljust(8, b"\0"), "<u2")
    return chest_radiograph(pixels)


def started_poisoned(site: Site) -> subprocess.Popen[bytes]:
    variables = {
        "PYTHONPATH": os.pathsep.join((str(PLANTED), str(ROOT))),
        "PLANTED_LIMITS": f"{SOFT_SECONDS},{HARD_SECONDS}" if site.settings.lease_seconds < 10 else "60,90",
    }
    return site.start(TRIAGE, variables=variables)


def events(site: Site, uid: str) -> list[str]:
    with site.session() as session:
        found = session.scalars(select(Event).where(Event.study_instance_uid == uid).order_by(Event.id)).all()
        return [event.kind for event in found if event.kind in ("claimed", "failed", "finished")]


@pytest.mark.parametrize("deed", SAID)
def test_an_image_that_ends_or_stops_its_process_is_given_up_and_holds_nobody_up(
    site: Site, tmp_path: Path, deed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if deed == "stuck":  # nobody renews a lease there: one that outlasts the watchdog shows that this is what ends it
        site.settings = site.settings.model_copy(update={"lease_seconds": 10.0, "lease_renewal_seconds": 2.0})
    site.start_listening(LISTEN)
    site.start(SWEEP)
    worker = started_poisoned(site)
    beside = Beside(site, tmp_path)
    beside.send_one()  # waits for the worker to start, too
    beside.send_one()
    poison = poisonous(deed)
    uid = str(poison.StudyInstanceUID)
    with memory_limited(worker) as killed:
        assert site.send(write_dicom(poison, tmp_path / "poison.dcm"))[0].status == 0x0000
        wait_until(lambda: [run.attempts for run in site.runs(uid)] == [1], "the first attempt")
        began = time.monotonic()
        while site.runs(uid)[0].state != RunState.FAILED:
            beside.send_one()
            assert time.monotonic() - began < 300, site.log()[-4000:]
    alone, *others = beside.waited_seconds[1:]
    with capsys.disabled():
        beside_seconds = ", ".join(f"{seconds:.1f}" for seconds in others)
        print(f"\n{deed}: given up after {time.monotonic() - began:.0f} s; a healthy study took {alone:.1f} s alone,")
        print(f"{beside_seconds} s beside")
    assert worker.poll() is None
    assert SAID[deed] in site.log()
    assert bool(killed) == (deed == "eat")
    assert len(others) >= 3
    assert max(others) < LONGEST_WAIT_SECONDS
    study = site.wait_for_state(uid, "failed")
    assert study.reason_code == "poison"
    assert events(site, uid) == ["claimed"] * site.settings.maximum_attempts + ["failed"]
    require_visible(site, uid, study.reason or "")
    require_requeue_works(site, worker, uid)


def require_visible(site: Site, uid: str, reason: str) -> None:
    """The study and why it failed stand on the pages, which do not end the same way themselves."""
    with served(site.settings) as url, Client(base_url=url, timeout=30) as browser:
        assert "The analysis was started as often as allowed and never finished. (3 starts" in reason
        for path in ("/", f"/studies/{uid}", "/operations/requeue?reason_code=poison"):
            assert "as often as allowed and never finished" in browser.get(path).text, path


def require_requeue_works(site: Site, worker: subprocess.Popen[bytes], uid: str) -> None:
    """With a worker whose decoder was mended, a person has the study analysed."""
    site.kill(worker)
    site.start(TRIAGE)
    command = [sys.executable, "-m", "worker", "requeue", uid]
    variables = settings_environment(site.settings) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, cwd=site.log_path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    study = site.wait_for_state(uid, "triaged")
    assert study.reason_code is None
