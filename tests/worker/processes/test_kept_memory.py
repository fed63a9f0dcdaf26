"""Freed memory stays with a process that analyses: the next picture does not have each of its pages mapped anew."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES_OF_A_PICTURE = (7 << 20) // 4096
FAULTS_PER_ROUND = """
import resource
{prepare}
def round():
    pictures = [bytearray(7 << 20) for _ in range(4)]
    small = [bytes(100) for _ in range(1000)]
for _ in range(3):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    round()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""
KEEP = "from worker.foundation.kept_memory import keep_freed_memory; assert keep_freed_memory()"

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory its own way")


def faults_per_round(prepare: str) -> int:
    """Return how many pages a process that takes and frees four pictures has mapped for that, each time."""
    command = [sys.executable, "-c", FAULTS_PER_ROUND.format(prepare=prepare)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_memory_of_one_picture_serves_the_next() -> None:
    assert faults_per_round("") > PAGES_OF_A_PICTURE, "without it, pages are mapped anew"
    assert faults_per_round(KEEP) < PAGES_OF_A_PICTURE // 50


def test_blocks_of_rare_huge_pictures_are_given_back() -> None:
    used = f"""{KEEP}
from pathlib import Path
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
before = resident()
huge = bytearray(b"x") * (300 << 20)
assert resident() - before > 290 << 20
del huge
assert resident() - before < 8 << 20, resident() - before
"""
    faults_per_round(used)


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
IN_PAGES = """
from pathlib import Path
def kilobytes(kind):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind + ":"))
before = kilobytes("Rss")
from worker.foundation.kept_memory import keep_freed_memory
{prepare}
untouched = kilobytes("Rss") - before
used = [bytearray(b"x") * (7 << 20) for _ in range(6)]
print(untouched, kilobytes("AnonHugePages"))
"""


def pages(prepare: str) -> tuple[int, int]:
    """Return kB that the preparation took, and kB in huge pages once 42 MB are used."""
    command = [sys.executable, "-c", IN_PAGES.format(prepare=prepare)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    untouched, huge = (int(number) for number in printed.split())
    return untouched, huge


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="this kernel gives huge pages otherwise",
)
def test_pictures_lie_in_huge_pages_that_take_no_memory_before() -> None:
    assert pages("")[1] < 8 << 10, "the kernel gave huge pages to who did not ask"
    untouched, huge = pages("keep_freed_memory()")
    assert huge > 30 << 10
    assert untouched < 8 << 10
