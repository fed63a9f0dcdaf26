"""docs/hl7.md describes the message that is sent: every field, every observation, every key, and its example."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hl7apy.v2_5_1 import SEGMENTS
from pydicom.dataset import Dataset
from reports import report_on, source_radiograph

from hl7_io.addressing import Addressing
from hl7_io.announcement import Announcement
from hl7_io.observation_report import build_observation_report, control_id
from hl7_io.reading import Message, read_message
from worker.runs.announcement import CRITICAL
from worker.settings.hl7 import Hl7Destination
from worker.settings.hl7_listener import Hl7Listener

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hl7.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(header: str, text: str = TEXT) -> list[list[str]]:
    """Return the cells of the table under the line that starts with `header`."""
    lines = text[text.index(header) :].splitlines()[2:]
    table = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def everything() -> bytes:
    """Return a message about a study whose images state all that a message can carry."""
    order, issuer = Dataset(), Dataset()
    issuer.LocalNamespaceEntityID = "HIS"
    order.AccessionNumber, order.RequestedProcedureID = "ACC0001", "RP-1"
    order.PlacerOrderNumberImagingServiceRequest = "PLACER-1"
    order.OrderPlacerIdentifierSequence = [issuer]
    source = source_radiograph(
        PatientName="Phantom^Test", IssuerOfPatientID="HOSP", PatientBirthDate="19600101", PatientSex="O",
        ReferringPhysicianName="Refer^Ring^^Dr", RequestingPhysician="Request^Ing", AdmissionID="ADM-1",
        RequestAttributesSequence=[order],
    )  # fmt: skip
    announcement = Announcement(report_on(source), [source], "STAT", CRITICAL, ("Mass",))
    to = Addressing("CXRAI", "RADIOLOGY", "RIS", "HOSPITAL^2.999.7^ISO")
    return build_observation_report(announcement, to, control_id("example"))


def filled(message: Message) -> set[str]:
    return {
        f"{segment.name}-{number}"
        for segment in message.segments
        for number, value in enumerate(segment.fields)
        if number and value
    }


def example() -> str:
    return everything().decode().replace("\r", "\n").strip()


def test_every_field_that_is_filled_is_described_and_no_other() -> None:
    described = [field for field, _ in rows("| Field | Content |")]
    assert len(set(described)) == len(described)
    assert set(described) == filled(read_message(everything()))
    order = {name: place for place, name in enumerate(("MSH", "PID", "PV1", "ORC", "OBR", "TQ1", "OBX"))}
    assert described == sorted(described, key=lambda f: (order[f.split("-")[0]], int(f.split("-")[1])))


def test_every_field_described_exists_in_the_grammar_and_its_required_ones_are_filled() -> None:
    described = {field for field, _ in rows("| Field | Content |")}
    for segment in {field.split("-")[0] for field in described}:
        known = {row[0].replace("_", "-"): row[2][0] for row in SEGMENTS[segment][1]}
        assert {field for field in described if field.startswith(segment)} <= set(known)
        required = {field for field, least in known.items() if least}
        assert required <= described, f"{required - described} must stand in every {segment}"


def test_every_observation_is_described_with_its_type() -> None:
    sent = {
        ("^".join(observation.text(3, number) for number in (1, 2, 3)), observation.text(2))
        for observation in read_message(everything()).all("OBX")
    }
    assert {(what, kind) for what, kind, _ in rows("| OBX-3 | OBX-2 |")} == sent


def test_every_key_of_both_configurations_is_described() -> None:
    out, into = TEXT.split("## In: ADT")
    for text, model in ((out, Hl7Destination), (into, Hl7Listener)):
        described = {key for row in rows("| Key | Meaning |", text) for key in re.findall(r"`(\w+)`", row[0])}
        assert described == set(model.model_fields)


def test_the_example_is_what_is_sent() -> None:
    program = "PYTHONPATH=tests/support/documents python tests/house/test_hl7_docs.py"
    found = re.search(r"```hl7\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    assert found.group(1).strip() == example(), f"run `{program}` and look at the difference"


if __name__ == "__main__":  # puts the example into the page
    sys.stdout.write(f"{PAGE}\n")
    PAGE.write_text(re.sub(r"```hl7\n.*?```", lambda _: f"```hl7\n{example()}\n```", TEXT, flags=re.DOTALL))
