"""From the last C-STORE response to results that the archive accepted: ``python -m benchmarks.end_to_end``.

Starts the whole worker (``python -m worker up``, SQLite, no page) with dcmtk as its archive; when an object arrived is
when its file was last written there. One real chest radiograph, JPEG lossless, is sent again and again under fresh
identities. One finding of it is above its threshold, so that the worker makes a report and one picture, and the plain
script one picture; with the thresholds as they are three findings are, and the worker makes three. Measured:

idle       one study at a time: seconds from the end of its association to its last result in the archive
sustained  three times as many at once: studies per second until all results have arrived; once more in bfloat16,
           where the processor has it, and once more with three pictures
plain      the same with a script that does all in the handler of C-STORE, in its better layout of two: one sender and
           two threads of arithmetic, or two senders and one thread for each (`benchmarks.plain_triage`)
loaded     studies sent at 60 % of the sustained rate: the same seconds as idle
recovery   the triage processes are killed under load: seconds until a result arrives again

One clock, the machine's, serves both ends. What an archive and a sender on the same machine take is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from sqlalchemy import create_engine, text

from benchmarks.bars import at_least, at_most
from benchmarks.codings import write_codings
from benchmarks.receivers import PDU_BYTES, ROOT, free_port, needed
from benchmarks.windows import descendants, processors_taken_by_others
from dicom_io.data_sets.stamp import stamp_copy
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo, send
from model.compiled_network import processor_computes_bf16
from model.precision import Precision
from worker.foundation.service_process import Service
from worker.settings.config import STARTER_BUNDLE

CALLING_AE_TITLE = "MODALITY"
BARS = {"idle_p95_seconds": (2.0, 0.7), "loaded_p95_seconds": (5.0, 2.0)}
"""Must and aim (design/performance.md)."""
SUSTAINED = (4.0, 6.0)
"""Ours / plain, studies per second: must and aim."""
PLAIN_LAYOUTS = ((1, 2), (2, 1))
"""Senders, and threads of arithmetic for each."""
ONE_FINDING = {"Consolidation": 0.9, "Nodule": 0.9}
"""Thresholds under which the radiograph has one finding, Mass; their own are below a twentieth."""
IN_A_ROW = 3
"""Times as many studies as elsewhere, so that beginning and end of the row count for little: at first there is nothing
to send, at last nothing to analyse. The plain script does both at once, and has as many as elsewhere."""
LOAD = 0.6
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 600.0
_UNSETTLED = text(
    "SELECT count(*) FROM study s WHERE s.current_run_id IS NULL OR s.state <> 'triaged' OR EXISTS ("
    "SELECT 1 FROM result r LEFT JOIN delivery d ON d.result_id = r.id "
    "WHERE r.run_id = s.current_run_id AND (d.id IS NULL OR d.state <> 'sent'))"
)


@dataclass
class Archive:
    """dcmtk's storescp, which costs the machine little; when an object arrived stands on its file."""

    folder: Path
    port: int = field(default_factory=free_port)
    _studies: dict[Path, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen while the block runs."""
        self.folder.mkdir(exist_ok=True)
        command = [needed("storescp"), "+B", "--fork", "-pdu", str(PDU_BYTES), "-aet", "ARCHIVE"]
        command += ["-od", str(self.folder), str(self.port)]
        environment = os.environ | {"TCP_NODELAY": "1"}  # else every response waits for 40 ms
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            for pid in reversed(descendants(process.pid)):
                os.kill(pid, signal.SIGKILL)
            process.wait()

    @property
    def latest(self) -> float:
        """Return when the last object arrived, seconds of the machine's clock; 0 if none has."""
        return max((path.stat().st_mtime for path in self.folder.iterdir()), default=0.0)

    def arrivals(self) -> dict[str, float]:
        """Return when the last object of each study arrived, by Study Instance UID."""
        found: dict[str, float] = {}
        for path in self.folder.iterdir():
            if path not in self._studies:
                self._studies[path] = str(dcmread(path, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
            uid = self._studies[path]
            found[uid] = max(found.get(uid, 0.0), path.stat().st_mtime)
        return found


class Hospital:
    """A running worker, the archive behind it, and a modality before it."""

    def __init__(
        self, folder: Path, precision: Precision = "fp32", thresholds: Mapping[str, float] = ONE_FINDING
    ) -> None:
        self.folder, self.precision, self.thresholds = folder, precision, thresholds
        self.archive = Archive(folder / "archive")
        self.port = free_port()
        self.source = write_codings(folder)["JPEG Lossless"]
        self.sent: dict[str, float] = {}
        """When the association of each study ended, by Study Instance UID."""
        self._service = Service("worker", ("worker", "up", "--no-worklist"))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run everything while the block does."""
        with self.archive.running(), self._worker_running():
            yield

    @contextmanager
    def _worker_running(self) -> Iterator[None]:
        destination = {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": self.archive.port}
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "CXR_DATA_DIR": str(self.folder / "data"),
            "CXR_LISTEN_PORT": str(self.port),
            "CXR_ACCEPT_UNKNOWN_SOURCES": "true",
            "CXR_ALLOW_DEMONSTRATION_BUNDLE": "true",
            "CXR_MINIMUM_FREE_BYTES": "0",
            "CXR_BUNDLES": json.dumps({"default": str(STARTER_BUNDLE)}),  # it passed its trial of bfloat16
            "CXR_PRECISION": self.precision,
            "CXR_THRESHOLDS": json.dumps(self.thresholds),
            "CXR_DESTINATIONS": json.dumps([destination]),
        }
        migration = Service("migration", ("worker", "migrate"))
        migration.start(environment)
        assert migration.process is not None
        if migration.process.wait(PATIENCE_SECONDS):
            raise RuntimeError("the database could not be made; its message stands above")
        self._service.start(environment)
        try:
            wait_until(lambda: not echo(self.peer, CALLING_AE_TITLE), "the listener answers")
            yield
        finally:
            self._service.ask_to_stop()
            self._service.wait_until_stopped()

    @property
    def peer(self) -> Peer:
        """Return where the worker listens."""
        return Peer("CXRAI", "127.0.0.1", self.port)

    def prepare(self, count: int) -> list[tuple[str, Path]]:
        """Write studies of one image under fresh identities."""
        made = []
        for number in range(count):
            path = self.folder / f"{number}.dcm"
            made.append((str(stamp_copy(self.source, path, study_datetime=datetime.now(UTC)).StudyInstanceUID), path))
        return made

    def send(self, study_instance_uid: str, path: Path) -> None:
        """Send one study over one association."""
        (outcome,) = send(self.peer, [path], CALLING_AE_TITLE)
        if outcome.status != 0x0000:
            raise RuntimeError(f"an image was not taken: {outcome}")
        self.sent[study_instance_uid] = time.time()

    def wait_until_settled(self) -> None:
        """Wait until every study has its results in the archive."""
        engine = create_engine(f"sqlite:///{self.folder / 'data' / 'triage.db'}")

        def settled() -> bool:
            with engine.connect() as connection:
                return connection.execute(_UNSETTLED).scalar_one() == 0

        try:
            wait_until(settled, "all results are in the archive")
        finally:
            engine.dispose()

    def seconds_of(self, studies: list[tuple[str, Path]]) -> list[float]:
        """Return the seconds from the end of the association to the last result, sorted."""
        arrivals = self.archive.arrivals()
        return sorted(arrivals[uid] - self.sent[uid] for uid, _ in studies)

    def kill_triage(self) -> None:
        """Kill the processes that analyse, all at once; the supervisor starts them again."""
        assert self._service.process is not None
        for pid in descendants(self._service.process.pid):
            if "stat,routine" in _command_line(pid):
                os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for the condition.

    Raises
    ------
    TimeoutError
        It did not come about in ten minutes.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of sorted values; of few values the upper ones are the largest."""
    last = len(seconds) - 1
    found = {"p50": statistics.median(seconds), "p95": seconds[round(0.95 * last)], "p99": seconds[round(0.99 * last)]}
    return {f"{name}_{key}_seconds": round(value, 3) for key, value in found.items()}


def warm(hospital: Hospital) -> None:
    """Let every process do its first study."""
    for study in hospital.prepare(3):
        hospital.send(*study)
    hospital.wait_until_settled()


def sustained_rate(hospital: Hospital, count: int) -> float:
    """Send `IN_A_ROW` times so many at once; return the studies per second until all results have arrived."""
    count *= IN_A_ROW
    studies, started = hospital.prepare(count), time.time()
    for study in studies:
        hospital.send(*study)
    hospital.wait_until_settled()
    return round(count / (hospital.archive.latest - started), 2)


def sustained_rate_of(count: int, precision: Precision, thresholds: Mapping[str, float] = ONE_FINDING) -> float:
    """Return the same of a worker of its own, with that precision and those thresholds."""
    with tempfile.TemporaryDirectory() as folder:
        hospital = Hospital(Path(folder), precision, thresholds)
        with hospital.running():
            warm(hospital)
            return sustained_rate(hospital, count)


def measure(hospital: Hospital, count: int) -> dict[str, Any]:
    """Measure everything with `count` studies in each part."""
    with hospital.running():
        warm(hospital)
        facts: dict[str, Any] = {"studies": count}
        idle = hospital.prepare(count)
        with processors_taken_by_others([os.getpid()]) as others:
            for study in idle:
                hospital.send(*study)
                hospital.wait_until_settled()
        facts |= percentiles("idle", hospital.seconds_of(idle)) | {"others_while_idle": round(others.share, 2)}
        rate = sustained_rate(hospital, count)
        facts |= {"sustained_studies_per_second": rate}
        loaded = hospital.prepare(count)
        with processors_taken_by_others([os.getpid()]) as others:
            _send_steadily(hospital, loaded, LOAD * rate)
            hospital.wait_until_settled()
        facts |= percentiles("loaded", hospital.seconds_of(loaded)) | {"others_while_loaded": round(others.share, 2)}
        return facts | {"recovery_seconds": round(_recovery(hospital, count, LOAD * rate), 2)}


def plain_rate(hospital: Hospital, count: int, senders: int, threads: int) -> float:
    """Return how many studies of one image a second the plain script takes in, judges and sends to an archive."""
    port, studies = free_port(), hospital.prepare(count)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plain_triage"]
    command += [str(number) for number in (port, hospital.archive.port, threads)]
    script = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    peer = Peer("PLAIN", "127.0.0.1", port)
    try:
        wait_until(lambda: not echo(peer, CALLING_AE_TITLE), "the plain script answers")
        outcomes = send(peer, [hospital.prepare(1)[0][1]], CALLING_AE_TITLE)  # warms it
        started = time.time()
        with ThreadPoolExecutor(senders) as pool:
            for sent in pool.map(lambda study: send(peer, [study[1]], CALLING_AE_TITLE), studies):
                outcomes += sent
        if any(outcome.status != 0x0000 for outcome in outcomes):
            raise RuntimeError("the plain script did not take an image")
        return count / (hospital.archive.latest - started)
    finally:
        script.kill()
        script.wait()


def _send_steadily(hospital: Hospital, studies: list[tuple[str, Path]], per_second: float) -> None:
    started = time.monotonic()
    for number, study in enumerate(studies):
        time.sleep(max(0.0, started + number / per_second - time.monotonic()))
        hospital.send(*study)


def _recovery(hospital: Hospital, count: int, per_second: float) -> float:
    """Kill the triage processes half way through a load; return the seconds until the next result arrives."""
    studies = hospital.prepare(count)
    sender = threading.Thread(target=_send_steadily, args=(hospital, studies, per_second))
    sender.start()
    time.sleep(count / per_second / 2)
    hospital.kill_triage()
    time.sleep(1.0)  # what was analysed before is on its way and arrives still
    killed = time.time()
    wait_until(lambda: hospital.archive.latest > killed, "a result after the kill")
    recovered = hospital.archive.latest - killed + 1.0
    sender.join()
    hospital.wait_until_settled()
    return recovered


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.end_to_end",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--studies", type=int, default=40, help="in each part; default: 40")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    arguments = parser.parse_args()
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the worker's processes write to what they inherit
    with tempfile.TemporaryDirectory() as folder:
        hospital = Hospital(Path(folder))
        facts = measure(hospital, arguments.studies)
        with hospital.archive.running():
            plain = max(plain_rate(hospital, arguments.studies, *layout) for layout in PLAIN_LAYOUTS)
    rates = {"float32": facts["sustained_studies_per_second"]}
    facts["plain_studies_per_second"] = round(plain, 2)
    facts["sustained_with_three_pictures_studies_per_second"] = sustained_rate_of(arguments.studies, "fp32", {})
    if processor_computes_bf16():
        rates["bfloat16"] = facts["sustained_bf16_studies_per_second"] = sustained_rate_of(arguments.studies, "bf16")
    bars = [
        *(at_most(name.replace("_", " "), facts[name], bar) for name, bar in BARS.items()),
        *(at_least(f"sustained / plain, {arithmetic}", rate / plain, SUSTAINED) for arithmetic, rate in rates.items()),
    ]
    if arguments.json:
        shown = {name.replace("_", " "): value for name, value in facts.items()}
        json.dump({"facts": shown, "bars": [bar.as_dict() for bar in bars]}, output, indent=1)
    else:
        lines = [f"{name:<35} {value}" for name, value in facts.items()]
        print(*lines, *bars, sep="\n", file=output)
    output.close()


if __name__ == "__main__":
    main()
