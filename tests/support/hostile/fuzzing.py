"""Runs cases in child processes under limits and says what became of each, also of those that ended their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("fuzz_child.py")
ROOT = CHILD.parents[3]
SECONDS_WITHOUT_A_CASE = 120
"""Wall time after which a child that reports nothing is stopped: sleeping and waiting take no processor time."""
MOST_DEATHS = 5
"""After as many, a part of the run is given up: there is enough to look into."""


@dataclass
class FuzzReport:
    """What became of all cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)
    """``case 17: signal 6`` of those that ended the process: crash, endless loop, memory."""
    longest_seconds: float = 0.0
    largest_bytes: int = 0

    def add(self, other: FuzzReport) -> None:
        """Take another part of the run in."""
        self.outcomes += other.outcomes
        self.deaths += other.deaths
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)

    @property
    def unnamed(self) -> list[str]:
        """Return outcomes that are errors without a reason of ours."""
        return [outcome for outcome in self.outcomes if outcome.startswith("unnamed")]


def run_cases(seed: int, count: int, processes: int = 1, child: Path = CHILD) -> FuzzReport:
    """Run the cases 0 to `count` of a seed, spread over so many processes at a time."""
    bounds = [count * part // processes for part in range(processes + 1)]
    report = FuzzReport()
    with ThreadPoolExecutor(processes) as pool:
        for part in pool.map(lambda start, end: _run_part(seed, start, end, child), bounds, bounds[1:]):
            report.add(part)
    return report


def _run_part(seed: int, start: int, end: int, child: Path) -> FuzzReport:
    report, case = FuzzReport(), start
    while case < end and len(report.deaths) < MOST_DEATHS:
        lines, ended = _child(child, seed, case, end - case)
        for line in lines:
            report.outcomes[line["outcome"]] += 1
            report.longest_seconds = max(report.longest_seconds, line["seconds"])
            report.largest_bytes = max(report.largest_bytes, line["peak_bytes"])
        case += len(lines)
        if ended:
            report.deaths.append(f"seed {seed} case {case}: {ended}")
            case += 1
    return report


def _child(child: Path, seed: int, first: int, count: int) -> tuple[list[dict[str, Any]], str]:
    """Return the reported cases, and how the process ended: empty if well."""
    command = [sys.executable, str(child), str(seed), str(first), str(count)]
    limit_seconds = SECONDS_WITHOUT_A_CASE + count
    try:
        run = subprocess.run(command, env=environment(), capture_output=True, timeout=limit_seconds, check=False)
    except subprocess.TimeoutExpired as expired:
        return _lines(expired.stdout or b""), f"no end within {limit_seconds} s"
    lines = _lines(run.stdout)
    if run.returncode == 0 and len(lines) == count:
        return lines, ""
    cause = f"signal {-run.returncode}" if run.returncode < 0 else f"exit status {run.returncode}"
    return lines, f"{cause} {run.stderr.decode(errors='replace')[-500:].strip()}"


def environment() -> dict[str, str]:
    """Return the variables a child needs to find the program and the tests."""
    path = os.pathsep.join(map(str, (ROOT, CHILD.parent, CHILD.parents[1])))
    return os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _lines(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]
