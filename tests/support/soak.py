"""A soak: studies arrive without pause while everything that can break is broken by a seeded schedule.

    python tests/support/soak.py --seed 1 --seconds 1800 --stack postgresql --folder /tmp/soak

Real listener, workers, sweeper, broker, database and PACS (Orthanc). Afterwards everything may come to rest, and
``tests/support/soak_checker.py`` judges. Exit status 0 when every guarantee holds. ``report.json`` in the folder has
the numbers, ``faults.jsonl`` every fault with the proof that it fired.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for `benchmarks`; a script's own folder stands there alone

import psycopg
from soak_checker import Fault, check, orphans, unsettled
from soak_faults import LANES, RARE, Scene, faults_of
from soak_load import Modality
from soak_site import DISK_BYTES, SoakSite

from dicom_io.foundation.peer import Peer
from dicom_io.storing.instance_store import InstanceStore
from worker.processes.up import answers
from worker.rows.database import open_engine, session_factory
from worker.rows.orphans import Orphans
from worker.rows.run_tables import Result
from worker.rows.study_tables import Instance
from worker.settings.config import Settings

RARE_EVERY = 3
DONE_BETWEEN_FAULTS = {"arrival": 20, "runs": 4, "delivery": 6}
"""How many objects arrive, runs end and results are sent before a lane breaks the next thing."""
COUNTS = {
    "runs": "SELECT count(*) FROM run WHERE state NOT IN ('queued', 'running')",
    "delivery": "SELECT count(*) FROM delivery WHERE state = 'sent'",
}
LONGEST_WAIT_SECONDS = {"arrival": math.inf, "runs": 30.0, "delivery": 30.0}
AGE_SECONDS = 7200.0
"""The sweeper removes orphans of this age (more than an hour); the soak makes its files look that old."""


@dataclass
class Soak:
    """One soak on one folder."""

    folder: Path
    stack: str
    seed: int
    seconds: float
    instances_per_second: float = 2.0
    longest_gap_seconds: float = 5.0
    kinds: frozenset[str] | None = None
    """The faults to choose from; None: all."""
    enough_faults: int | None = None
    """The soak ends as soon as so many have fired; None: when its time is over."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the worker's processes, for tests that sabotage them."""
    rest_seconds: float = 300.0
    """How long nothing may move before everything has come to rest."""
    disk_bytes: int = DISK_BYTES
    fired: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.site = SoakSite(self.folder, self.stack, self.disk_bytes, environment=self.environment)
        peer = self.site.orthanc
        self.modality = Modality(_peer(peer.worker_port), self.folder, self.seed, self.instances_per_second)
        self._end = 0.0

    def run(self) -> list[Fault]:
        """Start, send, break, come to rest, judge; the site still runs afterwards."""
        self.site.start()
        self._end = time.monotonic() + self.seconds
        sending = threading.Thread(target=self.modality.run, name="modality", daemon=True)
        lanes = [threading.Thread(target=self._suffer, args=(lane,), name=lane, daemon=True) for lane in LANES]
        for thread in (sending, *lanes):
            thread.start()
        for thread in lanes:
            thread.join()
        self.modality.over.set()
        sending.join(self.rest_seconds)
        self.modality.hopeless.set()
        sending.join()
        self._come_to_rest()
        return self.judge()

    def judge(self) -> list[Fault]:
        """Ask the checker and write the report."""
        faults, seen = check(self.site.evidence)
        kinds = Counter(entry["kind"] for entry in self.fired if entry["proof"])
        report = {
            "stack": self.stack,
            "seed": self.seed,
            "seconds": self.seconds,
            "seen": dict(seen),
            "faults_fired": sum(kinds.values()),
            "kinds": dict(sorted(kinds.items())),
            "not_fired": [entry for entry in self.fired if not entry["proof"]],
            "broken": [asdict(fault) for fault in faults],
        }
        report["summary"] = summary(report)
        (self.folder / "report.json").write_text(json.dumps(report, indent=1))
        return faults

    def _suffer(self, lane: str) -> None:
        draw = random.Random(f"{self.seed}/{lane}")
        scene = Scene(self.site, self.modality, draw, self._end)
        faults = faults_of(lane, self.site)
        chosen = sorted(kind for kind in faults if self.kinds is None or kind in self.kinds)
        for kind in _rounds(chosen, draw):
            self._wait_for(lane)
            if lane in DONE_BETWEEN_FAULTS:
                self._wait_for_work(lane)
            time.sleep(draw.uniform(0.5, self.longest_gap_seconds))
            if time.monotonic() >= self._end:
                return
            started = time.monotonic()
            try:
                proof = faults[kind](scene)
            except Exception as error:  # noqa: BLE001 (another lane may have taken away what this one wanted to break)
                proof, problem = "", f"{type(error).__name__}: {error}"[:300]
            else:
                problem = ""
            self._note(kind, lane, proof, problem, time.monotonic() - started)

    def _wait_for(self, lane: str) -> None:
        """Let what the lane broke come back before it breaks the next thing; nothing arrives otherwise."""
        back = {"arrival": lambda: answers(self.site.settings), "delivery": self.site.pacs_answers}.get(lane)
        while back is not None and not back() and time.monotonic() < self._end:
            time.sleep(0.5)

    def _wait_for_work(self, lane: str) -> None:
        """Let some work be done between two faults; what is killed while it starts does none."""
        before, until = self._done(lane), min(time.monotonic() + LONGEST_WAIT_SECONDS[lane], self._end)
        while time.monotonic() < until:
            now = self._done(lane)
            before = now if before is None else before
            if now is not None and before is not None and now >= before + DONE_BETWEEN_FAULTS[lane]:
                return
            time.sleep(0.2)

    def _done(self, lane: str) -> int | None:
        """Return how much of the lane's work is done; None while another lane has taken the database away."""
        if lane == "arrival":
            return self.modality.accepted
        try:
            return int(self.site.evidence.rows(COUNTS[lane])[0][0])
        except (sqlite3.Error, psycopg.Error):
            return None

    def _note(self, kind: str, lane: str, proof: str, problem: str, seconds: float) -> None:
        entry = {"at": time.time(), "kind": kind, "lane": lane, "proof": proof, "seconds": round(seconds, 2)}
        if problem:
            entry["problem"] = problem
        with self._lock, (self.folder / "faults.jsonl").open("a") as file:
            self.fired.append(entry)
            if sum(bool(one["proof"]) for one in self.fired) == self.enough_faults:
                self._end = time.monotonic()
            file.write(json.dumps(entry) + "\n")

    def _come_to_rest(self) -> None:
        """Wait until nothing is under way, then let the sweeper's cleaning see every file as an old one."""
        waiting, deadline = unsettled(self.site.evidence), time.monotonic() + self.rest_seconds
        while waiting and time.monotonic() < deadline:
            time.sleep(1)
            earlier, waiting = waiting, unsettled(self.site.evidence)
            if waiting != earlier:  # it goes on, however slowly
                deadline = time.monotonic() + self.rest_seconds
        old = time.time() - AGE_SECONDS
        for root in (self.site.settings.instances_dir, self.site.settings.results_dir):
            for path in root.rglob("*"):
                if path.is_file():
                    os.utime(path, (old, old))
        sweeper = self.site.parts["sweeper"]
        before = sweeper.starts
        sweeper.kill()
        sweeper.wait_for_start(before)
        _clean_twice(self.site.settings)
        deadline = time.monotonic() + self.rest_seconds / 3
        while orphans(self.site.evidence) and time.monotonic() < deadline:
            time.sleep(1)


