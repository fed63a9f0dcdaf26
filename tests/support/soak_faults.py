"""The faults of a soak: each breaks something real and returns the proof that it did, or an empty text."""

from __future__ import annotations

import errno
import math
import os
import random
import re
import shutil
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import redis
from archive_line import WARNING_STATUS
from power_cut import Platter
from services import wait_for_port
from sites import wait_until
from soak_load import Modality
from soak_site import LEASE_SECONDS, QUEUE, WORKER_PARTS, Part, SoakSite

from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import echo

GRACE_SECONDS = 3.0
LONGEST_SECONDS = 60.0
"""Nothing stays down longer."""
CHILD_KILLED = re.compile(r"ForkPoolWorker-\d+' pid:\d+ exited with 'signal 9 \(SIGKILL\)'")


@dataclass
class Scene:
    """What a fault may touch."""

    site: SoakSite
    modality: Modality
    draw: random.Random
    end: float = math.inf
    """Monotonic clock; a fault that waits for its moment does not wait much beyond."""

    def part(self, name: str) -> Part:
        """Return one process of the site."""
        return self.site.parts[name]

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float) -> None:
        """Wait for the moment in which something breaks.

        Raises
        ------
        TimeoutError
            It did not come; so nothing was broken.
        """
        left = max(self.end - time.monotonic(), 0.0) + GRACE_SECONDS
        wait_until(condition, what, min(seconds, left))

    def short_while(self, longest: float = 3.0) -> None:
        """Let the fault last."""
        time.sleep(self.draw.uniform(0.5, longest))


Break = Callable[[Scene], str]


def kill(name: str) -> Break:
    """Return the fault that kills a part and all its children."""
    return lambda scene: scene.part(name).kill(scene.draw.uniform(0, 2))


def die_at(name: str, failpoint: str) -> Break:
    """Return the fault that starts a part anew so that it dies by itself at the failpoint."""

    def run(scene: Scene) -> str:
        part = scene.part(name)
        before, offset = part.starts, part.log.stat().st_size
        part.failpoint = failpoint
        part.kill()
        part.wait_for_start(before)
        process = part.process
        assert process is not None

        def died() -> str:
            if process.poll() is not None and process.pid in part.killed:
                raise InterruptedError(f"another fault killed {name} before it came to {failpoint}")
            if process.poll() == -signal.SIGKILL:
                return f"pid {process.pid} killed itself at {failpoint}"
            with part.log.open(errors="replace") as log:
                log.seek(offset)
                found = CHILD_KILLED.search(log.read())
            return f"{found[0]} at {failpoint}" if found else ""

        try:
            scene.wait_until(died, failpoint, 90)
            return died()
        finally:
            part.kill()  # its next child would die there, too, and use the study's attempts up

    return run


def kill_child(scene: Scene) -> str:
    part = scene.part("triage")
    scene.wait_until(lambda: len(part.pids) > 1, "the worker has a child", 60)
    child = part.pids[-1]
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: child not in part.pids or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z", "it died")
    return f"child {child} is gone"


def kill_everything(scene: Scene) -> str:
    proofs = {part.name: part.kill(1.0) for part in scene.site.parts.values()}
    return "; ".join(f"{name}: {proof}" for name, proof in proofs.items() if proof)


def cut_power(scene: Scene) -> str:
    """Kill the worker's processes and take from the disk what none of them has fsynced, as their host's fall would."""
    parts = [scene.part(name) for name in WORKER_PARTS]
    killed = [part.name for part in parts if part.kill(LONGEST_SECONDS)]
    platter = Platter.read(scene.site.fsync_journal)
    stores = (scene.site.settings.instances_dir, scene.site.settings.results_dir)
    forgotten = [path for store in stores if store.is_dir() for path in platter.forget_the_rest(store)]
    for part in parts:
        part.down_until = 0.0
    sure = f"{len(platter.bytes)} files were fsynced, {len(forgotten)} files and folders were not and are gone"
    return f"{', '.join(killed)} killed; {sure}" if killed else ""


def flush_broker(scene: Scene) -> str:
    if scene.site.stack == "sqlite":
        files = list(_messages(scene.site).glob("*.msg"))
        for file in files:
            file.unlink(missing_ok=True)
        return f"{len(files)} message files deleted" if files else ""
    with redis.Redis(port=scene.site.redis_port) as server:
        before = server.dbsize()
        server.flushall()
        return f"{before} keys flushed" if before else ""


def flush_while_messages_wait(scene: Scene) -> str:
    with scene.site.paused("triage"):
        _wait_for_message(scene)
        return flush_broker(scene)


