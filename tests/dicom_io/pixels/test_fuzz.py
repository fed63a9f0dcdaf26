"""Damaged copies of real files: no crash, no endless loop, no memory without bound, and always a named reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import FuzzReport, run_cases
from mutations import damaged_copy, sources

from dicom_io.foundation.reasons import ReasonCode

READING_REASONS = {
    ReasonCode.UNDECODABLE, ReasonCode.UNSUPPORTED_PIXELS, ReasonCode.NO_PIXELS, ReasonCode.MULTI_FRAME,
    ReasonCode.TOO_LARGE,
}  # fmt: skip
MOST_SECONDS = 10.0
"""Of processor time for one file of at most 8 MB."""
MOST_BYTES = 1 << 30
"""Resident memory of the process, libraries included."""


def assert_harmless(report: FuzzReport, cases: int) -> None:
    assert report.deaths == []
    assert report.unnamed == []
    assert set(report.outcomes) <= {"read", *READING_REASONS}
    assert report.outcomes.total() == cases
    assert report.longest_seconds < MOST_SECONDS
    assert report.largest_bytes < MOST_BYTES


def test_some_damaged_files_are_read_or_refused_by_name() -> None:
    report = run_cases(seed=1, count=400)
    assert_harmless(report, 400)
    assert len(report.outcomes) >= 4  # the damage reaches more than the front door
    assert report.outcomes["read"] >= 20


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_damaged_files_are_read_or_refused_by_name() -> None:
    cases = 24_000
    report = run_cases(seed=20_260_302, count=cases, processes=2)
    assert_harmless(report, cases)
    assert set(report.outcomes) == {"read", *READING_REASONS}


def test_a_case_is_the_same_every_time_and_differs_from_its_source() -> None:
    originals = {path.read_bytes() for path in sources()}
    cases = [damaged_copy(3, case) for case in range(40)]
    assert cases == [damaged_copy(3, case) for case in range(40)]
    assert sum(raw not in originals for _, raw in cases) >= 35  # some damage changes nothing
    assert len({raw for _, raw in cases}) == 40


CHILD = """import json, os, sys
from fuzz_limits import limited, timed
first, count = int(sys.argv[2]), int(sys.argv[3])
limited()
for case in range(first, first + count):
    if case == 2:
        FAULT
    print(json.dumps({"outcome": "read", "seconds": 0.0, "peak_bytes": 0}), flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("os.abort()", "signal 6"),
        ("bytearray(6 << 30)", "MemoryError"),
        ("sys.exit(3)", "exit status 3"),
        ("timed(0.2)\n        while True: pass", "signal 27"),  # SIGPROF
    ],
)
def test_the_runner_says_which_case_ended_the_process_and_goes_on(fault: str, said: str, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD.replace("FAULT", fault))
    report = run_cases(seed=0, count=4, child=child)
    (death,) = report.deaths
    assert death.startswith("seed 0 case 2: ") and said in death
    assert report.outcomes["read"] == 3
