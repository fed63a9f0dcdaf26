"""Receiving, beside other receivers: ``python -m benchmarks.receive``.

Everybody makes the same promise: when the sender hears success, the bytes are fsynced (ours, pynetdicom and Orthanc
commit a row as well). They take turns; after every window the hash of each stored data set is compared with what was
sent. Prints megabytes and objects per second as medians, ratios, and the bars of the design.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, at_least
from benchmarks.dicom_sender import (
    CALLING_AE_TITLE,
    NotStoredError,
    Request,
    Shape,
    encode_request,
    fresh_uid,
    send_over_one_association,
    send_plainly,
)
from benchmarks.receivers import PDU_BYTES, RECEIVERS, NotHereError, Receiver, needed, running
from benchmarks.windows import Measured, in_turn

MOST_ROUNDS = 8
TEN_MEGABYTES, HALF_MEGABYTE = Shape(2500, 2000), Shape(500, 500)


@dataclass(frozen=True)
class Case:
    """One kind of traffic."""

    name: str
    shape: Shape
    associations: int
    objects: int
    """In each association."""
    sender: str = "sendfile"
    """Or ``storescu``, dcmtk's."""
    bars: tuple[tuple[str, float, float], ...] = ()
    """Of what, must and aim of ours divided by it, in objects per second (design/performance.md)."""

    @property
    def all_objects(self) -> int:
        """Return how many objects are sent in one window."""
        return self.associations * self.objects


