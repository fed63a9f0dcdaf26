"""docs/ups.md names every key, status, service and state of the worklist of workitems, and its example is one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from dicom_io.ups.events import EventType
from dicom_io.ups.service import UPS_CLASSES
from dicom_io.ups.status import MEANINGS
from dicom_io.ups.workitem import INTERPRETATION, NOT_ANALYSED_LABEL
from worker.settings.config import load_settings
from worker.settings.ups import Ups

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "ups.md").read_text(encoding="utf-8")


def first_cells(header: str) -> list[str]:
    """Return the first cells of the table under the line that starts with `header`."""
    lines = TEXT[TEXT.index(header) :].splitlines()[2:]
    table = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [line.split("|")[1].strip() for line in table]


def test_every_status_is_listed_with_its_meaning() -> None:
    listed = re.findall(r"^\| 0x([0-9A-F]{4}) \| (.+) \|$", TEXT, re.MULTILINE)
    assert {int(status, 16): meaning for status, meaning in listed} == {int(s): m for s, m in MEANINGS.items()}


def test_every_key_is_described_and_the_example_is_a_configuration(tmp_path: Path) -> None:
    assert [cell.strip("`") for cell in first_cells("| Key |")] == list(Ups.model_fields)
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    ups = load_settings(data_dir=tmp_path, **tomllib.loads(example)).ups
    assert ups is not None
    assert [peer.receiver() is not None for peer in ups.peers] == [False, True]


def test_codes_labels_events_and_classes_are_those_of_the_code() -> None:
    flowing = " ".join(TEXT.split())
    assert f"{INTERPRETATION.value} {INTERPRETATION.scheme_designator} {INTERPRETATION.meaning}" in flowing
    assert f"`{NOT_ANALYSED_LABEL}`" in flowing
    assert all(f"({kind.value})" in flowing or f"type {kind.value}" in flowing for kind in EventType)
    statement = (DOCS / "conformance.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| Unified Procedure Step Push.*$", statement, re.MULTILINE)
    assert UPS_CLASSES[0] in row
    assert all(uid[uid.rindex(".") :] in row for uid in UPS_CLASSES)
