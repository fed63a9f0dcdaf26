"""C-STORE requests read and served directly: the same requests and the same answers as pynetdicom's own."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from factories import chest_radiograph
from pynetdicom import evt
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from storage_ends import DX, FolderReceiver, associate, encode, store_bytes

from dicom_io.associations import streaming
from dicom_io.associations.store_request import PlainStore, plain_request
from dicom_io.services.storage_scp import ScpSettings, StorageScp
from dicom_io.storing.instance_store import INCOMING_FOLDER, StorageFull
from dicom_io.storing.receiving import ReceiverUnavailable

Elements = dict[int, bytes]


def ordinary(draw: random.Random) -> Elements:
    """Return the values of a request as senders write them."""

    def number(*choices: int) -> bytes:
        return struct.pack("<H", draw.choice(choices or (draw.randrange(65536),)))

    def uid(value: str) -> bytes:
        return value.encode() + b"\0" * (len(value) % 2)

    elements = {
        0x0002: uid(draw.choice([DX, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.33"])),
        0x0100: number(1),
        0x0110: number(),
        0x0700: number(0, 1, 2),
        0x0800: number(0, 1, 0x0102, 0x0100),
        0x1000: uid("1.2." + "3" * draw.randrange(1, 60)),
    }
    if draw.random() < 0.4:
        elements |= {0x1030: draw.choice([b"MOVER   ", b"PACS_1", b"A"]), 0x1031: number()}
    return elements


def encoded(elements: Elements) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements.items())
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def as_pynetdicom_reads_it(command: bytes) -> C_STORE:
    message, fragment = DIMSEMessage(), P_DATA()
    fragment.presentation_data_value_list = [[1, b"\x03" + command]]
    message.decode_msg(fragment)
    primitive = message.message_to_primitive()
    assert isinstance(primitive, C_STORE)
    return primitive


def known_of(primitive: C_STORE) -> dict[str, Any]:
    names = (*C_STORE.REQUEST_KEYWORDS[:-1], "MoveOriginatorApplicationEntityTitle", "MoveOriginatorMessageID")
    return {name: (type(value := getattr(primitive, name)), value) for name in (*names, "Status", "ErrorComment")}


@pytest.mark.parametrize("seed", range(60))
def test_an_ordinary_request_is_read_as_pynetdicom_reads_it(seed: int) -> None:
    command = encoded(ordinary(random.Random(seed)))
    request = plain_request(command)
    assert request is not None and request.is_valid_request is False  # its data set is still to come
    assert known_of(request) == known_of(as_pynetdicom_reads_it(command))


def odd_commands() -> dict[str, bytes]:
    draw = random.Random(5)
    plain = ordinary(draw) | {0x1030: b"MOVER ", 0x1031: b"\1\0"}
    changed = {
        "an unknown element": {0x0005: b"ab"},
        "another field": {0x0100: b"\x30\0"},
        "no data set": {0x0800: b"\1\1"},
        "a number of one byte": {0x0110: b"\1"},
        "two numbers": {0x0110: b"\1\0\2\0"},
        "an originator's number of none": {0x1031: b""},
        "no UID": {0x1000: b""},
        "a UID that leads out of a folder": {0x1000: b"../../etc/x"},
        "two UIDs": {0x1000: b"1.2\\1.3 "},
        "a UID with a space": {0x1000: b"1.2.3 "},
        "a class of another service": {0x0002: b"1.2.840.10008.1.1\0"},
        "an unknown class": {0x0002: b"1.2.3\0"},
        "a title with control characters": {0x1030: b"A\x1b[1m "},
        "an empty title": {0x1030: b"  "},
    }
    found = {name: encoded(dict(sorted((plain | change).items()))) for name, change in changed.items()}
    for tag in (0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000):
        found[f"without {tag:04X}"] = encoded({key: value for key, value in plain.items() if key != tag})
    whole = encoded(plain)
    return found | {
        "out of order": encoded(dict(reversed(plain.items()))),
        "twice": whole + struct.pack("<HHI", 0, 0x1031, 2) + b"\1\0",
        "another group": whole + struct.pack("<HHI", 8, 0x1050, 2) + b"\1\0",
        "cut short": whole[:-1],
        "a piece of a head behind it": whole + b"\0\0\0",
        "a length beyond the end": whole[:-6] + struct.pack("<I", 0xFFFFFFFF) + whole[-2:],
        "nothing": b"",
    }


@pytest.mark.parametrize("priority", [b"", b"\7\0", b"\xff\xff", b"\2\0\0\0"])
def test_a_priority_that_is_none_is_read_as_medium(priority: bytes) -> None:
    """pynetdicom ends the association over it; no archive of dcmtk's does."""
    request = plain_request(encoded(ordinary(random.Random(5)) | {0x0700: priority}))
    assert request is not None and request.Priority == 0


def test_a_move_originator_may_end_in_nul() -> None:
    odd = encoded(dict(sorted((ordinary(random.Random(5)) | {0x1030: b"MOVER\0\0\0", 0x1031: b"\1\0"}).items())))
    request = plain_request(odd)
    assert request is not None and request.MoveOriginatorApplicationEntityTitle == "MOVER"


@pytest.mark.parametrize("command", odd_commands().values(), ids=odd_commands())
def test_whatever_is_odd_is_left_to_pynetdicom(command: bytes) -> None:
    assert plain_request(command) is None


def test_a_sender_of_ever_new_sop_classes_fills_no_memory() -> None:
    senders = 4000
    tracemalloc.start()
    try:
        for number in range(10_000, 10_000 + senders):
            request = encoded(ordinary(random.Random(7)) | {0x0002: f"1.2.{number}.1".encode()})
            assert plain_request(request) is None  # no service of ours
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes < 15 * senders


@pytest.mark.parametrize(
    "trouble", [None, StorageFull("no room", Path("x")), ReceiverUnavailable("away"), ValueError()]
)
@pytest.mark.parametrize("fault", ["", "cut short", "another class"])
def test_a_sender_hears_the_same_whoever_reads_its_request(tmp_path: Path, monkeypatch, trouble, fault) -> None:
    answers = []
    dataset = chest_radiograph()
    content = encode(dataset)[:-100] if fault == "cut short" else encode(dataset)
    sop_class_uid = "1.2.840.10008.5.1.4.1.1.1" if fault == "another class" else str(DX)
    for read in (plain_request, lambda command: None):
        monkeypatch.setattr(streaming, "plain_request", read)
        receiver = FolderReceiver(tmp_path / f"{len(answers)}")
        receiver.trouble = trouble
        folder = receiver.store.root / INCOMING_FOLDER
        scp = StorageScp(ScpSettings("CXRAI", port=0, accept_unknown_callers=True, spool_folder=folder), receiver)
        served: list[type] = []
        monkeypatch.setattr(scp, "_store", seeing(scp._store, served))
        scp.start()
        try:
            association = associate(scp, (sop_class_uid, "1.2.840.10008.1.2.1"))
            heard = [store_bytes(association, content, sop_class_uid, dataset.SOPInstanceUID) for _ in range(2)]
            answers.append([(one.Status, one.get("ErrorComment")) for one in heard])
            association.release()
        finally:
            scp.stop()
        assert served == [PlainStore if read is plain_request else C_STORE] * 2
        assert not list(folder.iterdir())
    assert answers[0] == answers[1]


def seeing(store: Any, served: list[type]) -> Any:
    def see(event: evt.Event) -> object:
        served.append(type(event.request))
        return store(event)

    return see
