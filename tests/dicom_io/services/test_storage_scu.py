from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import replace

import pydicom
import pytest
from archive_line import ArchiveLine
from certificates import certificate_files
from factories import chest_radiograph, computed_radiograph, write_dicom
from orthanc import need
from peers import running_pacs
from pydicom.uid import DigitalXRayImageStorageForPresentation, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification

from dicom_io.associations.client import associate
from dicom_io.associations.keeper import AssociationKeeper, Keeping
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import ScuSettings, classify, echo, send

IMPATIENT = ScuSettings(
    connection_timeout_seconds=2, acse_timeout_seconds=2, dimse_timeout_seconds=1, network_timeout_seconds=2
)


@pytest.fixture
def files(tmp_path):
    return [write_dicom(chest_radiograph(), tmp_path / f"{index}.dcm") for index in range(3)]


def uid(path):
    return pydicom.dcmread(path).SOPInstanceUID


def test_files_arrive_byte_for_byte_over_one_association(files):
    with running_pacs() as pacs:
        outcomes = send(pacs.peer, files, "CXRAI")
        assert [(outcome.path, outcome.status, outcome.accepted) for outcome in outcomes] == [
            (path, 0, True) for path in files
        ]
        assert pacs.associations == 1
        assert pacs.arrivals[0].calling_ae_title == "CXRAI"
        for path, arrival in zip(files, pacs.arrivals, strict=True):
            assert arrival.dataset == pydicom.dcmread(path)
            assert arrival.file_bytes[-10_000:] == path.read_bytes()[-10_000:]


def test_compressed_and_plain_objects_go_together(tmp_path, files):
    deflated = write_dicom(computed_radiograph(TransferSyntaxUID="1.2.840.10008.1.2.1.99"), tmp_path / "d.dcm")
    with running_pacs() as pacs:
        assert all(outcome.accepted for outcome in send(pacs.peer, [*files, deflated], "CXRAI"))
        assert pacs.arrivals[-1].transfer_syntax_uid == "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize(
    ("status", "accepted", "permanent"),
    [
        (0x0000, True, False),
        (0xB000, True, False),
        (0xB007, True, False),
        (0x0001, True, False),
        (0x0107, True, False),
        (0x0116, True, False),
        (0x0111, True, False),
        (0xA700, False, False),
        (0x0110, False, False),
        (0xA900, False, True),
        (0xC000, False, True),
        (0xCFFF, False, True),
        (0x0122, False, True),
        (0x0124, False, True),
    ],
)
def test_each_status_has_its_class(files, status, accepted, permanent):
    assert classify(status) == (accepted, permanent)
    with running_pacs(status=lambda sop_class, sop_instance: status) as pacs:
        [outcome] = send(pacs.peer, files[:1], "CXRAI")
    assert (outcome.status, outcome.accepted, outcome.permanent) == (status, accepted, permanent)


def test_one_refused_object_does_not_stop_the_others(files):
    refused = uid(files[1])
    with running_pacs(status=lambda _, sop_instance: 0xC000 if sop_instance == refused else 0) as pacs:
        assert [outcome.accepted for outcome in send(pacs.peer, files, "CXRAI")] == [True, False, True]


