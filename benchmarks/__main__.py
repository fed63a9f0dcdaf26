"""Runs the benchmarks one after the other and writes ``benchmarks/RESULTS.md``: ``python -m benchmarks [NAME ...]``.

A benchmark that ends badly, or whose programs are missing, is named in the file as not measured, with the reason. Runs
of single benchmarks replace their part of the file; the others stay as they were, each with its own date and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("RESULTS.md")
ROOT = RESULTS.parent.parent
BENCHMARKS = ("receive", "analyse", "processes", "network", "end_to_end", "worklist", "training")
PRINT_TEXT = ("worklist",)
"""Those that write no JSON; their output stands in the file as it is."""
LIBRARIES = ("pynetdicom", "pydicom", "imagecodecs", "openvino", "torch", "numpy", "sqlalchemy", "celery")
ARITHMETIC = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
"""What the processor's flags say of its arithmetic."""
HEAD = """# Benchmarks

Written by `python -m benchmarks`. Ratios are of medians of interleaved windows in one run; absolute figures belong to
the machine named with them. A part marked noisy had other processes on the same cores: read its ratios as indications
and its absolute figures not at all. What a bar is about stands in the benchmark's own description
(`python -m benchmarks.NAME --help`).
"""
_MARK = "<!-- part: {} -->"


def machine() -> str:
    """Return processor, cores, memory, load, systems and versions in one paragraph."""
    cpu = _of_processor("model name") or "unknown processor"
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    kernel = platform.release().split("-")[0]
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {cpu}{_arithmetic()}, {os.cpu_count()} cores, {memory} GiB; load "
        f"before the run (1, 5, 15 min) {load}; Linux {kernel}, Python {platform.python_version()}, {libraries}"
        f"{_programs()}."
    )


def _of_processor(name: str) -> str:
    return next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith(name)), "")


def _arithmetic() -> str:
    """Return what the network's speed depends on, for one processor's name stands for several generations."""
    flags = _of_processor("flags").split()
    found = [words for flag, words in ARITHMETIC.items() if flag in flags]
    return f" ({', '.join(found)})" if found else ""


def _programs() -> str:
    found = []
    for name, arguments in (("storescp", ["--version"]), ("Orthanc", ["--version"])):
        if path := shutil.which(name) or shutil.which(name, path="/usr/sbin"):
            lines = subprocess.run([path, *arguments], capture_output=True, text=True, check=False).stdout.split("\n")
            found.append(lines[0].replace(path, name).strip("$ "))
    return "".join(f", {text}" for text in found)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def run(name: str, arguments: list[str]) -> dict[str, Any] | list[Any] | str:
    """Return what the benchmark found: plain values, or text, which also says why nothing was measured."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *arguments]
    if name not in PRINT_TEXT:
        command.append("--json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if name in PRINT_TEXT and done.returncode == 0:
        return f"```text\n{done.stdout.rstrip()}\n```"
    try:
        found: dict[str, Any] | list[Any] = json.loads(done.stdout[_json_start(done.stdout) :])
    except ValueError:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        return f"not measured: it ended with status {done.returncode} ({last[:200]})"
    return found


def _json_start(output: str) -> int:
    return min((place for place in (output.find("{"), output.find("[")) if place >= 0), default=0)


def part(name: str, found: dict[str, Any] | list[Any] | str, ran_on: str) -> str:
    """Return one part of the file."""
    lines = [_MARK.format(name), f"## {name}", "", ran_on, ""]
    if isinstance(found, str):
        return "\n".join([*lines, found, ""])
    if name == "receive":
        lines += receive_table(found["rows"])  # type: ignore[call-overload]
    else:
        rows = found["rows"] if isinstance(found, dict) and "rows" in found else found
        lines += table(rows) if isinstance(rows, list) else facts(rows)
    if isinstance(found, dict):
        lines += bar_lines(found.get("bars", ()))
        for title, further in found.get("tables", {}).items():
            lines += ["", title, "", *table(further)]
        lines += ["", *(f"- {note}" for note in found.get("notes", ()))]
    return "\n".join([*lines, ""])


def receive_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return objects per second of each receiver, and the bars."""
    names = list(dict.fromkeys(name for row in rows for name in row["objects_per_second"]))
    lines = ["objects per second", "", f"| case | {' | '.join(names)} | bars |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        cells = [str(row["objects_per_second"].get(name, "-")) for name in names]
        bars = "; ".join(
            f"ours / {bar['of']} {row['ratios'][bar['of']]}, must {bar['must']}, aim {bar['aim']}: "
            f"{'met' if bar['met'] else '**not met**'}"
            for bar in row["bars"]
        )
        lines.append(f"| {row['case']}{' (noisy)' if row['noisy'] else ''} | {' | '.join(cells)} | {bars} |")
    return lines


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows of plain values as a table."""
    if not rows:
        return ["nothing was found"]
    names = list(rows[0])
    shown = [name.replace("|", r"\|") for name in names]
    head = [f"| {' | '.join(shown)} |", "|---" * len(names) + "|"]
    return head + [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]


def facts(found: dict[str, Any]) -> list[str]:
    """Return plain values one below the other, then the bars."""
    lines = ["| figure | value |", "|---|---|"]
    return lines + [f"| {name.replace('_', ' ')} | {value} |" for name, value in found.items() if name != "bars"]


def bar_lines(bars: Iterable[dict[str, Any]]) -> list[str]:
    """Return what must be reached, what was meant to be, and whether it was."""
    lines = []
    for bar in bars:
        verdict, value = "met" if bar["met"] else "**not met**", f" {bar['value']}" if "value" in bar else ""
        lines += ["", f"Bar: {bar['of'].replace('_', ' ')}{value}, must {bar['must']}, aim {bar['aim']}: {verdict}."]
    return lines


def replace_part(document: str, name: str, text: str) -> str:
    """Return the document with this part in place of the earlier one, parts in the order of `BENCHMARKS`."""
    pieces = document.split("<!-- part: ")
    parts = {piece.split(" -->", 1)[0]: "<!-- part: " + piece for piece in pieces[1:]}
    parts[name] = text
    ordered = [parts[each].rstrip() for each in BENCHMARKS if each in parts]
    return "\n\n".join([HEAD.rstrip(), *ordered]) + "\n"


def main() -> None:
    """Run what was asked for and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: benchmarks/RESULTS.md")
    arguments, further = parser.parse_known_args()
    if unknown := set(arguments.name) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    for name in arguments.name or BENCHMARKS:
        ran_on = machine()
        print(f"{name} ...", flush=True)
        text = part(name, run(name, further), ran_on)
        document = arguments.output.read_text() if arguments.output.exists() else ""
        arguments.output.write_text(replace_part(document, name, text))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
