"""A real listener under attack: what it costs it, and whether honest senders still get in meanwhile (Linux)."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from factories import chest_radiograph, write_dicom
from orthanc import need
from sites import Site
from sqlalchemy import select

from worker.rows.study_tables import Instance

CLEAN_SECONDS = 20.0
"""An honest sender that waits longer counts as kept out, on a machine that does much else."""


@dataclass
class Honest:
    """dcmtk's ``storescu``, again and again beside an attack."""

    site: Site
    image: Path
    pause_seconds: float = 1.0
    durations_seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        """Send the image once."""
        port = str(self.site.settings.listen_port)
        command = [need("storescu", "dcmtk"), "-aec", "CXRAI", "-aet", "HONEST", "127.0.0.1", port, str(self.image)]
        began = time.monotonic()
        try:
            sent = subprocess.run(command, capture_output=True, text=True, timeout=CLEAN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            self.failures.append(f"no end within {CLEAN_SECONDS:g} s")
            return
        self.durations_seconds.append(time.monotonic() - began)
        if sent.returncode:
            self.failures.append(sent.stderr[-300:])

    def run(self) -> None:
        """Send until told to stop."""
        while True:
            self.send()
            if self._over.wait(self.pause_seconds):
                return

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Send while the block runs, and once behind it."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        self.send()


def honest(site: Site, folder: Path) -> Honest:
    """Return an honest sender with an image of its own."""
    return Honest(site, write_dicom(chest_radiograph(), folder / "honest.dcm"))


@dataclass(frozen=True)
class Cost:
    """What a process holds."""

    resident_bytes: int
    threads: int
    descriptors: int


def cost_of(process: subprocess.Popen[bytes]) -> Cost:
    """Read what a running process holds now."""
    descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    return Cost(resident_bytes(process.pid), int(_status(process.pid)["Threads"]), descriptors)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has; 0 where it is gone."""
    return int(_status(pid).get("VmRSS", "0 kB").split()[0]) << 10


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@contextmanager
def watched_memory(process: subprocess.Popen[bytes], pause_seconds: float = 60.0) -> Iterator[list[int]]:
    """Note the process's memory in MiB again and again while the block runs."""
    noted: list[int] = []
    over = threading.Event()

    def note() -> None:
        while not over.wait(pause_seconds):
            noted.append(resident_bytes(process.pid) >> 20)

    thread = threading.Thread(target=note)
    thread.start()
    try:
        yield noted
    finally:
        over.set()
        thread.join()


def calm_cost(process: subprocess.Popen[bytes], like: Cost, seconds: float = 30.0) -> Cost:
    """Return what the process holds once it is as calm as before, or after so long."""
    deadline = time.monotonic() + seconds
    while (cost := cost_of(process)) and time.monotonic() < deadline:
        if cost.threads <= like.threads + 2 and cost.descriptors <= like.descriptors + 4:
            break
        time.sleep(0.2)
    return cost


def stray_files(site: Site) -> list[str]:
    """Return files of the instance store without a row, rows without a file, and what never got its final name."""
    folder = site.settings.instances_dir
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with site.session() as session:
        known = set(session.scalars(select(Instance.path)))
    refused = {name for name in files if name.startswith("quarantine/")}
    return sorted((files - refused) ^ known)