def test_a_class_the_peer_does_not_take_is_permanent_and_the_rest_goes_through(tmp_path, files):
    report = write_dicom(chest_radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34"), tmp_path / "sr.dcm")
    with running_pacs(sop_classes=["1.2.840.10008.5.1.4.1.1.1.1"]) as pacs:
        refused, stored = send(pacs.peer, [report, files[0]], "CXRAI")
    assert (refused.status, refused.accepted, refused.permanent) == (None, False, True)
    assert "Comprehensive 3D SR" in refused.comment
    assert stored.accepted


@pytest.mark.parametrize("keep", [False, True])
def test_a_peer_of_the_default_transfer_syntax_only_gets_the_same_objects_in_it(files, keep):
    keeper = AssociationKeeper()
    keeping = Keeping(keeper, 5, frozenset()) if keep else None
    with running_pacs(
        sop_classes=[DigitalXRayImageStorageForPresentation], transfer_syntaxes=[ImplicitVRLittleEndian]
    ) as pacs:
        for path in files:
            (outcome,) = send(pacs.peer, [path], "CXRAI", keeping=keeping)
            assert (outcome.status, outcome.accepted) == (0, True), outcome.comment
        keeper.release_all()
        assert pacs.associations == (1 if keep else len(files))
        for path, arrival in zip(files, pacs.arrivals, strict=True):
            assert arrival.transfer_syntax_uid == ImplicitVRLittleEndian
            assert arrival.dataset == pydicom.dcmread(path)


def test_a_dead_peer_is_worth_another_try(files):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcomes = send(Peer("PACS", "127.0.0.1", unused.getsockname()[1]), files, "CXRAI", IMPATIENT)
    assert [(outcome.accepted, outcome.permanent, outcome.status) for outcome in outcomes] == [(False, False, None)] * 3


def test_a_rejection_is_worth_another_try_and_says_why(files):
    with running_pacs() as pacs:
        [outcome] = send(Peer("WRONG", pacs.peer.host, pacs.peer.port), files[:1], "CXRAI")
    assert (outcome.accepted, outcome.permanent) == (False, False)
    assert "alled AE title" in outcome.comment


def test_a_peer_that_never_answers_is_given_up_in_time(files):
    with running_pacs(delay_seconds=3) as pacs:
        started = time.monotonic()
        outcomes = send(pacs.peer, files[:2], "CXRAI", IMPATIENT)
        assert time.monotonic() - started < 8
    assert not any(outcome.accepted or outcome.permanent for outcome in outcomes)


def test_a_file_that_is_no_dicom_is_permanent_and_a_missing_one_is_not(tmp_path, files):
    (tmp_path / "x.dcm").write_bytes(b"no dicom")
    with running_pacs() as pacs:
        outcomes = send(pacs.peer, [tmp_path / "x.dcm", tmp_path / "gone.dcm", files[0]], "CXRAI")
    assert [(outcome.accepted, outcome.permanent) for outcome in outcomes] == [
        (False, True),
        (False, False),
        (True, False),
    ]


def test_echo_answers_and_explains():
    with running_pacs() as pacs:
        assert echo(pacs.peer, "CXRAI") == ""
        assert pacs.echoes == 1
        assert "rejected" in echo(Peer("WRONG", pacs.peer.host, pacs.peer.port), "CXRAI")
        gone = pacs.peer
    assert echo(gone, "CXRAI", IMPATIENT) != ""


@pytest.mark.parametrize("host", ["pacs..ward", "p" * 64])
def test_a_host_that_no_resolver_can_be_asked_for_cannot_be_reached(host):
    """RFC 1035 2.3.4: a label has 1 to 63 octets."""
    assert echo(Peer("PACS", host, 104), "CXRAI").startswith(f"cannot reach {host} port 104")


def test_what_we_say_too_late_while_releasing_is_dropped_and_the_association_ends_as_asked():
    """As the answer to a storage commitment that arrives just then; stock pynetdicom's thread dies of it."""

    def answer_when_releasing(event):
        if event.next_state == "Sta7":
            late = P_DATA()
            late.presentation_data_value_list = [[1, b"\x03" + bytes(12)]]
            event.assoc.dul.send_pdu(late)

    with running_pacs() as pacs:
        handlers = [(evt.EVT_FSM_TRANSITION, answer_when_releasing)]
        association = associate(pacs.peer, [build_context(Verification)], "CXRAI", IMPATIENT, handlers)
        association.release()
        assert association.is_released
        association.join(5)
        assert association.dul.socket is None or association.dul.socket.socket is None


def test_storescp_of_dcmtk_takes_what_we_send(tmp_path, files):
    program = need("storescp", "dcmtk")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "out").mkdir()
    server = subprocess.Popen([program, "-od", str(tmp_path / "out"), "-aet", "PACS", str(port)])
    try:
        peer = Peer("PACS", "127.0.0.1", port)
        deadline = time.monotonic() + 10
        while echo(peer, "CXRAI", IMPATIENT) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(outcome.accepted for outcome in send(peer, files, "CXRAI"))
        assert len(list((tmp_path / "out").iterdir())) == 3
    finally:
        server.terminate()
        server.wait(5)


@pytest.mark.parametrize("after", [0, 1])
def test_a_peer_that_dies_between_two_objects_costs_one_wait_not_one_for_each(files, tmp_path, after):
    """What was not sent is told apart from what may have arrived."""
    more = [write_dicom(chest_radiograph(), tmp_path / f"more{index}.dcm") for index in range(3)]
    with running_pacs() as pacs:
        stored = pacs._store

        def die(event):
            if len(pacs.arrivals) == after:
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            return stored(event)

        pacs.stop()
        pacs._store = die
        pacs.start()
        started = time.monotonic()
        outcomes = send(pacs.peer, [*files, *more], "CXRAI", ScuSettings(dimse_timeout_seconds=4))
    assert time.monotonic() - started < 8, "each of the five would have waited 4 s"
    assert [outcome.accepted for outcome in outcomes] == [place < after for place in range(6)]
    assert [outcome.withheld for outcome in outcomes] == [place > after for place in range(6)]
    assert not any(outcome.permanent for outcome in outcomes)


@pytest.mark.parametrize("by_tls", [False, True], ids=["plain", "TLS"])
def test_a_line_that_dies_within_an_object_costs_no_more_than_the_patience_for_answers(files, tmp_path, by_tls):
    """The system itself goes on trying to send for a quarter of an hour."""
    tls = certificate_files(tmp_path / "tls") if by_tls else None
    large = write_dicom(chest_radiograph(Rows=1000, Columns=4000, PixelData=bytes(8_000_000)), tmp_path / "large.dcm")
    with running_pacs(tls=tls) as pacs:
        line = ArchiveLine(pacs.port)

        def die_after_the_first(_sop_class, _sop_instance):
            line.stall()
            return 0x0000

        pacs.status = die_after_the_first
        began = time.monotonic()
        peer, settings = Peer("PACS", "127.0.0.1", line.port, tls), replace(IMPATIENT, dimse_timeout_seconds=2)
        try:
            outcomes = send(peer, [files[0], large, files[1]], "CXRAI", settings)
        finally:
            line.close()
    assert [outcome.accepted for outcome in outcomes] == [True, False, False]
    assert [outcome.unanswered for outcome in outcomes] == [False, True, False]
    assert time.monotonic() - began < 15
