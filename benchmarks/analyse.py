"""Decoding and analysing per transfer syntax, beside the plain way: ``python -m benchmarks.analyse``.

One real chest radiograph (pydicom-data's RG1, 1955 x 1841, 15 bits) in each coding. The plain way is what most scripts
do: pydicom's pixel_array with whatever decoder it finds, apply_voi_lut, Pillow, an eager torch network with Grad-CAM, a
Secondary Capture. Ours is measured as it comes (exact, float32), with fast decoding where there is one, and with all
that a configuration can gain (fast decoding, and bfloat16 where the processor has it). The ways run in turn, each in a
process of its own with one thread; the network's input is compared beside the speed. Prints medians and ratios with the
bars of the design, and ends with status 1 if a picture differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bars import Bar, at_least
from benchmarks.codings import write_codings
from benchmarks.our_way import OurWay, our_pixels
from benchmarks.plain_way import PlainWay, plain_pixels
from benchmarks.processes import PLAIN, WAYS
from benchmarks.way_process import CHILD, WayProcess, serve, way_processes
from benchmarks.windows import Measured, in_turn
from dicom_io.pixels.fidelity import Decoding
from model.compiled_network import processor_computes_bf16

BARS = {
    "LE": (7, 10), "RLE": (7, 10), "HTJ2K": (7, 10), "JPEG": (7, 10), "JPEG Lossless": (6, 7), "JPEG-LS": (3.5, 5),
    "JPEG 2000": (3.5, 5), "JPEG 2000 lossy": (3.5, 5),
}  # fmt: skip
"""Whole analysis, ours / plain, images per second: must and aim (design/performance.md)."""
MODULE = "benchmarks.analyse"
MOST_MEAN_LEVELS, MOST_LEVELS = 0.5, 2.0
"""Of the network's input, ours and plain: both resize with Pillow, from levels rounded at different places."""


HEADING = f"{'ms':<25}{'plain':>9}{'exact':>9}{'fast':>9}{'bf16':>9}   ratio (fast, bf16)   |exact-plain|  |fast-exact|"


@dataclass(frozen=True)
class Row:
    """One coding, one part of the work."""

    coding: str
    part: str
    ours: Measured
    fast: Measured | None
    bf16: Measured | None
    """Fast decoding, where there is one, and bfloat16."""
    plain: Measured
    mean_levels: float
    """|ours - plain| of the network's input."""
    most_levels: float
    fast_mean_levels: float
    """|fast - exact| of the network's input."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; milliseconds and ratios of medians."""
        fast, bf16 = (each.median_seconds if each else None for each in (self.fast, self.bf16))
        return {
            "coding": self.coding,
            "part": self.part,
            "ours_ms": round(1e3 * self.ours.median_seconds, 1),
            "fast_ms": fast and round(1e3 * fast, 1),
            "bf16_ms": bf16 and round(1e3 * bf16, 1),
            "plain_ms": round(1e3 * self.plain.median_seconds, 1),
            "ratio": round(self.plain.median_seconds / self.ours.median_seconds, 2),
            "fast_ratio": fast and round(self.plain.median_seconds / fast, 2),
            "bf16_ratio": bf16 and round(self.plain.median_seconds / bf16, 2),
            "mean_levels": round(self.mean_levels, 3),
            "most_levels": self.most_levels,
            "fast_mean_levels": round(self.fast_mean_levels, 3),
            "noisy": self.ours.noisy or self.plain.noisy,
        }

    def bars(self) -> list[Bar]:
        """Return how many times as fast as the plain way each of our ways analyses this coding, beside its bar."""
        ways = {"as it comes": self.ours, "fast decoding": self.fast, "fast decoding, bfloat16": self.bf16}
        return [
            at_least(f"{self.coding}, {way} / plain", self.plain.median_seconds / of.median_seconds, BARS[self.coding])
            for way, of in ways.items()
            if of and self.part == "analyse"
        ]


