"""Runs the benchmarks one after the other and writes ``benchmarks/RESULTS.md``: ``python -m benchmarks [NAME ...]``.

A benchmark that ends badly, or whose programs are missing, is named in the file as not measured, with the reason. Runs
of single benchmarks replace their part of the file; the others stay as they were, each with its own date and machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.document import part, with_part
from benchmarks.programs import program_of_machine

RESULTS = Path(__file__).with_name("RESULTS.md")
ROOT = RESULTS.parent.parent
BENCHMARKS = ("receive", "analyse", "processes", "network", "end_to_end", "worklist", "training")
LIBRARIES = ("pynetdicom", "pydicom", "imagecodecs", "openvino", "torch", "numpy", "sqlalchemy", "celery")
ARITHMETIC = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
"""What the processor's flags say of its arithmetic."""


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
        if path := program_of_machine(name):
            lines = subprocess.run([path, *arguments], capture_output=True, text=True, check=False).stdout.split("\n")
            found.append(lines[0].replace(path, name).strip("$ "))
    return "".join(f", {text}" for text in found)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def run(name: str, arguments: list[str]) -> dict[str, Any] | str:
    """Return what the benchmark found, or why nothing was measured."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout[max(done.stdout.find("{"), 0) :])
    except ValueError:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        return f"not measured: it ended with status {done.returncode} ({last[:200]})"
    return found


def main() -> None:
    """Run what was asked for and write the file after each."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        arguments.output.write_text(with_part(document, name, text, BENCHMARKS))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
