"""What is refused is kept for an engineer, and takes neither the disk nor the time of those who send."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dicom_io.storing import quarantine
from dicom_io.storing.quarantine import Quarantine


def test_the_quarantine_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = 100 + quarantine.COST_BYTES
    monkeypatch.setattr(quarantine, "LIMIT_BYTES", 3 * each)
    kept_here = Quarantine(tmp_path)
    paths = [kept_here.keep([bytes([index]) * 100], str(index)) for index in range(9)]
    kept = set(tmp_path.glob("*.bin"))
    assert kept == set(paths[-len(kept) :])
    assert 2 <= len(kept) <= 3
    assert {path.with_suffix(".txt") for path in kept} == set(tmp_path.glob("*.txt"))


def test_a_full_quarantine_does_not_slow_down_who_refuses_more(tmp_path: Path) -> None:
    Quarantine(tmp_path).keep([b"first"], "not a data set")
    for number in range(6000):
        (tmp_path / f"20260101T000000.{number:09d}Z-00000000.bin").write_bytes(b"x")
    fresh = Quarantine(tmp_path)  # as after a restart
    began = time.perf_counter()
    fresh.keep([b"x"], "looks through the folder once")
    looked = time.perf_counter()
    for _ in range(30):
        fresh.keep([b"x"], "not a data set")
    assert time.perf_counter() - looked < 8 * (looked - began)
