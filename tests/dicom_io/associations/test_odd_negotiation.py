"""Association requests as devices write them and as later editions of the standard may: what can be understood is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import chest_radiograph
from pdu_mutations import DX, EXPLICIT, IMPLICIT, VERIFICATION, associate_request, command
from pynetdicom.pdu import A_ASSOCIATE_AC
from storage_ends import FolderReceiver, encode, listeners

from dicom_io.services.storage_scp import StorageScp

ACCEPTED, REJECTED, ABORTED = 2, 3, 7
"""First byte of the PDU that answers (PS3.8 9.3)."""
CONTEXTS = ((1, VERIFICATION, (IMPLICIT,)), (3, DX, (EXPLICIT,)))
TITLES_AT, TITLE_BYTES = 10, 16
APPLICATION = b"1.2.840.10008.3.1.1.1"


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StorageScp]:
    with listeners(FolderReceiver(tmp_path / "instances")) as start:
        yield start()


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def with_user_information(*more: bytes) -> bytes:
    """Return a request whose User Information Item, the last, has these sub-items as well."""
    request, added = bytearray(associate_request(proposed=CONTEXTS)), b"".join(more)
    place = request.rindex(b"\x50\x00", 0, request.index(item(0x52, b"1.2.3.4")))
    (length,) = struct.unpack_from(">H", request, place + 2)
    struct.pack_into(">H", request, place + 2, length + len(added))
    struct.pack_into(">I", request, 2, len(request) + len(added) - 6)
    return bytes(request) + added


def with_titles(called: bytes, calling: bytes) -> bytes:
    request = associate_request(proposed=CONTEXTS)
    return request[:TITLES_AT] + called + calling + request[TITLES_AT + 2 * TITLE_BYTES :]


def with_version(version: int) -> bytes:
    request = associate_request(proposed=CONTEXTS)
    return request[:6] + struct.pack(">H", version) + request[8:]


def answer(scp: StorageScp, request: bytes, echo_over: int = 1) -> bytes:
    """Return what answers the request, and where it was accepted, see that a C-ECHO is answered over that context."""
    with socket.create_connection(scp.address, timeout=10) as connection:
        connection.sendall(request)
        first = connection.recv(1 << 16)
        if first[:1] == bytes([ACCEPTED]):
            value = command(0x0030, VERIFICATION)
            connection.sendall(struct.pack(">BxIIBB", 4, len(value) + 6, len(value) + 2, echo_over, 3) + value)
            echoed = connection.recv(1 << 16)
            assert (echoed[0], echoed[10]) == (4, echo_over)
        return first


@pytest.mark.parametrize(
    "sub_item",
    [
        item(0x99, b"of a later edition"), item(0x5A, b""), item(0x58, b"\7\1\0\4user\0\0"), item(0x58, b"\2"),
        item(0x55, b"A_VERSION_NAME_LONGER_THAN_16"), item(0x55, b""), item(0x53, b"\0"), item(0x56, b"\0\3"),
    ],
    ids=["unknown", "unknown and empty", "kind of identity unknown", "identity cut short", "version name too long",
         "version name empty", "window cut short", "extended negotiation cut short"],
)  # fmt: skip
def test_user_information_that_nobody_here_reads_does_no_harm(scp: StorageScp, sub_item: bytes) -> None:
    assert answer(scp, with_user_information(sub_item))[0] == ACCEPTED


@pytest.mark.parametrize("junk", [b"", b"\0junk", b"\xff\xfe"])
def test_a_title_ends_where_a_device_ends_it(scp: StorageScp, junk: bytes) -> None:
    """As a text of C is ended; PS3.8 9.3.2 has spaces."""
    called, calling = (name + b"\0" + junk.ljust(TITLE_BYTES - len(name) - 1, b"\0") for name in (b"CXRAI", b"CR ROOM"))
    assert answer(scp, with_titles(called, calling))[0] == ACCEPTED


def test_another_title_is_rejected_however_it_ends(scp: StorageScp) -> None:
    rejected = answer(scp, with_titles(b"CXRAI2".ljust(TITLE_BYTES, b"\0"), b"CR".ljust(TITLE_BYTES)))
    assert (rejected[0], rejected[7:10]) == (REJECTED, b"\1\1\7")


@pytest.mark.parametrize(
    ("called", "calling", "rejected"),
    [
        (b"CXRAI", b"", b"\1\1\3"), (b"", b"CR", b"\1\1\7"), (b"CXRAI", b"\0", b"\1\1\3"),
        (b"CXR\xc4I", b"CR", b"\1\1\7"),
    ],
    ids=["calling blank", "called blank", "calling empty as a text of C", "called not ASCII"],
)  # fmt: skip
def test_a_title_that_is_none_is_rejected_and_not_aborted(
    scp: StorageScp, called: bytes, calling: bytes, rejected: bytes
) -> None:
    """PS3.8 9.3.2: sixteen spaces are no title. Unknown callers may send here; one must be named all the same."""
    answered = answer(scp, with_titles(called.ljust(TITLE_BYTES), calling.ljust(TITLE_BYTES)))
    assert (answered[0], answered[7:10]) == (REJECTED, rejected)


def test_a_title_with_a_letter_that_ascii_lacks_is_one_of_an_unknown_caller(scp: StorageScp) -> None:
    assert answer(scp, with_titles(b"CXRAI".ljust(TITLE_BYTES), b"R\xd6NTGEN".ljust(TITLE_BYTES)))[0] == ACCEPTED


def with_application(name: bytes) -> bytes:
    """Return a request whose first item names another application context."""
    request = associate_request(proposed=CONTEXTS)
    _, behind = request.split(item(0x10, APPLICATION))
    named = request[: len(request) - len(behind) - len(item(0x10, APPLICATION))] + item(0x10, name) + behind
    return named[:2] + struct.pack(">I", len(named) - 6) + named[6:]


@pytest.mark.parametrize("name", [b"1.2.840.10008.3.1.1.2", b"", b"DICOM"])
def test_another_application_is_rejected(scp: StorageScp, name: bytes) -> None:
    """PS3.8 9.3.4: reason 2, application context name not supported."""
    rejected = answer(scp, with_application(name))
    assert (rejected[0], rejected[7:10]) == (REJECTED, b"\1\1\2")


@pytest.mark.parametrize("name", [APPLICATION, APPLICATION + b"\0", APPLICATION + b" "])
def test_the_application_is_known_however_its_name_is_padded(scp: StorageScp, name: bytes) -> None:
    assert answer(scp, with_application(name))[0] == ACCEPTED


@pytest.mark.parametrize(("version", "first"), [(1, ACCEPTED), (3, ACCEPTED), (0x8001, ACCEPTED), (2, REJECTED)])
def test_of_the_protocol_version_only_the_lowest_bit_counts(scp: StorageScp, version: int, first: int) -> None:
    """PS3.8 9.3.2: a receiver of version 1 tests nothing else."""
    assert answer(scp, with_version(version))[0] == first


@pytest.mark.parametrize(
    ("most_bytes", "first"), [(1, REJECTED), (6, REJECTED), (7, REJECTED), (128, ACCEPTED), (0, ACCEPTED)]
)
def test_a_sender_that_takes_next_to_nothing_at_a_time_is_rejected(
    scp: StorageScp, most_bytes: int, first: int
) -> None:
    """No answer to it could be sent, and what it sends would be stored without its knowing."""
    request = associate_request(proposed=CONTEXTS)
    stated, changed = (item(0x51, struct.pack(">I", length)) for length in (131072, most_bytes))
    assert request.count(stated) == 1
    assert answer(scp, request.replace(stated, changed))[0] == first


def test_an_archive_may_say_more_than_we_know(scp: StorageScp) -> None:
    accepted = answer(scp, with_user_information())
    more = item(0x99, b"of a later edition")
    place = accepted.rindex(b"\x50\x00")
    (length,) = struct.unpack_from(">H", accepted, place + 2)
    read = A_ASSOCIATE_AC()
    read.decode(accepted[: place + 2] + struct.pack(">H", length + len(more)) + accepted[place + 4 :] + more)
    assert read.user_information.maximum_length == scp.settings.maximum_pdu_bytes


@pytest.mark.parametrize("first", [0, 2, 254])
def test_contexts_may_have_even_numbers(scp: StorageScp, first: int) -> None:
    """PS3.8 9.3.2.2 wants odd ones; dcmtk's receivers, Orthanc among them, take any, and so devices may have them."""
    other = first - 2 if first else 4
    proposed = ((first, VERIFICATION, (IMPLICIT,)), (other, DX, (EXPLICIT,)))
    accepted = A_ASSOCIATE_AC()
    accepted.decode(answer(scp, associate_request(proposed=proposed), echo_over=first))
    assert sorted((item.context_id, item.result) for item in accepted.presentation_context) == sorted(
        [(first, 0), (other, 0)]
    )


@pytest.mark.parametrize("number", [4, 5])
def test_an_object_arrives_over_a_context_of_any_number(scp: StorageScp, number: int, tmp_path: Path) -> None:
    dataset = chest_radiograph()
    request, data = associate_request(proposed=((number, DX, (EXPLICIT,)),)), encode(dataset)
    with socket.create_connection(scp.address, timeout=10) as connection:
        connection.sendall(request)
        assert connection.recv(1 << 16)[0] == ACCEPTED
        store = command(0x0001, DX, str(dataset.SOPInstanceUID), data_set=True)
        for control, value in ((3, store), (2, data)):
            connection.sendall(struct.pack(">BxIIBB", 4, len(value) + 6, len(value) + 2, number, control) + value)
        answered = connection.recv(1 << 16)
    assert (answered[0], answered[10]) == (4, number)
    assert len(list((tmp_path / "instances").rglob("*.dcm"))) == 1
