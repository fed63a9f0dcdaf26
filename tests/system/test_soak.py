"""A short soak of everything that breaks, and proof that the judge of it sees what it must see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from orthanc import need
from pydicom.uid import generate_uid
from soak import Soak, summary
from soak_checker import Evidence, check, replaced_reports
from soak_faults import LANES, RARE

pytestmark = pytest.mark.timeout(900)
DISK_BYTES = 400_000_000
SHORT: dict[str, Any] = {
    "seconds": 120,
    "enough_faults": 8,
    "longest_gap_seconds": 2.0,
    "kinds": frozenset(kind for faults in LANES.values() for kind in faults) - RARE,
}
"""Ends with the eighth fault, after some twenty seconds."""
LONG: dict[str, Any] = {"seconds": 45}


@pytest.fixture(
    scope="module", params=[pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.slow)]
)
def soak(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """A soak that has ended and been judged; its database, disk and PACS are still there."""
    need("Orthanc", "orthanc")
    made = Soak(tmp_path_factory.mktemp("soak"), "sqlite", seed=7, disk_bytes=DISK_BYTES, **request.param)
    try:
        made.broken = made.run()
        yield made
    finally:
        made.site.stop()


def test_faults_of_many_kinds_lose_nothing_double_nothing_and_mix_no_patients(soak: Soak) -> None:
    report = json.loads((soak.folder / "report.json").read_text())
    assert not soak.broken, report
    assert report["seen"]["instances"] >= 5, report
    assert report["seen"]["state triaged"] >= 2, report
    assert len(report["kinds"]) >= 5, report


def test_the_last_line_of_a_soak_says_what_came_and_what_became_of_it(soak: Soak) -> None:
    answers = [json.loads(line) for line in soak.site.evidence.ledger.read_text().splitlines()]
    objects = {(line["study"], line["sop"]) for line in answers if line.get("status") == 0}
    fired = [entry["kind"] for entry in soak.fired if entry["proof"]]
    line = json.loads((soak.folder / "report.json").read_text())["summary"]
    assert line.startswith(f"sqlite, seed 7, {soak.seconds:g} s: {len(objects)} objects in ")
    assert f" {len(fired)} faults of {len(set(fired))} kinds; 0 lost, 0 doubled, 0 wrong patient, " in line
    broken = [{"kind": kind} for kind in ("lost_result", "lost_instance", "poison_unseen", "unexplained_failure")]
    bad = {"stack": "sqlite", "seed": 1, "seconds": 9.0, "seen": {"poisoned": 3}, "faults_fired": 0, "kinds": {}}
    end = "2 lost, 0 doubled, 0 wrong patient, 1 visible failures unexplained; 2 of 3 damaged studies failed visibly; "
    assert summary(bad | {"broken": broken}).endswith(end + "1 poison_unseen")


def kinds(soak: Soak) -> set[str]:
    return {fault.kind for fault in check(soak.site.evidence)[0]}


def reports(evidence: Evidence) -> list[tuple[str, bytes]]:
    """Return Orthanc's names and the contents of the structured reports that are in force: that none replaces."""
    names = json.loads(evidence.pacs("/tools/find", {"Level": "Instance", "Query": {"Modality": "SR"}}))
    found = [(name, evidence.pacs(f"/instances/{name}/file")) for name in names]
    datasets = [pydicom.dcmread(BytesIO(content)) for _name, content in found]
    outdated = set(replaced_reports(datasets))
    return [each for each, dataset in zip(found, datasets, strict=True) if dataset.SOPInstanceUID not in outdated]


def store(evidence: Evidence, dataset: pydicom.Dataset) -> str:
    content = BytesIO()
    dataset.save_as(content)
    answer = httpx.post(f"{evidence.pacs_url}/instances", content=content.getvalue(), timeout=30).raise_for_status()
    return str(answer.json()["ID"])


def delete(evidence: Evidence, name: str) -> None:
    httpx.delete(f"{evidence.pacs_url}/instances/{name}", timeout=30).raise_for_status()


def test_the_checker_misses_a_file_that_was_deleted_after_its_answer(soak: Soak) -> None:
    file = next(soak.site.settings.instances_dir.glob("[0-9]*/*.dcm"))
    content = file.read_bytes()
    file.unlink()
    assert "lost_instance" in kinds(soak)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "changed_instance" in kinds(soak)
    file.write_bytes(content)
    assert not kinds(soak)


def test_the_checker_misses_a_lost_result(soak: Soak) -> None:
    evidence = soak.site.evidence
    name, content = reports(evidence)[0]
    delete(evidence, name)
    assert "lost_result" in kinds(soak)
    store(evidence, pydicom.dcmread(BytesIO(content)))


def test_the_checker_sees_a_doubled_result(soak: Soak) -> None:
    evidence = soak.site.evidence
    _name, content = reports(evidence)[0]
    double = pydicom.dcmread(BytesIO(content))
    double.SOPInstanceUID = double.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    added = store(evidence, double)
    assert "doubled_result" in kinds(soak)
    delete(evidence, added)


def test_the_checker_sees_a_result_under_the_wrong_patient(soak: Soak) -> None:
    evidence = soak.site.evidence
    name, content = reports(evidence)[0]
    delete(evidence, name)
    wrong = pydicom.dcmread(BytesIO(content))
    wrong.PatientID = "SOMEBODY-ELSE"
    added = store(evidence, wrong)
    assert "wrong_patient" in kinds(soak)
    delete(evidence, added)
    store(evidence, pydicom.dcmread(BytesIO(content)))


def test_the_checker_sees_a_file_without_a_row_and_a_failure_without_a_poison(soak: Soak, tmp_path: Path) -> None:
    stray = soak.site.settings.results_dir / "1.2.3" / "stray.dcm"
    stray.parent.mkdir()
    stray.write_bytes(b"nobody knows me")
    assert "orphan_file" in kinds(soak)
    stray.unlink()
    ledger = soak.site.evidence.ledger
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    good = next(line for line in lines if line.get("poison") is False)
    changed = tmp_path / "ledger.jsonl"
    changed.write_text("".join(json.dumps({**line, "poison": True} if line is good else line) + "\n" for line in lines))
    seen = Counter(fault.kind for fault in check(replace(soak.site.evidence, ledger=changed))[0])
    assert seen["poison_unseen"] == 1


def test_a_person_can_start_a_soak_from_the_command_line() -> None:
    """Without what pytest puts on the path of modules."""
    program = Path(__file__).parents[1] / "support" / "soak.py"
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--seed" in done.stdout
