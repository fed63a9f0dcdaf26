"""Independent judge of a soak: reads the sender's ledger, the disk, SQL and the PACS; imports nothing of the worker.

    python tests/support/soak_checker.py LEDGER --database URL --data FOLDER --pacs URL [--json]

The ledger is JSON lines: ``{"study", "patient", "poison"}`` for every study before it is first sent, and ``{"study",
"sop", "sha256", "status"}`` for every answer to a C-STORE; the hash is that of the data set's bytes, null is no answer.
Exit status 0 when everything holds, 1 when not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pydicom

OUT_OF_RESOURCES = 0xA7
REPORT_MODALITY = "SR"
MODEL_NAME = "fixed-words"
CLAIM_TOLERANCE_SECONDS = 0.5
RELEASES = ("finished", "unchanged", "attempt_failed", "waits_for_room", "failed")
"""Events with which a worker ends a run or gives it back."""
GIVES_UP = "leases"
"""Who ends runs that were started as often as allowed."""
OBJECTS_PER_REPORT = 3
"""The soak's bundle flags two findings in every picture: a report and two heat maps."""
FAILURES = ("failed", "not_analysed", "held", "out_of_scope")


@dataclass(frozen=True)
class Fault:
    """One guarantee that does not hold."""

    kind: str
    study: str
    what: str


@dataclass(frozen=True)
class Evidence:
    """Where the traces of a soak are."""

    ledger: Path
    database_url: str
    data: Path
    """The worker's data folder, with ``instances`` and ``results``."""
    pacs_url: str
    """Orthanc's REST interface."""
    lease_seconds: float = 20.0
    """How long a claimed run belongs to its worker, as configured."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        if self.database_url.startswith("sqlite"):
            path = self.database_url.partition(":///")[2]
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
            try:
                return connection.execute(query).fetchall()
            finally:
                connection.close()
        with psycopg.connect(self.database_url.replace("+psycopg", "")) as server:
            return server.execute(query.encode()).fetchall()

    def pacs(self, path: str, body: Any = None) -> bytes:
        """Return what the PACS answers to a GET, or to a POST when there is a body."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.pacs_url}{path}", data, timeout=60) as answer:  # noqa: S310 (loopback)
            return bytes(answer.read())

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines of the ledger."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


def dataset_sha256(content: bytes) -> str:
    """Return the hash of what follows the file meta information: the bytes that go over the network."""
    group_2_bytes = int.from_bytes(
        content[140:144], "little"
    )  # (0002,0000), after preamble, prefix, tag, VR and length
    return hashlib.sha256(content[144 + group_2_bytes :]).hexdigest()


def unsettled(evidence: Evidence) -> list[str]:
    """Say what is still under way; empty when the site has come to rest."""
    waiting = {
        "studies due": "SELECT count(*) FROM study WHERE due_at IS NOT NULL",
        "runs": "SELECT count(*) FROM run WHERE state IN ('queued', 'running')",
        "deliveries": "SELECT count(*) FROM delivery WHERE state = 'pending'",
    }
    counts = {name: int(evidence.rows(query)[0][0]) for name, query in waiting.items()}
    return [f"{count} {name}" for name, count in counts.items() if count]


def check(evidence: Evidence) -> tuple[list[Fault], Counter[str]]:
    """Return every guarantee that does not hold, and how much was looked at."""
    entries = evidence.entries()
    planned = {entry["study"]: entry for entry in entries if "patient" in entry}
    answers = [entry for entry in entries if "sop" in entry]
    seen: Counter[str] = Counter(studies=len(planned), answers=len(answers))
    faults = [Fault("unsettled", "", what) for what in unsettled(evidence)]
    faults += _instances(evidence, answers, seen)
    faults += _refusals(answers, planned)
    arrived = {entry["study"] for entry in answers if entry["status"] == 0}
    faults += [Fault("never_accepted", study, "no image was ever accepted") for study in planned.keys() - arrived]
    faults += _studies(evidence, planned, arrived, seen)
    faults += _claims(evidence)
    faults += _results(evidence, planned, arrived, seen)
    faults += _names(evidence)
    faults += orphans(evidence)
    return faults, seen


def _instances(evidence: Evidence, answers: list[dict[str, Any]], seen: Counter[str]) -> Iterator[Fault]:
    """Every object that was answered with success lies on disk as it was sent, and its row knows it."""
    kept = {
        (study, sop): (path, digest)
        for study, sop, path, digest in evidence.rows(
            "SELECT study_instance_uid, sop_instance_uid, path, sha256 FROM instance WHERE version = 1"
        )
    }
    promised = {(entry["study"], entry["sop"]): entry["sha256"] for entry in answers if entry["status"] == 0}
    seen["instances"] = len(promised)
    for (study, sop), digest in promised.items():
        if (study, sop) not in kept:
            yield Fault("lost_instance", study, f"{sop} was answered with success and has no row")
            continue
        path, whole = kept[study, sop]
        file = evidence.data / "instances" / path
        if not file.is_file():
            yield Fault("lost_instance", study, f"{sop} was answered with success and has no file")
            continue
        content = file.read_bytes()
        if dataset_sha256(content) != digest or hashlib.sha256(content).hexdigest() != whole:
            yield Fault("changed_instance", study, f"{sop} is not on disk as it was sent")


