"""Images a second with 1 to N processes, and what a process costs: ``python -m benchmarks.processes``.

One real chest radiograph as uncompressed, JPEG Lossless, JPEG-LS and JPEG 2000, in turn: from the file to finished
objects. Ours (exact, with fast decoding of JPEG 2000, and with that and bfloat16 where the processor has it) beside the
plain way of `benchmarks.plain_way`, all with one thread for each process; a ratio is that of both ways' best layouts.
Also the stages of ours, the seconds from the start of a process to its first finished object, and its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, at_least, at_most
from benchmarks.codings import write_codings
from benchmarks.way_process import CHILD, WayProcess, serve, way_processes
from benchmarks.windows import processors_taken_by_others
from dicom_io.pixels.fidelity import Decoding
from model.compiled_network import processor_computes_bf16
from model.precision import Precision

MIX = ("LE", "JPEG Lossless", "JPEG-LS", "JPEG 2000")
WAYS: dict[str, tuple[Decoding, Precision]] = {
    "ours": (Decoding.EXACT, "fp32"),
    "fast": (Decoding.FAST, "fp32"),
    "bf16": (Decoding.FAST, "bf16"),
}
PLAIN = "plain"
MODULE = "benchmarks.processes"
_STAGES = "milliseconds of each stage, one process"
STAGE_ROUNDS = 9
ROUNDS = 3
"""Measurements of each way and layout, interleaved."""
BAR = (5.0, 8.0)
"""Ours / plain, images per second, float32: must, and aim (which is one with bfloat16)."""
START_BAR, MEMORY_BAR = (2.0, 1.0), (400, 300)
"""Seconds from the start to the first object, and MiB: must and aim."""


def images_per_second(team: list[WayProcess]) -> float:
    """Let every process of the team analyse the mix once; return images a second of them all together."""
    started = time.monotonic()
    for child in team:
        child.tell("go")
    for child in team:
        child.wait()
    return len(team) * len(MIX) / (time.monotonic() - started)


def start_seconds(folder: Path) -> float:
    """Return the seconds from starting a process of ours to its first finished object."""
    started = time.monotonic()
    with way_processes(MODULE, ["ours"], folder):
        return time.monotonic() - started


def measure(folder: Path, cores: int) -> dict[str, Any]:
    """Measure every way with 1 to `cores` processes."""
    start_seconds(folder)  # compiles the network and the modules
    seconds = [start_seconds(folder) for _ in range(ROUNDS)]
    ways = [way for way, (_, precision) in WAYS.items() if precision == "fp32" or processor_computes_bf16()] + [PLAIN]
    rows, memory = [], 0.0
    for count in range(1, cores + 1):
        rates: dict[str, list[float]] = {way: [] for way in ways}
        with ExitStack() as stack:
            teams = {way: stack.enter_context(way_processes(MODULE, [way] * count, folder)) for way in ways}
            with processors_taken_by_others([os.getpid()]) as others:
                for _ in range(ROUNDS):
                    for way, team in teams.items():
                        rates[way].append(images_per_second(team))
            memory = max(memory, *(child.resident_mib for child in teams["ours"]))
        row = {f"{way} images/s": round(statistics.median(found), 2) for way, found in rates.items()}
        rows.append({"processes": count} | row | {"others": round(others.share, 2)})
    best = {way: max(row[f"{way} images/s"] for row in rows) for way in ways}
    return _facts(rows, best, statistics.median(seconds), memory) | {"tables": {_STAGES: stage_rows(folder)}}


def stage_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the median milliseconds of every stage of ours, in this process, for each coding of the mix."""
    from benchmarks.our_way import OurWay
    from worker.foundation.stopwatch import Stopwatch

    ours, rows = OurWay(folder), []
    for name, path in _files(folder).items():
        found = []
        for _ in range(1 + STAGE_ROUNDS):
            watch = Stopwatch()
            ours.analyse(path, watch=watch)
            found.append(watch.timings_seconds())
        medians = {stage: statistics.median(timings[stage] for timings in found[1:]) for stage in found[0]}
        rows.append({"coding": name} | {stage: round(1e3 * seconds, 1) for stage, seconds in medians.items()})
    return rows


def _files(folder: Path) -> dict[str, Path]:
    return {name: folder / f"{name.replace(' ', '_')}.dcm" for name in MIX}


def _facts(rows: list[dict[str, Any]], best: dict[str, float], start: float, memory: float) -> dict[str, Any]:
    ratios = {way: best[way] / best[PLAIN] for way in best if way != PLAIN}
    bars = [
        *(at_least(f"{way} / plain, images per second", of, BAR) for way, of in ratios.items()),
        at_most("seconds from start to first object", start, START_BAR),
        at_most("MiB of a process", memory, MEMORY_BAR, 0),
    ]
    return {"rows": rows, "bars": [bar.as_dict() for bar in bars]}


def be_child(way: str, folder: Path) -> None:
    """Get ready with one picture, then analyse the mix once for every line read."""
    files = list(_files(folder).values())
    analyse = _plain() if way == PLAIN else _ours(folder, *WAYS[way])
    analyse(files[0])

    def mix(_: str) -> None:
        for path in files:
            analyse(path)

    serve(mix)


def _ours(folder: Path, decoding: Decoding, precision: Precision) -> Callable[[Path], object]:
    from benchmarks.our_way import OurWay

    ours = OurWay(folder, precision)
    return lambda path: ours.analyse(path, decoding)


def _plain() -> Callable[[Path], object]:
    from benchmarks.plain_way import PlainWay

    return PlainWay().analyse


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="most processes; default: all")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    parser.add_argument(CHILD, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        be_child(arguments.child[0], Path(arguments.child[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_codings(Path(folder))
        facts = measure(Path(folder), arguments.cores)
    if arguments.json:
        json.dump(facts, sys.stdout, indent=1)
        return
    for row in facts["rows"]:
        print(row)
    for bar in facts["bars"]:
        print(Bar(**bar))
    for row in facts["tables"][_STAGES]:
        print(row)


if __name__ == "__main__":
    main()