CASES = (
    Case("10 MB, 1 association", TEN_MEGABYTES, 1, 8, bars=(("plain", 0.70, 0.90),)),
    Case("10 MB, 2 associations", TEN_MEGABYTES, 2, 4),
    Case(
        "10 MB, 4 associations", TEN_MEGABYTES, 4, 4,
        bars=(("dcmtk", 0.75, 1.1), ("pynetdicom", 2.5, 3.5), ("Orthanc", 3, 4)),
    ),
    Case("0.5 MB, 1 association", HALF_MEGABYTE, 1, 60, bars=(("dcmtk", 0.5, 0.8),)),
    Case("0.5 MB, 4 associations", HALF_MEGABYTE, 4, 30),
    Case("study of two 10 MB images", TEN_MEGABYTES, 1, 2, bars=(("dcmtk", 1 / 1.6, 1.0),)),
    Case("0.5 MB, storescu", HALF_MEGABYTE, 1, 60, "storescu"),
    Case("10 MB, storescu", TEN_MEGABYTES, 1, 4, "storescu"),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One case, all receivers."""

    case: Case
    measured: dict[str, Measured]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        per_second = {name: self.case.all_objects / found.median_seconds for name, found in self.measured.items()}
        return {
            "case": self.case.name,
            "objects_per_second": {name: round(value, 1) for name, value in per_second.items()},
            "megabytes_per_second": {
                name: round(value * self.case.shape.megabytes) for name, value in per_second.items()
            },
            "ratios": {
                name: round(per_second["ours"] / value, 2) for name, value in per_second.items() if name != "ours"
            },
            "bars": [
                at_least(f"{self.case.name}, ours / {name}", per_second["ours"] / per_second[name], bar).as_dict()
                for name, *bar in self.case.bars
                if name in per_second
            ],
            "noisy": any(found.noisy for found in self.measured.values()),
        }


class Traffic:
    """Sends one case to one receiver and holds what arrived against what was sent."""

    _serial = 0

    def __init__(self, case: Case, receiver: Receiver, folder: Path) -> None:
        self.case = case
        self.receiver = receiver
        self.folder = folder
        self.requests = [self._encode() for _ in range(case.all_objects)]
        self.sent = False

    def _encode(self) -> Request:
        Traffic._serial += 1
        return encode_request(self.case.shape, PDU_BYTES, Traffic._serial)

    def prepare(self) -> None:
        """Check what the window before stored, and give every object a new identity."""
        if self.sent and self.receiver.stored() != sorted(self._expected(request) for request in self.requests):
            raise NotStoredError(f"{self.receiver.name} stored other bytes than were sent ({self.case.name})")
        self.receiver.clear()
        self.sent = True
        Traffic._serial += 1 + len(self.requests)
        studies = [fresh_uid(-Traffic._serial - number) for number in range(self.case.associations)]
        for index, request in enumerate(self.requests):
            request.rename(studies[index % self.case.associations], fresh_uid(2 * (Traffic._serial - index)))
            if self.case.sender == "storescu":
                request.write_file(self.folder / f"{index}.dcm")

    def _expected(self, request: Request) -> str:
        return request.wire_sha256 if self.receiver.name == "plain" else request.data_set_sha256

    def send(self) -> None:
        """Send everything; what is timed."""
        if self.case.sender == "storescu":
            self._storescu()
            return
        address, title = self.receiver.address, self.receiver.ae_title
        with ThreadPoolExecutor(self.case.associations) as pool:
            parts = [self.requests[start :: self.case.associations] for start in range(self.case.associations)]
            if self.receiver.name == "plain":
                list(pool.map(partial(send_plainly, address), parts))
            else:
                list(pool.map(partial(send_over_one_association, address, title), parts))

    def _storescu(self) -> None:
        host, port = self.receiver.address
        command = [needed("storescu"), "-aet", CALLING_AE_TITLE, "-aec", self.receiver.ae_title, "-pdu", str(PDU_BYTES)]
        files = [str(self.folder / f"{index}.dcm") for index in range(len(self.requests))]
        done = subprocess.run([*command, host, str(port), *files], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotStoredError(f"storescu to {self.receiver.name}: {done.stderr[-500:]}")

    def close(self) -> None:
        """Let the memory go."""
        for request in self.requests:
            os.close(request.descriptor)


def rows(folder: Path, cases: Sequence[Case], names: Sequence[str], note: Callable[[str], None]) -> Iterator[Row]:
    """Measure every case on every receiver that this machine has."""
    with ExitStack() as stack:
        receivers = []
        for name in names:
            try:
                receivers.append(stack.enter_context(running(name, folder / name)))
            except NotHereError as error:
                note(f"{name}: not measured ({error})")
        for case in cases:
            yield _row(case, receivers, folder)


def _row(case: Case, receivers: list[Receiver], folder: Path) -> Row:
    able = [
        each
        for each in receivers
        if (each.name != "plain" or case.sender == "sendfile") and (each.name != "ours x2" or case.associations > 1)
    ]
    traffic = {each.name: Traffic(case, each, folder / each.name) for each in able}
    processes = [process.pid for each in able for process in each.processes]
    try:
        measured = in_turn(
            {name: each.send for name, each in traffic.items()},
            prepare=lambda name: traffic[name].prepare(),
            processes=processes,
            most_rounds=MOST_ROUNDS,
        )
        for each in traffic.values():
            each.prepare()  # checks the last window
    finally:
        for each in traffic.values():
            each.close()
    return Row(case, measured)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.receive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help=f"of {'; '.join(case.name for case in CASES)}; default: all")
    parser.add_argument("--receiver", action="append", choices=RECEIVERS, help="default: all; ours is always measured")
    parser.add_argument("--folder", type=Path, help="where objects are written; default: the system's temporary folder")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")
    arguments = parser.parse_args()
    cases = [case for case in CASES if not arguments.case or case.name in arguments.case]
    if not cases:
        parser.error("no such case; --help lists them")
    names = [name for name in RECEIVERS if not arguments.receiver or name in (*arguments.receiver, "ours")]
    found, notes = [], []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for row in rows(Path(folder), cases, names, notes.append):
            found.append(row.as_dict())
            if not arguments.json:
                print(_lines(found[-1]), flush=True)
    if arguments.json:
        json.dump(_summed_up(found) | {"notes": notes}, sys.stdout, indent=1)
    else:
        print(*notes, sep="\n")


def _summed_up(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row of objects per second for each case, the bars of all, and the ratios to each receiver."""
    names = list(dict.fromkeys(name for row in found for name in row["objects_per_second"]))
    rows = [
        {"objects per second": row["case"], "noisy": row["noisy"]}
        | {name: row["objects_per_second"].get(name) for name in names}
        for row in found
    ]
    ratios = [
        {"ours / peer": row["case"], "noisy": row["noisy"]}
        | {name: row["ratios"].get(name) for name in names if name != "ours"}
        for row in found
    ]
    return {"rows": rows, "bars": [bar for row in found for bar in row["bars"]], "tables": {"ratios": ratios}}


def _lines(row: dict[str, Any]) -> str:
    lines = [f"{row['case']}{'  (noisy)' if row['noisy'] else ''}"]
    for name, speed in row["objects_per_second"].items():
        ratio = f"   ours / {name} = {row['ratios'][name]}" if name in row["ratios"] else ""
        lines.append(f"    {name:<12}{row['megabytes_per_second'][name]:>7} MB/s {speed:>8} objects/s{ratio}")
    return "\n".join([*lines, *(f"    bar: {Bar(**bar)}" for bar in row["bars"])])


if __name__ == "__main__":
    main()