def _refusals(answers: list[dict[str, Any]], planned: dict[str, Any]) -> Iterator[Fault]:
    """A good object is stored, left without an answer, or put off: a sender gives up after anything else."""
    for entry in answers:
        status = entry["status"]
        if status and status >> 8 != OUT_OF_RESOURCES and not planned[entry["study"]]["poison"]:
            yield Fault("refused_for_good", entry["study"], f"{entry['sop']} was answered with 0x{status:04X}")


def _studies(evidence: Evidence, planned: dict[str, Any], arrived: set[str], seen: Counter[str]) -> Iterator[Fault]:
    """Every study that arrived is triaged; poisoned ones, and only those, are visible failures."""
    query = "SELECT study_instance_uid, state, reason_code, patient_id FROM study"
    states = {study: (state, reason, patient) for study, state, reason, patient in evidence.rows(query)}
    for study in states.keys() - planned.keys():
        yield Fault("unknown_study", study, "a study that nobody sent")
    for study in arrived:
        state, reason, patient = states.get(study, ("missing", None, planned[study]["patient"]))
        seen[f"state {state}"] += 1
        if patient != planned[study]["patient"]:
            yield Fault("wrong_patient", study, "the row names another patient")
        if planned[study]["poison"]:
            seen["poisoned"] += 1
            if state not in FAILURES or not reason:
                yield Fault("poison_unseen", study, f"a damaged study is {state}")
        elif state != "triaged":
            yield Fault("unexplained_failure", study, f"a good study is {state} ({reason})")
    bad = "SELECT r.study_instance_uid, d.state FROM delivery d JOIN result s ON s.id = d.result_id"
    bad += " JOIN run r ON r.id = s.run_id WHERE d.state IN ('refused', 'failed')"
    yield from (Fault("unexplained_failure", study, f"a delivery is {state}") for study, state in evidence.rows(bad))
    silent = "SELECT r.study_instance_uid FROM run r LEFT JOIN event e ON e.run_id = r.id WHERE e.id IS NULL"
    yield from (Fault("no_story", study, "a run without an event") for (study,) in evidence.rows(silent))


def _claims(evidence: Evidence) -> Iterator[Fault]:
    """Nobody claims a run that another worker holds, and only who claimed it last ends it or gives it back."""
    query = "SELECT run_id, study_instance_uid, kind, at, actor, details FROM event"
    query += " WHERE run_id IS NOT NULL ORDER BY id"
    holders: dict[int, tuple[str, datetime]] = {}
    for run, study, kind, at, actor, details in evidence.rows(query):
        if kind == "claimed":
            claimed, facts = _moment(at), details if isinstance(details, dict) else json.loads(details)
            if run in holders and not _was_over(*holders[run], claimed, facts, evidence.lease_seconds):
                yield Fault("claimed_twice", study, f"two workers held run {run} at the same time")
            holders[run] = (actor, claimed)
        elif kind in RELEASES:
            holder = holders.pop(run, ("nobody", None))[0]
            if actor not in (holder, GIVES_UP):
                yield Fault("ended_by_another", study, f"run {run} was {kind} by {actor}, while {holder} held it")


def _was_over(holder: str, since: datetime, claimed: datetime, facts: dict[str, Any], lease_seconds: float) -> bool:
    """Return whether a claim came when the lease of the holder was over, by what it says and by the time passed."""
    passed = abs((claimed - since).total_seconds())  # the clock may have been set wrong, either way, meanwhile
    told = facts.get("taken_from") == holder and _moment(facts["lease_until"]) < claimed
    return told and passed >= lease_seconds - CLAIM_TOLERANCE_SECONDS


