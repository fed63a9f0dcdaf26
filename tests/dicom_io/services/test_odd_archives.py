"""Archives that accept associations oddly, or fall silent within an answer: each ends in words, and in time."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from factories import chest_radiograph, drawn_chest, write_dicom
from numpy.typing import NDArray
from odd_archive import Deed, accepting, odd_archive, read_pdu
from pdu_mutations import A_ABORT, A_RELEASE_RQ, DX, encoded_command
from pydicom.dataset import Dataset
from storage_ends import encode
from store_pdus import COMMAND, LAST, fragment, pdu

from dicom_io.associations.client import ScuSettings
from dicom_io.services.query import STUDY_ROOT_FIND, querying
from dicom_io.services.storage_scu import SendOutcome, send

PATIENCE_SECONDS = 2.0
PATIENCE = ScuSettings(acse_timeout_seconds=20, dimse_timeout_seconds=PATIENCE_SECONDS)
SILENCE_SECONDS = 30.0
"""Longer than anybody waits here."""


def sent(deed: Deed, folder: Path, pixels: NDArray[np.uint16] | None = None) -> SendOutcome:
    path = write_dicom(chest_radiograph(pixels), folder / "image.dcm")
    with odd_archive(deed) as peer:
        began = time.monotonic()
        (outcome,) = send(peer, [path], "CXRAI", PATIENCE)
        assert time.monotonic() - began < SILENCE_SECONDS / 2
    assert not outcome.accepted
    return outcome


def test_a_context_accepted_without_a_transfer_syntax_is_not_accepted(tmp_path: Path) -> None:
    def deed(connection: socket.socket) -> None:
        connection.sendall(accepting(read_pdu(connection), transfer_syntax=False))
        read_pdu(connection)

    outcome = sent(deed, tmp_path)
    assert "does not accept Digital X-Ray Image Storage" in outcome.comment


@pytest.mark.parametrize("most_bytes", [1, 6, 8, 20])
def test_an_archive_that_takes_next_to_nothing_at_a_time_is_not_sent_to(tmp_path: Path, most_bytes: int) -> None:
    def deed(connection: socket.socket) -> None:
        length = struct.pack(">BxHI", 0x51, 4, most_bytes)
        connection.sendall(accepting(read_pdu(connection), user_information=length))
        read_pdu(connection)

    outcome = sent(deed, tmp_path)
    assert (outcome.unreachable, outcome.comment) == (
        True, f"ODD takes no more than {most_bytes} bytes at a time, which is too little to send anything",
    )  # fmt: skip


@pytest.mark.parametrize(("most_bytes", "longest"), [(4097, 4096), (16384, 16384), (65535, 65534)])
def test_an_archive_that_takes_an_odd_number_of_bytes_gets_fragments_of_even_length(
    tmp_path: Path, most_bytes: int, longest: int
) -> None:
    """Archives with dcmtk's network layer end the association over an odd one, unless it is theirs that said so."""
    pdus: list[bytes] = []

    def deed(connection: socket.socket) -> None:
        length = struct.pack(">BxHI", 0x51, 4, most_bytes)
        connection.sendall(accepting(read_pdu(connection), user_information=length))
        while not (pdus and pdus[-1][11] == 2):  # the last fragment of a data set
            pdus.append(read_pdu(connection))

    sent(deed, tmp_path, drawn_chest(512))
    values = [len(pdu) - 12 for pdu in pdus]
    assert max(len(pdu) - 6 for pdu in pdus) == longest
    assert [value for value in values if value % 2] == []


def test_a_rejection_for_no_known_reason_is_one_at_once(tmp_path: Path) -> None:
    def deed(connection: socket.socket) -> None:
        read_pdu(connection)
        connection.sendall(b"\3\0\0\0\0\4\0\7\7\7")
        time.sleep(SILENCE_SECONDS)

    assert sent(deed, tmp_path).unreachable


@pytest.mark.parametrize("beginning", [struct.pack(">BxI", 4, 0xFFFFFFFF), struct.pack(">BxI", 4, 90), b"\4\0\0"])
def test_an_answer_that_breaks_off_is_waited_for_no_longer_than_one_that_does_not_come(
    tmp_path: Path, beginning: bytes
) -> None:
    """The line may have died within it."""

    def deed(connection: socket.socket) -> None:
        connection.sendall(accepting(read_pdu(connection)))
        read_pdu(connection)
        connection.sendall(beginning)
        time.sleep(SILENCE_SECONDS)

    assert sent(deed, tmp_path).unanswered


def response(field: int, sop_class_uid: str, status: int, *, data_set: bool = False) -> bytes:
    """Return the value of a response to the first request."""
    numbers = {0x0100: field, 0x0120: 1, 0x0800: 0x0001 if data_set else 0x0101, 0x0900: status}
    elements = [(number, struct.pack("<H", value)) for number, value in numbers.items()]
    return fragment(COMMAND | LAST, encoded_command(sorted([(0x0002, sop_class_uid.encode()), *elements])))


def match(accession_number: str) -> bytes:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.AccessionNumber = "STUDY", accession_number
    return fragment(LAST, encode(identifier))


def test_an_archive_may_put_all_its_answers_into_one_pdu() -> None:
    """PS3.8 annex E: what ends one message and begins the next may lie in the same P-DATA-TF PDU."""
    pending = response(0x8020, STUDY_ROOT_FIND, 0xFF00, data_set=True)
    answers = pdu(pending, match("A1"), pending, match("A2"), response(0x8020, STUDY_ROOT_FIND, 0x0000))

    def deed(connection: socket.socket) -> None:
        connection.sendall(accepting(read_pdu(connection)))
        while read_pdu(connection)[11] != LAST:
            continue
        connection.sendall(answers)
        read_pdu(connection)

    with odd_archive(deed) as peer, querying(peer, "CXRAI", PATIENCE) as query:
        assert [found.AccessionNumber for found in query.find("STUDY", PatientID="1")] == ["A1", "A2"]


@pytest.mark.parametrize("ending", [A_ABORT, A_RELEASE_RQ, b""], ids=["abort", "release", "hung up"])
def test_an_archive_that_ends_right_behind_its_answer_has_the_object(tmp_path: Path, ending: bytes) -> None:
    def deed(connection: socket.socket) -> None:
        connection.sendall(accepting(read_pdu(connection)))
        while read_pdu(connection)[11] != LAST:
            continue
        connection.sendall(pdu(response(0x8001, DX, 0x0000)) + ending)

    path = write_dicom(chest_radiograph(), tmp_path / "image.dcm")
    with odd_archive(deed) as peer:
        (outcome,) = send(peer, [path], "CXRAI", PATIENCE)
    assert (outcome.status, outcome.accepted) == (0x0000, True)
