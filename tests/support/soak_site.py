"""The site of a soak: every process and server on its own, each started again by a keeper whenever it dies."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from archive_line import ArchiveLine
from bundles import write_test_bundle
from clock_shift import ClockShift
from last_will import ends_with_us, unmounted_with_us
from orthanc import Orthanc
from power_cut import JOURNAL_VARIABLE
from services import free_port, postgres_programs, redis_program
from sites import DELIVERY, LISTEN, QUICK, SWEEP, TRIAGE, Site, wait_until
from soak_checker import Evidence
from sqlalchemy import create_engine, text

from benchmarks.process_tree import descendants
from worker.processes.up import answers
from worker.rows.migrate import upgrade
from worker.settings.config import Settings, load_settings

Launch = Callable[[str | None], "subprocess.Popen[bytes]"]
QUEUE = "routine"
START_SECONDS = 180.0
"""For a machine that has much else to do."""
DISK_BYTES = 6_000_000_000
LEASE_SECONDS = 5.0
PATCHES = Path(__file__).resolve().parent / "process_patches"
WORKER_PARTS = ("listener", "sweeper", "triage", "delivery")


@dataclass
class Part:
    """One process of the site; it lives again soon after it died, with a failpoint once when one is set."""

    name: str
    launch: Launch
    log: Path
    process: subprocess.Popen[bytes] | None = None
    failpoint: str | None = None
    down_until: float = 0.0
    """Monotonic clock; not started again before."""
    starts: int = 0
    killed: set[int] = field(default_factory=set)
    """Processes that a fault has killed; what died without being here died by itself."""

    def keep(self, over: threading.Event) -> None:
        """Start the process whenever it does not run, until `over`."""
        while not over.is_set():
            if (self.process is None or self.process.poll() is not None) and time.monotonic() >= self.down_until:
                wanted, self.failpoint = self.failpoint, None
                self.process = self.launch(wanted)
                self.starts += 1
            over.wait(0.1)

    @property
    def pids(self) -> list[int]:
        """The process and what it started, parents first."""
        return descendants(self.process.pid) if self.process is not None else []

    def kill(self, down_seconds: float = 0.0) -> str:
        """``kill -9`` the process and all it started; return the proof."""
        self.down_until = time.monotonic() + down_seconds
        process, pids = self.process, self.pids
        lived = process is not None and process.poll() is None
        self.killed.update(pids)
        self.signal(signal.SIGKILL, pids)
        if process is None or not lived:
            return ""
        process.wait(20)
        return f"pid {process.pid} and {len(pids) - 1} children ended with {process.returncode}"

    def signal(self, number: int, pids: list[int] | None = None) -> None:
        """Send a signal to the process and all it started."""
        for pid in self.pids if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_for_start(self, after: int, seconds: float = 60.0) -> None:
        """Wait until it has been started more than `after` times."""
        wait_until(lambda: self.starts > after, f"{self.name} was started again", seconds)


@dataclass
class SoakSite:
    """Listener, sweeper, two workers, broker, database and PACS on one folder."""

    folder: Path
    stack: str
    disk_bytes: int = DISK_BYTES
    parts: dict[str, Part] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the worker's processes, beside what their settings need."""
    own_disk: bool = False
    """Whether the data folder is a small disk of its own, which can be filled."""
    _keepers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.orthanc = Orthanc(self.folder, free_port())
        self.redis_port = free_port()
        self.line = ArchiveLine(self.orthanc.dicom_port)
        self.server_folder = Path(tempfile.mkdtemp(prefix="cxrpg"))
        self.clock = ClockShift(self.server_folder)
        sqlite = self.stack == "sqlite"
        socket_url = f"postgresql+psycopg://cxr@/postgres?host={self.server_folder}"
        destination = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.line.port}
        self.settings: Settings = load_settings(
            data_dir=self.data,
            database_url=f"sqlite:///{self.data / 'triage.db'}" if sqlite else socket_url,
            broker_url="filesystem://" if sqlite else f"redis://127.0.0.1:{self.redis_port}/0",
            listen_port=self.orthanc.worker_port,
            bundles={"default": write_test_bundle(self.folder / "bundle").folder},
            destinations=[destination],
            **QUICK | {"maximum_attempts": 10, "lease_seconds": LEASE_SECONDS},
        )

    @property
    def evidence(self) -> Evidence:
        """What the checker reads."""
        pacs = f"http://127.0.0.1:{self.orthanc.http_port}"
        database = self.settings.effective_database_url
        return Evidence(self.folder / "ledger.jsonl", database, self.data, pacs, LEASE_SECONDS)

    def start(self) -> None:
        """Start the servers, migrate, start the processes and wait until the listener answers."""
        self._mount()
        self.clock.build()
        if self.stack == "postgresql":
            self._make_cluster()
            self._add("database", self._start_postgres)
            self._add("broker", self._start_redis)
            engine = create_engine(self.settings.database_url)
            wait_until(lambda: _answers(lambda: engine.connect().close()), "PostgreSQL answers")
            engine.dispose()
        upgrade(self.settings.effective_database_url)
        self._add("pacs", self._start_pacs)
        for name, command in (("listener", LISTEN), ("sweeper", SWEEP), ("triage", TRIAGE), ("delivery", DELIVERY)):
            log = self.folder / f"{name}.log"
            process_site = Site(self.settings, log, environment=self.process_environment)
            self._add(name, lambda failpoint, c=command, s=process_site: s.start(c, failpoint))
        wait_until(lambda: answers(self.settings), "the listener answers", START_SECONDS)
        wait_until(self.pacs_answers, "the PACS answers")

    def stop(self) -> None:
        """End everything and give the disk back."""
        self.over.set()
        for keeper in self._keepers:
            keeper.join(30)
        for part in self.parts.values():
            part.signal(signal.SIGCONT)
            part.kill()
        self.line.close()
        shutil.rmtree(self.server_folder, ignore_errors=True)
        if self.own_disk:
            subprocess.run(["umount", "--lazy", str(self.data)], check=False)

    @property
    def process_environment(self) -> dict[str, str]:
        """Of the worker's processes: a clock that can be set wrong, and a journal of what they fsync."""
        path = f"{PATCHES}{os.pathsep}{PATCHES.parents[2]}"
        noted = {"PYTHONPATH": path, JOURNAL_VARIABLE: str(self.fsync_journal)}
        return self.clock.environment | noted | dict(self.environment)

    @property
    def fsync_journal(self) -> Path:
        """What the worker's processes have brought to the disk."""
        return self.folder / "fsyncs.jsonl"

    def pacs_answers(self) -> bool:
        """Return whether the PACS answers over HTTP within a second."""
        return _answers(lambda: httpx.get(f"{self.evidence.pacs_url}/system", timeout=1.0).raise_for_status())

    def execute(self, statement: str) -> list[Any]:
        """Run one statement of the database's own language, outside any transaction."""
        engine = create_engine(self.settings.effective_database_url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.execute(text(statement))
                return list(result.all()) if result.returns_rows else []
        finally:
            engine.dispose()

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Stop a part's processes with SIGSTOP while the block runs."""
        pids = self.parts[name].pids
        self.parts[name].signal(signal.SIGSTOP, pids)
        try:
            yield
        finally:
            self.parts[name].signal(signal.SIGCONT, pids)

    def _add(self, name: str, launch: Launch) -> None:
        part = self.parts[name] = Part(name, launch, self.folder / f"{name}.log")
        keeper = threading.Thread(target=part.keep, args=(self.over,), name=f"keeper-{name}", daemon=True)
        keeper.start()
        self._keepers.append(keeper)
        part.wait_for_start(0)

    def _mount(self) -> None:
        """Give the data folder a small disk of its own where this machine allows it (root)."""
        self.data.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.disk_bytes}", "tmpfs", str(self.data)]
        self.own_disk = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
        if self.own_disk:
            unmounted_with_us(self.data)

    def _popen(self, name: str, command: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, **options)
        ends_with_us(process.pid)
        return process

    def _as_postgres(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"cwd": "/"}
        user = pwd.getpwnam("postgres")
        os.chown(self.server_folder, user.pw_uid, user.pw_gid)
        return {"cwd": "/", "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _make_cluster(self) -> None:
        programs, data = postgres_programs(), self.server_folder / "data"
        assert programs is not None, "the soak needs a PostgreSQL on this machine"
        command = [programs / "initdb", "-D", data, "-U", "cxr", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **self._as_postgres())

    def _start_postgres(self, _failpoint: str | None) -> subprocess.Popen[bytes]:
        programs, data = postgres_programs(), self.server_folder / "data"
        assert programs is not None
        command = [programs / "postgres", "-D", data, "-k", self.server_folder]
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"]
        environment = os.environ | self.clock.environment
        return self._popen("database", [*command, *options], env=environment, **self._as_postgres())

    def _start_redis(self, _failpoint: str | None) -> subprocess.Popen[bytes]:
        options = ["--port", self.redis_port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        return self._popen("broker", [redis_program(), *options, "--dir", self.folder])

    def _start_pacs(self, failpoint: str | None) -> subprocess.Popen[bytes]:
        """Start Orthanc; the "failpoint" is the AE title that it answers to instead of its own."""
        configuration = self.orthanc._configuration() | {"LuaScripts": [], "DicomAet": failpoint or "ORTHANC"}
        self.folder.joinpath("orthanc.json").write_text(json.dumps(configuration))
        return self._popen("pacs", [shutil.which("Orthanc") or "/usr/sbin/Orthanc", self.folder / "orthanc.json"])


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Exception:  # noqa: BLE001 (whatever a dead server makes its client raise)
        return False
    return True