def _moment(value: datetime | str) -> datetime:
    """Return a time of the database as aware UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _names(evidence: Evidence) -> Iterator[Fault]:
    """The UIDs of results follow from study, images, model, policy and revision (conformance statement, results)."""
    images: defaultdict[int, set[str]] = defaultdict(set)
    analysed = "SELECT p.run_id, i.sop_instance_uid, i.pixel_sha256 FROM prediction p JOIN instance i"
    for run, sop, pixels in evidence.rows(f"{analysed} ON i.id = p.instance_id"):
        images[run].add(f"{sop}:{pixels}")
    query = "SELECT r.id, r.study_instance_uid, r.model_version, r.policy_hash, r.result_revision, s.kind, s.finding,"
    query += " s.sop_class_uid, s.sop_instance_uid FROM result s JOIN run r ON r.id = s.run_id"
    for run, study, version, policy, revision, kind, finding, sop_class, sop in evidence.rows(query):
        seed = (study, *sorted(images[run]), MODEL_NAME, version, policy, str(revision), kind, finding or sop_class)
        if sop != _uid_of(seed):
            yield Fault("other_name", study, f"{sop} is not the UID that a {kind} of this analysis has")


def _uid_of(seed: Sequence[str]) -> str:
    hashed = hashlib.sha256(b"".join(f"{len(part.encode())}:{part}".encode() for part in seed))
    return f"2.25.{int(hashed.hexdigest()[:32], 16)}"


def _results(evidence: Evidence, planned: dict[str, Any], arrived: set[str], seen: Counter[str]) -> Iterator[Fault]:
    """The PACS holds one current result set of each good study: once, byte for byte, under the right patient."""
    written: dict[str, str] = {}
    current: defaultdict[str, set[str]] = defaultdict(set)
    query = "SELECT r.study_instance_uid, s.sop_instance_uid, s.path, r.id = t.current_run_id FROM result s"
    query += " JOIN run r ON r.id = s.run_id JOIN study t ON t.study_instance_uid = r.study_instance_uid"
    for study, sop, path, is_current in evidence.rows(query):
        written[sop] = path
        if is_current:
            current[study].add(sop)
    held: defaultdict[str, list[pydicom.Dataset]] = defaultdict(list)
    for name in json.loads(evidence.pacs("/instances")):
        content = evidence.pacs(f"/instances/{name}/file")
        dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        study, sop = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
        held[study].append(dataset)
        seen["results"] += 1
        if study not in planned or str(dataset.PatientID) != planned[study]["patient"]:
            yield Fault("wrong_patient", study, f"{sop} in the PACS names another patient")
        if sop not in written:
            yield Fault("doubled_result", study, f"{sop} is in the PACS and was never written")
        elif not (kept := evidence.data / "results" / written[sop]).is_file():
            yield Fault("lost_result", study, f"{sop} has a row and no file any more")
        elif dataset_sha256(kept.read_bytes()) != dataset_sha256(content):
            yield Fault("changed_result", study, f"{sop} is in the PACS with other bytes")
    for study in arrived:
        yield from _result_set(study, planned[study]["poison"], current[study], held[study])


def _result_set(study: str, poison: bool, current: set[str], held: list[pydicom.Dataset]) -> Iterator[Fault]:
    present = Counter(str(dataset.SOPInstanceUID) for dataset in held)
    if poison:
        if held:
            yield Fault("doubled_result", study, "a damaged study has results in the PACS")
        return
    if missing := current - present.keys():
        yield Fault("lost_result", study, f"{len(missing)} current results are not in the PACS")
    if not current:
        yield Fault("lost_result", study, "there is no current result")
    reports = [dataset for dataset in held if dataset.Modality == REPORT_MODALITY]
    replaced = set(replaced_reports(reports))
    heads = {str(report.SOPInstanceUID) for report in reports} - replaced
    if len(heads) != 1 and current:
        yield Fault("doubled_result" if heads else "lost_result", study, f"{len(heads)} reports that none replaces")
    elif heads and not heads <= current:
        yield Fault("wrong_report", study, "the report that none replaces is not the current one")
    if len(held) > OBJECTS_PER_REPORT * max(len(reports), 1) or max(present.values(), default=0) > 1:
        yield Fault("doubled_result", study, f"{len(held)} objects beside {len(reports)} reports")


def replaced_reports(reports: list[pydicom.Dataset]) -> Iterator[str]:
    """Yield the SOP Instance UIDs of the reports that others name as their predecessors (PS3.3 C.17.2)."""
    for report in reports:
        for study in report.get("PredecessorDocumentsSequence") or ():
            for series in study.ReferencedSeriesSequence:
                yield from (str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence)


def orphans(evidence: Evidence) -> list[Fault]:
    """Return the files of received instances and of results that no row knows."""
    known = {
        "instances": {path for (path,) in evidence.rows("SELECT path FROM instance")},
        "results": {path for (path,) in evidence.rows("SELECT path FROM result")},
    }
    found = []
    for folder, paths in known.items():
        root = evidence.data / folder
        names = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
        strays = {name for name in names - paths if not name.startswith("quarantine/")}
        found += [Fault("orphan_file", name.partition("/")[0], f"{folder}/{name} has no row") for name in strays]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("ledger", type=Path, help="JSON lines of the sender")
    parser.add_argument("--database", required=True, help="sqlite:///... or postgresql://...")
    parser.add_argument("--data", type=Path, required=True, help="the worker's data folder")
    parser.add_argument("--pacs", required=True, help="http://host:port of Orthanc")
    parser.add_argument("--lease-seconds", type=float, default=20.0, help="as configured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    faults, seen = check(Evidence(given.ledger, given.database, given.data, given.pacs, given.lease_seconds))
    if given.json:
        print(json.dumps({"faults": [asdict(fault) for fault in faults], "seen": seen}))
    else:
        for fault in faults:
            print(f"{fault.kind}: {fault.what} (study {fault.study})")
        print(", ".join(f"{count} {name}" for name, count in sorted(seen.items())))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