def _clean_twice(settings: Settings) -> None:
    """Remove orphans as the sweeper does, without the hour that lies between two of its cleanings."""
    engine = open_engine(settings.effective_database_url)
    try:
        for root, rows in ((settings.instances_dir, Instance), (settings.results_dir, Result)):
            orphans = Orphans(InstanceStore(root), session_factory(engine), rows)
            orphans.remove()
            orphans.remove()
    finally:
        engine.dispose()


def _rounds(kinds: list[str], draw: random.Random) -> Iterator[str]:
    """Yield every kind once in random order, and again, for ever; the rare ones not in every round."""
    often = [kind for kind in kinds if kind not in RARE]
    for number in itertools.count() if kinds else ():
        wanted = kinds if number % RARE_EVERY == 0 else often
        yield from draw.sample(wanted, len(wanted))


def summary(report: Mapping[str, Any]) -> str:
    """Return a report in one line, as docs/reliability.md says what was measured."""
    broken = Counter(fault["kind"] for fault in report["broken"])
    seen, kinds = report["seen"], report["kinds"]
    told = {
        "lost": broken.pop("lost_instance", 0) + broken.pop("lost_result", 0),
        "doubled": broken.pop("doubled_result", 0),
        "wrong patient": broken.pop("wrong_patient", 0),
        "visible failures unexplained": broken.pop("unexplained_failure", 0),
    }
    poisoned = seen.get("poisoned", 0)
    explained = f"{poisoned - broken['poison_unseen']} of {poisoned} damaged studies failed visibly"
    others = ", ".join(f"{number} {kind}" for kind, number in sorted(broken.items())) or "nothing else"
    return (
        f"{report['stack']}, seed {report['seed']}, {report['seconds']:g} s:"
        f" {seen.get('instances', 0)} objects in {seen.get('studies', 0)} studies,"
        f" {report['faults_fired']} faults of {len(kinds)} kinds;"
        f" {', '.join(f'{number} {what}' for what, number in told.items())}; {explained}; {others}"
    )


def _peer(port: int) -> Peer:
    return Peer("CXRAI", "127.0.0.1", port)


def main() -> int:
    parser = argparse.ArgumentParser(description="Break everything while studies arrive, then check every guarantee.")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule and the studies; default: random")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long studies arrive and things break")
    parser.add_argument("--stack", choices=("sqlite", "postgresql"), default="sqlite", help="with files, or with Redis")
    parser.add_argument("--rate", type=float, default=2.0, help="instances a second")
    parser.add_argument("--gap", type=float, default=5.0, help="longest pause between two faults of a lane, in seconds")
    parser.add_argument("--folder", type=Path, help="an empty folder for everything; default: a temporary one")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="soak"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(folder, given.stack, seed, given.seconds, given.rate, given.gap)
    print(f"seed {seed}, {given.seconds:g} s, {given.stack}, in {folder}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        faults = soak.run()
    finally:
        soak.site.stop()
    report = (folder / "report.json").read_text()
    print(report, json.loads(report)["summary"], sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