def measure(coding: str, path: Path, part: str, ways: dict[str, WayProcess]) -> Row:
    """Time the ways in turn and compare what the network would see."""
    exact, fast, plain = (
        pixels.astype(int)
        for pixels in (our_pixels(path), our_pixels(path, Decoding.FAST), plain_pixels(path))
    )  # fmt: skip
    runs = {way: partial(process.run, f"{part} {path}") for way, process in ways.items()}
    measured = in_turn(runs, processes=[process.process.pid for process in ways.values()])
    difference = np.abs(exact - plain)
    return Row(
        coding,
        part,
        measured["ours"],
        measured.get("fast"),
        measured.get("bf16"),
        measured[PLAIN],
        float(difference.mean()),
        float(difference.max()),
        float(np.abs(fast - exact).mean()),
    )


def rows(folder: Path, chosen: list[str]) -> Iterator[Row]:
    """Measure both parts of every chosen coding."""
    quickest = ["bf16"] if processor_computes_bf16() else []
    ways = ["ours", "fast", *quickest, PLAIN]
    files = write_codings(folder)
    with way_processes(MODULE, ways, folder) as processes:
        found = dict(zip(ways, processes, strict=True))
        for coding, path in files.items():
            if chosen and coding not in chosen:
                continue
            fast = ["fast"] if coding.startswith(("JPEG 2000", "HTJ2K")) else []
            for part, those in (("decode", ["ours", *fast, PLAIN]), ("analyse", ["ours", *fast, *quickest, PLAIN])):
                yield measure(coding, path, part, {way: found[way] for way in those})


def be_child(way: str, folder: Path) -> None:
    """Decode or analyse, as every line read says, a file it names."""
    if way == PLAIN:
        plain = PlainWay()
        doing: dict[str, Callable[[Path], object]] = {"decode": plain_pixels, "analyse": plain.analyse}
    else:
        decoding, precision = WAYS[way]
        ours = OurWay(folder, precision)
        doing = {
            "decode": lambda path: our_pixels(path, decoding),
            "analyse": lambda path: ours.analyse(path, decoding),
        }

    def do(line: str) -> None:
        part, _, path = line.partition(" ")
        doing[part](Path(path))

    serve(do)


def main() -> None:
    """Measure, print, and end with status 1 if a picture differs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.analyse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("coding", nargs="*", help=f"of {', '.join(BARS)}; default: all")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    parser.add_argument(CHILD, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        be_child(arguments.child[0], Path(arguments.child[1]))
        return
    if unknown := set(arguments.coding) - set(BARS):
        parser.error(f"unknown coding {', '.join(sorted(unknown))}; choose from {', '.join(BARS)}")
    found = []
    if not arguments.json:
        print(HEADING)
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), arguments.coding):
            found.append(row)
            if not arguments.json:
                print(_line(row.as_dict()), *row.bars(), sep="\n    bar: ", flush=True)
    if arguments.json:
        bars = [bar.as_dict() for row in found for bar in row.bars()]
        json.dump({"rows": [row.as_dict() for row in found], "bars": bars}, sys.stdout, indent=1)
    differs = any(row.mean_levels > MOST_MEAN_LEVELS or row.most_levels > MOST_LEVELS for row in found)
    sys.exit(1 if differs else 0)


def _line(row: dict[str, Any]) -> str:
    fast, bf16, quick, quickest = (
        f"{row[key]}" if row[key] else "-" for key in ("fast_ms", "bf16_ms", "fast_ratio", "bf16_ratio")
    )
    return (
        f"{row['coding']:<17}{row['part']:<8}{row['plain_ms']:>9}{row['ours_ms']:>9}{fast:>9}{bf16:>9}"
        f"{row['ratio']:>8} ({quick:>4}, {quickest:>4})   {row['mean_levels']} / {row['most_levels']:g}"
        f"{row['fast_mean_levels']:>16}{'  (noisy)' if row['noisy'] else ''}"
    )


if __name__ == "__main__":
    main()