def double_messages(scene: Scene) -> str:
    """While the worker stands still, put what waits into the queue twice more, in the opposite order."""
    with scene.site.paused("triage"):
        _wait_for_message(scene)
        if scene.site.stack == "postgresql":
            with redis.Redis(port=scene.site.redis_port) as server:
                waiting = server.lrange(QUEUE, 0, -1)
                server.rpush(QUEUE, *reversed(waiting), *waiting)
            return f"{len(waiting)} messages became {3 * len(waiting)}"
        files = sorted(_messages(scene.site).glob("*.msg"), reverse=True)
        for file in files + files:
            queue = file.name.split(".")[-2]
            text = file.read_text()
            aside = file.with_name(f"{time.time_ns():020d}_{uuid.uuid4()}.tmp")
            aside.write_text(text)
            aside.rename(aside.with_suffix(f".{queue}.msg"))
        return f"{len(files)} message files became {3 * len(files)}"


def _messages(site: SoakSite) -> Path:
    return site.data / "queue" / "messages"


def _wait_for_message(scene: Scene) -> None:
    site = scene.site

    def waiting() -> int:
        if site.stack == "sqlite":
            return len(list(_messages(site).glob(f"*.{QUEUE}.msg")))
        with redis.Redis(port=site.redis_port) as server:
            return int(server.llen(QUEUE))

    scene.wait_until(waiting, "a message waits", 30)


def lock_database(longest: float) -> Break:
    """Return the fault that keeps every writer out for up to that many seconds."""

    def run(scene: Scene) -> str:
        if scene.site.stack == "postgresql":
            seconds = scene.draw.uniform(1, longest)
            scene.site.execute(f"BEGIN; LOCK TABLE study, run IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds})")
            return f"tables locked for {seconds:.1f} s"
        path = scene.site.data / "triage.db"
        holder = sqlite3.connect(path, timeout=30, isolation_level=None)
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            holder.execute("BEGIN EXCLUSIVE")
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                proof = str(error)
            else:
                other.execute("ROLLBACK")
                proof = ""
            time.sleep(scene.draw.uniform(longest / 2, longest))
            holder.execute("ROLLBACK")
            return proof
        finally:
            holder.close()
            other.close()

    return run


def cut_connections(scene: Scene) -> str:
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )
    cut = scene.site.execute(query)
    return f"{len(cut)} connections terminated" if cut else ""


def read_only_database(scene: Scene) -> str:
    site = scene.site
    site.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    site.execute("SELECT pg_reload_conf()")
    time.sleep(0.3)
    try:
        site.execute("CREATE TABLE soak_probe (id int)")
    except Exception as error:  # noqa: BLE001 (that it fails is the proof)
        proof = type(getattr(error, "orig", error)).__name__
    else:
        proof = ""
    scene.short_while()
    site.execute("ALTER SYSTEM RESET default_transaction_read_only")
    site.execute("SELECT pg_reload_conf()")
    return proof


def fill_disk(scene: Scene) -> str:
    if not scene.site.data.is_mount():  # unmounted meanwhile, at the end of a soak: never fill the machine's own disk
        return ""
    filler = scene.site.data / "filler"
    with filler.open("ab", buffering=0) as file:
        proof = ""
        try:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(filler.parent).free)
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            proof = errno.errorcode[error.errno or 0]
        scene.short_while(4.0)
    filler.unlink()
    return proof


def slow_pacs(scene: Scene) -> str:
    with scene.site.paused("pacs"):
        answered = scene.site.pacs_answers()
        scene.short_while(6.0)
    return "" if answered else "no answer within a second"


def refuse_at_pacs(scene: Scene) -> str:
    """Start the PACS under another AE title for a while: it rejects every association."""
    part, before = scene.part("pacs"), scene.part("pacs").starts
    part.failpoint = "ELSEWHERE"
    part.kill()
    part.wait_for_start(before)
    port = scene.site.orthanc.dicom_port
    wait_for_port(port, 20)
    proof = echo(Peer("ORTHANC", "127.0.0.1", port), "CXRAI")
    scene.short_while()
    part.kill()
    return proof


def warn_at_pacs(scene: Scene) -> str:
    """Have the archive's answers reach us as warnings, until one is in its row."""
    line, evidence = scene.site.line, scene.site.evidence

    def noted() -> int:
        answers = evidence.rows("SELECT last_status, count(*) FROM delivery WHERE state = 'sent' GROUP BY last_status")
        return int(dict(answers).get(WARNING_STATUS, 0))

    before, rewritten = noted(), line.warnings
    line.warn = True
    try:
        scene.wait_until(lambda: noted() > before, "a warning is in its row", 60)
        return f"{line.warnings - rewritten} answers 0x{WARNING_STATUS:04X}, {noted() - before} noted as sent"
    finally:
        line.warn = False


