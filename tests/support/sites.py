"""A whole site for tests: the real processes of the worker on one data folder, and a modality that sends to them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factories import chest_radiograph, write_dicom
from forks import Order, Started, forking_is_enough, run_command, start_command
from last_will import ends_with_us
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.process_tree import descendants
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import SendOutcome, send
from worker.processes.up import answers
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.delivery_tables import Delivery
from worker.rows.run_tables import Result, Run
from worker.rows.site_tables import Event
from worker.rows.states import RunState
from worker.rows.study_tables import Study
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

PATIENCE_SECONDS = 60.0
QUICK: Mapping[str, Any] = {
    "quiet_time_seconds": 0.5,
    "lease_seconds": 3.0,
    "lease_renewal_seconds": 1.0,
    "sweep_interval_seconds": 0.2,
    "ring_again_seconds": 1.0,
    "delivery_first_retry_seconds": 0.2,
    "delivery_longest_retry_seconds": 1.0,
    "minimum_free_bytes": 0,
    "accept_unknown_sources": True,
    "concurrency": 1,
}
"""Settings with which lost messages and dead workers are noticed in seconds."""
LISTEN, SWEEP = ("listen",), ("sweep",)
TRIAGE, DELIVERY = ("work", "--queues", "stat,routine"), ("work", "--queues", "delivery")
UP = ("up", "--no-worklist")


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds.

    Raises
    ------
    TimeoutError
        It did not, in that many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Return whether the process is there, and not dead but for its parent to notice (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Site:
    """One data folder and the processes that work on it."""

    settings: Settings
    log_path: Path
    processes: list[Started] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the processes, beside what their settings need."""
    forked: bool = True
    """Whether processes may be forks of one that has imported everything (`forks`); False starts each from nothing."""

    @property
    def peer(self) -> Peer:
        """Where the listener is."""
        return Peer(self.settings.ae_title, "127.0.0.1", self.settings.listen_port)

    def start(
        self,
        command: Sequence[str],
        failpoint: str | None = None,
        module: str = "worker",
        variables: Mapping[str, str] | None = None,
    ) -> Started:
        """Start ``python -m worker COMMAND`` (or of another module) with this site's settings."""
        environment = self._environment | dict(variables or {})
        environment |= {"CXR_FAILPOINT": failpoint} if failpoint else {}
        order = Order(module, list(command), environment, str(self.log_path.parent), supervisor="up" in command)
        own = dict(self.environment) | dict(variables or {})
        process = start_command(order, self.log_path, forked=self.forked and forking_is_enough(own))
        ends_with_us(process.pid)
        self.processes.append(process)
        return process

    @property
    def _environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(Path(__file__).parents[2])} | dict(self.environment)
        return settings_environment(self.settings) | own

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the worker to its end and return what it wrote."""
        return run_command("worker", command, self._environment, self.log_path.parent)

    def start_listening(self, command: Sequence[str] = UP, failpoint: str | None = None) -> Started:
        """Start a command that listens and wait until it answers."""
        process = self.start(command, failpoint)
        wait_until(lambda: answers(self.settings) or process.poll() is not None, "the listener answers")
        if process.poll() is not None:
            raise RuntimeError(f"{command} ended with {process.returncode}:\n{self.log()}")
        return process

    def send(self, *paths: Path) -> list[SendOutcome]:
        """Send files as a modality does, in one association."""
        return send(self.peer, list(paths), "MODALITY")

    def kill(self, process: Started) -> None:
        """``kill -9`` the process and all it started, at once; return when all have let go of what they held."""
        family = descendants(process.pid)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)
        wait_until(lambda: not any(map(runs, family)), "the killed processes are gone", 10)

    def stop(self) -> None:
        """End what still runs, at once: Celery takes its time over a kind word."""
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)

    def log(self) -> str:
        """Return what the processes wrote."""
        return self.log_path.read_text(errors="replace")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a reading session on the site's database."""
        engine = open_engine(self.settings.effective_database_url)
        sessions: SessionFactory = session_factory(engine, read_only=True)
        try:
            with sessions() as session:
                yield session
        finally:
            engine.dispose()

    def study(self, study_instance_uid: str) -> Study | None:
        """Return the study's row as it is now."""
        with self.session() as session:
            return session.get(Study, study_instance_uid)

    def runs(self, study_instance_uid: str) -> list[Run]:
        """Return the study's runs, oldest first."""
        with self.session() as session:
            return list(session.scalars(select(Run).where(Run.study_instance_uid == study_instance_uid)))

    def current_results(self, study_instance_uid: str) -> list[Result]:
        """Return the results of the study's current run."""
        with self.session() as session:
            study = session.get_one(Study, study_instance_uid)
            return list(session.scalars(select(Result).where(Result.run_id == study.current_run_id)))

    def delivery_states(self, study_instance_uid: str) -> set[str]:
        """Return the states of the deliveries of the study's current run."""
        with self.session() as session:
            study = session.get_one(Study, study_instance_uid)
            query = select(Delivery.state).join(Result).where(Result.run_id == study.current_run_id)
            return set(session.scalars(query))

    def wait_for_state(self, study_instance_uid: str, *states: str) -> Study:
        """Wait until the study is in one of the states and no run of it is under way; return its row."""

        def arrived() -> bool:
            study = self.study(study_instance_uid)
            active = {RunState.QUEUED, RunState.RUNNING}
            return (
                study is not None
                and study.state in states
                and study.due_at is None
                and not any(run.state in active for run in self.runs(study_instance_uid))
            )

        self._wait(arrived, f"study {study_instance_uid} is {' or '.join(states)}")
        study = self.study(study_instance_uid)
        assert study is not None
        return study

    def wait_for_delivery(self, study_instance_uid: str, *states: str) -> None:
        """Wait until every delivery of the current run is in one of the states."""

        def settled() -> bool:
            found = self.delivery_states(study_instance_uid)
            return bool(found) and found <= set(states)

        self._wait(settled, f"deliveries of {study_instance_uid} are {' or '.join(states)}")

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        try:
            wait_until(condition, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-6000:]}") from None


def send_study(site: Site, folder: Path) -> str:
    """Send a radiograph of its own study to the worker; return the Study Instance UID."""
    dataset = chest_radiograph()
    (outcome,) = site.send(write_dicom(dataset, folder / f"{dataset.SOPInstanceUID}.dcm"))
    assert outcome.accepted, outcome
    return str(dataset.StudyInstanceUID)


def event_kinds(site: Site, study_instance_uid: str) -> list[str]:
    """Return the kinds of all events of a study."""
    with site.session() as session:
        return list(session.scalars(select(Event.kind).where(Event.study_instance_uid == study_instance_uid)))
