"""Messages as hospital systems send them, for tests of what we receive."""

from __future__ import annotations

import itertools

_numbers = itertools.count(1)


def message(*segments: str, kind: str = "ADT^A08^ADT_A01", control_id: str = "", **header: str) -> bytes:
    """Return a message from a HIS; `header` replaces ``processing_id``, ``character_set``, ``accept``, ``application``.

    Parameters
    ----------
    control_id
        MSH-10; empty gives one that no other message of this test run has.
    """
    fields = [
        "MSH", "^~\\&", "HIS", "HOSPITAL", "CXRAI", "RAD", "20260302093000", "", kind,
        control_id or f"C{next(_numbers)}", header.get("processing_id", "P"), "2.5.1", "", "",
        header.get("accept", ""), header.get("application", ""), "", header.get("character_set", "UNICODE UTF-8"),
    ]  # fmt: skip
    return ("\r".join(["|".join(fields), *segments]) + "\r").encode()


def patient(
    identifier: str = "PHANTOM-1", name: str = "Phantom^Test", birth_date: str = "19600101", sex: str = "O"
) -> str:
    """Return a PID; `identifier` is the whole PID-3, `name` PID-5 in HL7's order."""
    cx = identifier if "^" in identifier else f"{identifier}^^^^PI"
    return f"PID|1||{cx}||{name}||{birth_date}|{sex}"


def update(pid: str, **fields: str) -> bytes:
    """Return an ADT^A08."""
    return message("EVN|A08|20260302093000", pid, "PV1|1|O", **fields)


def merge(pid: str, prior: str, **fields: str) -> bytes:
    """Return an ADT^A40: `prior` (MRG-1) now belongs to the patient of `pid`."""
    return message("EVN|A40|20260302093000", pid, f"MRG|{prior}", kind="ADT^A40^ADT_A39", **fields)


def report(
    pid: str, *, status: str = "F", accession: str = "", uid: str = "", filler: str = "RIS-1", **fields: str
) -> bytes:
    """Return an ORU^R01 with one report."""
    request = ["OBR", "1", "", filler, "36643-5^XR Chest 2 Views^LN", *[""] * 13, accession, *[""] * 6, status]
    study = [f"OBX|1|ST|113014^DICOM Study^DCM||{uid}||||||O"] if uid else []
    text = "OBX|9|TX|59776-5^Procedure findings^LN||No pneumothorax.||||||F"
    return message(pid, "|".join(request), *study, text, kind="ORU^R01^ORU_R01", **fields)