def cut_to_pacs(scene: Scene) -> str:
    """Break connections to the archive off in the middle of an object."""
    line = scene.site.line
    before = line.cuts
    line.cut_after_bytes = scene.draw.randrange(1500, 12_000)
    try:
        scene.wait_until(lambda: line.cuts > before, "a connection is cut", 60)
        return f"{line.cuts - before} connections closed after {line.cut_after_bytes} bytes"
    finally:
        line.cut_after_bytes = None


def jump_clock(scene: Scene) -> str:
    """Set the clock of database and workers wrong by more than a lease for a while; the sweeper's lease shows it."""
    site = scene.site
    jump = scene.draw.choice((-1, 1)) * scene.draw.uniform(LEASE_SECONDS + 2, 20)

    def wrong_by() -> float:
        rows = site.evidence.rows("SELECT lease_until FROM service_lease WHERE name = 'sweeper'")
        until = rows[0][0] if rows else datetime.now(UTC)
        moment = until if isinstance(until, datetime) else datetime.fromisoformat(until)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.timestamp() - time.time() - LEASE_SECONDS

    try:
        site.clock.set_wrong(jump)
        scene.wait_until(lambda: abs(wrong_by() - jump) < 2, "a lease is written by the wrong clock", 25)
        proof = f"clock wrong by {jump:+.1f} s, a lease by {wrong_by():+.1f} s"
        scene.short_while()
        return proof
    finally:
        site.clock.set_wrong(0.0)


def stop_sending(how: str) -> Break:
    """Return the fault that ends an association in the middle of a data set: ``abort`` (A-ABORT) or ``close`` (TCP)."""

    def run(scene: Scene) -> str:
        study = scene.modality.draw()
        proof = scene.modality.stop_half_way(study, how)
        scene.modality.keep_trying(study)
        return proof

    return run


def resend_everything(scene: Scene) -> str:
    studies = scene.modality.recent(10)
    sent = sum(scene.modality.offer(study) for study in studies)
    return f"{sent} of the last {len(studies)} studies accepted again" if sent else ""


def send_four_times_at_once(scene: Scene) -> str:
    study = scene.modality.draw()
    with ThreadPoolExecutor(4) as pool:
        accepted = list(pool.map(lambda _: scene.modality.offer(study), range(4)))
    scene.modality.keep_trying(study)
    return f"{sum(accepted)} of 4 associations accepted"


LANES: Mapping[str, Mapping[str, Break]] = {
    "arrival": {
        "listener killed": kill("listener"),
        "listener dies after file before row": die_at("listener", "after_file_before_row"),
        "listener dies after row before reply": die_at("listener", "after_row_before_reply"),
        "sweeper killed": kill("sweeper"),
        "power cut": cut_power,
        "sender aborts mid-dataset": stop_sending("abort"),
        "sender closes mid-dataset": stop_sending("close"),
        "sender sends everything again": resend_everything,
        "one study over four associations": send_four_times_at_once,
    },
    "runs": {
        "worker child killed": kill_child,
        "worker killed": kill("triage"),
        "worker dies after claim": die_at("triage", "after_claim"),
        "worker dies after inference": die_at("triage", "after_inference"),
        "worker dies after result files": die_at("triage", "after_result_files"),
        "messages doubled and reordered": double_messages,
        "broker flushed": flush_while_messages_wait,
        "everything killed at once": kill_everything,
    },
    "delivery": {
        "delivery worker killed": kill("delivery"),
        "delivery dies after C-STORE before row": die_at("delivery", "after_store_before_row"),
        "PACS killed": kill("pacs"),
        "PACS slow": slow_pacs,
        "PACS refuses": refuse_at_pacs,
        "PACS answers warnings": warn_at_pacs,
        "PACS closes mid-transfer": cut_to_pacs,
    },
    "ground": {
        "database locked": lock_database(4.0),
        "database locked for longer than its time limit": lock_database(33.0),
        "database server killed": kill("database"),
        "database connections cut": cut_connections,
        "database read-only": read_only_database,
        "broker killed": kill("broker"),
        "disk full": fill_disk,
        "clock jump": jump_clock,
    },
}
"""Faults of one lane follow each other; the lanes run beside each other."""
SERVERS_ONLY = {"database server killed", "database connections cut", "database read-only", "broker killed"}
FILES_ONLY = {"database locked for longer than its time limit"}
RARE = {"database locked for longer than its time limit"}
"""Half a minute in which nothing can happen; in every third round only."""


def faults_of(lane: str, site: SoakSite) -> dict[str, Break]:
    """Return the lane's faults that this site can suffer."""
    absent = SERVERS_ONLY if site.stack == "sqlite" else FILES_ONLY
    if not site.own_disk:
        absent = absent | {"disk full"}
    if not site.clock.built:
        absent = absent | {"clock jump"}
    return {kind: run for kind, run in LANES[lane].items() if kind not in absent}
