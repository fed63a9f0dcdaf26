"""The worker's reading of damaged files in a process of its own, under limits: ``fuzz_child.py SEED FIRST COUNT``.

One JSON line for each case. A case that takes more processor time than allowed ends the process by SIGPROF, one that
asks for more memory gets none; a native crash ends it as crashes do. The parent sees which case was the last.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from fuzz_limits import limited, timed
from mutations import damaged_copy

from dicom_io.data_sets.dicom_file import read_dicom_file
from dicom_io.foundation.reasons import UndecodableError
from dicom_io.pixels import half_resolution
from dicom_io.pixels.fidelity import Decoding
from dicom_io.pixels.radiograph import read_radiograph
from dicom_io.selection.decision import SelectionRules, judge_tags
from model.preprocess import to_uint8_224

CPU_SECONDS_PER_CASE = 20.0
half_resolution.SHORTEST_SIDE_PX = 16  # small sources too
TODAY = date(2026, 3, 2)


def outcome(path: Path) -> str:
    """Read a file as the worker does; return ``read`` or the reason code. Anything else is raised."""
    try:
        dataset = read_dicom_file(path)
        judge_tags(dataset, SelectionRules(), TODAY)
        radiograph = read_radiograph(dataset)
        fast = read_radiograph(dataset, Decoding.FAST)
    except UndecodableError as error:
        return str(error.reason_code)
    assert radiograph.pixels.dtype == np.uint8
    assert radiograph.pixels.shape == (radiograph.rows, radiograph.columns)
    assert fast.pixels.shape == radiograph.pixels.shape
    assert to_uint8_224(radiograph.pixels).shape == (224, 224)
    return "read"


def peak_bytes() -> int:
    """Return this program's own peak of resident memory; what getrusage says begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


def main(seed: int, first: int, count: int) -> None:
    limited()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.dcm"
        for case in range(first, first + count):
            source, raw = damaged_copy(seed, case)
            path.write_bytes(raw)
            started = time.process_time()
            timed(CPU_SECONDS_PER_CASE)
            try:
                found = outcome(path)
            except Exception as error:  # noqa: BLE001 # whatever it is, it is the finding
                found = f"unnamed: {source}, case {case}: {type(error).__name__}: {error}"
            timed(0)
            line = {
                "outcome": found, "seconds": time.process_time() - started,
                "peak_bytes": peak_bytes(),
            }  # fmt: skip
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
