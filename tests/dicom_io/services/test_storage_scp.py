"""The Storage SCP against real peers: pynetdicom AEs and dcmtk's programs."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from certificates import certificate_files
from factories import chest_radiograph, write_dicom
from file_limits import one_descriptor_left
from orthanc import need
from pynetdicom import AE, build_context
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, Verification
from storage_ends import DX, EXPLICIT, FolderReceiver, associate, encode, listeners, store_bytes, store_one

from benchmarks.dicom_sender import association_request
from dicom_io.foundation.peer import Peer
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.foundation.tls import TlsFiles
from dicom_io.services.storage_scp import ReceiverUnavailable, StorageScp
from dicom_io.services.storage_scu import echo, send
from dicom_io.storing.acceptance import LONGEST_IDENTITY_BYTES
from dicom_io.storing.instance_store import StorageFull


@pytest.fixture
def receiver(tmp_path: Path) -> FolderReceiver:
    return FolderReceiver(tmp_path / "instances")


@pytest.fixture
def start(receiver: FolderReceiver) -> Iterator[Callable[..., StorageScp]]:
    with listeners(receiver) as starter:
        yield starter


def test_what_is_written_is_what_was_sent(start, receiver):
    dataset = chest_radiograph()
    encoded = encode(dataset)
    assert store_one(start(), dataset).Status == 0x0000
    path = receiver.store.open_path(receiver.files[0].path)
    assert path.read_bytes().endswith(encoded)
    written = pydicom.dcmread(path)
    assert "SourceApplicationEntityTitle" not in written.file_meta  # else two senders would make two versions
    assert written.file_meta.TransferSyntaxUID == EXPLICIT
    assert written.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert written.file_meta.FileMetaInformationGroupLength == len(path.read_bytes()) - len(encoded) - 144
    assert (written.pixel_array == dataset.pixel_array).all()


def test_the_header_holds_tags_and_no_pixels(start, receiver):
    store_one(start(), chest_radiograph(ViewPosition="AP"))
    header = receiver.received[0].header
    assert header.ViewPosition == "AP"
    assert "PixelData" not in header


def test_echo_is_answered(start):
    association = associate(start(), (Verification, EXPLICIT))
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize(
    "sop_class_uid",
    [
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image (retired)
        "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image (retired)
        "1.2.840.10008.5.1.4.1.1.999.1",  # not assigned yet
        "1.3.12.2.1107.5.9.1",  # Siemens CSA non-image, private
    ],
)
def test_every_storage_class_is_taken(start, receiver, sop_class_uid):
    dataset = chest_radiograph(SOPClassUID=sop_class_uid)
    assert store_one(start(), dataset).Status == 0x0000
    assert receiver.received[0].sop_class_uid == sop_class_uid


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.50", "1.2.826.0.1.3680043.9.1"]
)
def test_a_single_compressed_or_private_transfer_syntax_is_taken(start, syntax):
    association = associate(start(), (DX, syntax))
    assert [context.transfer_syntax for context in association.accepted_contexts] == [[syntax]]
    association.release()


def test_the_senders_first_known_syntax_wins(start):
    ae = AE("MODALITY")
    syntaxes = ["1.2.826.0.1.3680043.9.1", "1.2.840.10008.1.2.4.70", EXPLICIT]
    association = ae.associate(*start().address, contexts=[build_context(DX, syntaxes)], ae_title="CXRAI")
    assert association.accepted_contexts[0].transfer_syntax == ["1.2.840.10008.1.2.4.70"]
    association.release()


def test_query_and_retrieve_are_not_offered(start):
    association = associate(start(), ("1.2.840.10008.5.1.4.1.2.2.1", EXPLICIT), (DX, EXPLICIT))
    assert [context.abstract_syntax for context in association.accepted_contexts] == [DX]
    association.release()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "1.2.abc", "../../etc/passwd", "1.2.3\\4.5.6", "1." + "2" * 63])
def test_a_missing_or_invalid_uid_is_refused(start, receiver, keyword, value):
    status = store_one(start(), chest_radiograph(**{keyword: value}))
    assert status.Status == 0xC000
    assert keyword in status.ErrorComment
    assert receiver.refused[0].reason_code is ReasonCode.INVALID_UID
    assert receiver.received == []


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber"])
def test_an_identity_that_no_database_could_keep_is_refused_and_not_asked_for_again(start, receiver, keyword):
    status = store_one(start(), chest_radiograph(**{keyword: "x" * (LONGEST_IDENTITY_BYTES + 1)}))
    assert status.Status == 0xC000
    assert keyword in status.ErrorComment
    assert receiver.refused[0].reason_code is ReasonCode.INVALID_IDENTITY


def test_a_missing_sop_instance_uid_is_refused(start, receiver):
    association = associate(start())
    status = store_bytes(association, encode(chest_radiograph(SOPInstanceUID=None)))
    association.release()
    assert status.Status == 0xC000
    assert receiver.refused[0].reason_code is ReasonCode.INVALID_UID


def test_another_sop_class_than_announced_is_answered_with_a900(start, receiver):
    dataset = chest_radiograph(SOPClassUID=CTImageStorage, SOPInstanceUID="1.2.3")
    association = associate(start())
    assert store_bytes(association, encode(dataset)).Status == 0xA900
    association.release()
    assert receiver.refused[0].reason_code is ReasonCode.SOP_CLASS_MISMATCH


def test_another_sop_instance_than_announced_is_refused(start, receiver):
    association = associate(start())
    assert store_bytes(association, encode(chest_radiograph()), sop_instance_uid="1.2.3").Status == 0xC000
    association.release()
    assert receiver.refused[0].reason_code is ReasonCode.SOP_INSTANCE_MISMATCH


@pytest.mark.parametrize(
    "garbage", [b"\x00", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40, b"\xff" * 4096, b"\x00" * 4096, b"\x08\x00"]
)
def test_garbage_is_refused_and_quarantined(start, receiver, garbage):
    association = associate(start())
    status = store_bytes(association, garbage)
    assert status.Status == 0xC000
    assert association.is_established  # the rest of the batch goes on
    dataset = chest_radiograph()
    assert store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID).Status == 0x0000
    association.release()
    quarantined = list((receiver.store.root / "quarantine").glob("*.bin"))
    assert len(quarantined) == 1
    assert quarantined[0].read_bytes().endswith(garbage)


@pytest.mark.parametrize("missing_bytes", [1, 100, 15_000])
def test_a_data_set_cut_short_is_refused(start, receiver, missing_bytes):
    dataset = chest_radiograph()
    association = associate(start())
    status = store_bytes(association, encode(dataset)[:-missing_bytes], DX, dataset.SOPInstanceUID)
    association.release()
    assert status.Status == 0xC000
    assert receiver.refused[0].reason_code is ReasonCode.TRUNCATED


@pytest.mark.parametrize("trouble", [StorageFull("disk full", Path("x")), ReceiverUnavailable("database gone")])
def test_storage_trouble_asks_the_sender_to_try_again(start, receiver, trouble):
    receiver.trouble = trouble
    status = store_one(start(), chest_radiograph())
    assert status.Status == 0xA700
    assert 0 < len(status.ErrorComment) <= 64
    receiver.trouble = None
    assert store_one(start(), chest_radiograph()).Status == 0x0000


def test_an_unexpected_error_is_0110_and_names_no_patient(start, receiver, caplog):
    receiver.trouble = RuntimeError("Phantom^Test")
    status = store_one(start(), chest_radiograph())
    assert status.Status == 0x0110
    assert "Phantom" not in status.ErrorComment + caplog.text
    assert "RuntimeError" in caplog.text


def test_a_listener_out_of_file_descriptors_asks_the_sender_to_try_again(start, receiver):
    dataset = chest_radiograph()
    association = associate(start())
    with one_descriptor_left():  # the file of the arriving data set takes it
        status = store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID)
    assert (status.Status, receiver.refused) == (0xA700, [])
    assert store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID).Status == 0x0000
    association.release()


def test_a_connection_that_cannot_be_accepted_yet_costs_next_to_nothing(start):
    scp = start()
    with one_descriptor_left():  # this side of the connection takes it
        waiting = socket.create_connection(scp.address, timeout=10)
        began = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - began < 0.3
    with waiting:
        waiting.sendall(association_request("CXRAI", 16384))
        assert waiting.recv(10)[:1] == b"\x02", "it is heard as soon as there is room"


def test_deflated_headers_are_inflated(start, receiver, tmp_path):
    syntax = "1.2.840.10008.1.2.1.99"
    path = write_dicom(chest_radiograph(TransferSyntaxUID=syntax, AccessionNumber="D7"), tmp_path / "d.dcm")
    raw = path.read_bytes()
    encoded = raw[144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength :]
    uid = pydicom.dcmread(path).SOPInstanceUID
    association = associate(start(), (DX, syntax))
    assert store_bytes(association, encoded, DX, uid).Status == 0x0000
    assert store_bytes(association, encoded[:-200], DX, uid).Status == 0xC000
    assert store_bytes(association, b"\x77" + encoded, DX, uid).Status == 0xC000
    association.release()
    assert receiver.received[0].header.AccessionNumber == "D7"
    assert receiver.refused[0].reason_code is ReasonCode.TRUNCATED


def test_release_reports_the_studies_once(start, receiver):
    scp = start()
    association = associate(scp)
    datasets = [chest_radiograph(), chest_radiograph()]
    for dataset in datasets:
        store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID)
    assert receiver.closed == []
    association.release()
    assert receiver.closed_event.wait(5)
    scp.stop()
    assert receiver.closed == [({dataset.StudyInstanceUID for dataset in datasets}, False)]


def test_a_sender_that_hangs_up_as_soon_as_its_release_is_answered_has_not_aborted(start, receiver, monkeypatch):
    """On a busy machine its hanging up is seen first; its studies then waited for the quiet time."""
    answer = ACSE.send_release

    def answer_and_be_held_up(self, is_response=False):
        answer(self, is_response)
        time.sleep(0.5 if is_response else 0)

    monkeypatch.setattr(ACSE, "send_release", answer_and_be_held_up)
    dataset = chest_radiograph()
    association = associate(start())
    store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID)
    association.release()
    assert receiver.closed_event.wait(5)
    time.sleep(0.6)
    assert receiver.closed == [({dataset.StudyInstanceUID}, False)]


def test_an_aborted_association_reports_its_studies_as_aborted(start, receiver):
    scp = start()
    association = associate(scp)
    dataset = chest_radiograph()
    store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID)
    association.abort()
    assert receiver.closed_event.wait(5)
    scp.stop()
    assert receiver.closed == [({dataset.StudyInstanceUID}, True)]


def test_a_lost_connection_reports_its_studies(start, receiver):
    association = associate(start())
    dataset = chest_radiograph()
    store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID)
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    assert receiver.closed_event.wait(5)
    assert receiver.closed == [({dataset.StudyInstanceUID}, True)]


def _reject(association: Association) -> tuple[int, int, int]:
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_a_wrong_called_ae_title_is_rejected(start):
    assert _reject(associate(start(), called="OTHER")) == (1, 1, 7)


def test_an_unknown_calling_ae_title_is_rejected(start):
    scp = start(accept_unknown_callers=False, callers={"MODALITY": ()})
    assert _reject(associate(scp, calling="STRANGER")) == (1, 1, 3)
    known = associate(scp, calling="MODALITY")
    assert known.is_established
    known.release()


def test_a_known_title_from_another_host_is_rejected(start):
    scp = start(callers={"MODALITY": ("192.0.2.7",), "HERE": ("127.0.0.1",)})
    assert _reject(associate(scp, calling="MODALITY")) == (1, 1, 3)
    here = associate(scp, calling="HERE")
    assert here.is_established
    here.release()


def speaks_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not speaks_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("caller", ["127.0.0.1", "::1"])
def test_a_port_of_both_kinds_of_addresses_knows_callers_by_theirs(start, receiver, tmp_path, caller):
    scp = start(host="::", accept_unknown_callers=False, callers={"MODALITY": (caller,)})
    path = write_dicom(chest_radiograph(), tmp_path / "image.dcm")
    (outcome,) = send(Peer("CXRAI", caller, scp.address[1]), [path], "MODALITY")
    assert outcome.status == 0x0000
    assert [one.peer_address for one in receiver.received] == [caller]


def test_associations_are_rejected_as_transient_while_nothing_can_be_stored(start, receiver):
    receiver.open = False
    assert _reject(associate(start())) == (2, 3, 1)


def test_one_association_too_many_is_rejected_as_transient(start):
    scp = start(maximum_associations=1)
    first = associate(scp)
    assert _reject(associate(scp)) == (2, 3, 2)
    first.release()


def test_a_data_set_beyond_the_limit_aborts_its_association_and_no_other(start, receiver):
    scp = start(maximum_instance_bytes=20_000)
    bystander = associate(scp)
    association = associate(scp)
    with pytest.raises(AttributeError):  # no answer came, the association was aborted
        store_bytes(association, encode(chest_radiograph()) + bytes(200_000))
    deadline = time.monotonic() + 5
    while association.is_established and time.monotonic() < deadline:
        time.sleep(0.01)
    assert association.is_aborted
    small = chest_radiograph(PixelData=bytes(64))
    assert store_bytes(bystander, encode(small), DX, small.SOPInstanceUID).Status == 0x0000
    bystander.release()


def test_a_pdu_of_four_gigabytes_is_not_waited_for(start):
    with socket.create_connection(start().address, timeout=5) as connection:
        connection.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(100))
        answer = connection.recv(100)
        assert answer == b"" or answer[0] == 7  # closed at once, or after an A-ABORT


def test_a_silent_connection_does_not_hold_up_others(start):
    scp = start()
    with socket.create_connection(scp.address, timeout=5):
        association = associate(scp)
        assert association.is_established
        association.release()


def test_connections_that_come_and_go_without_a_word_take_no_place(start):
    scp = start(maximum_associations=3, acse_timeout_seconds=30.0)
    for _ in range(6):  # as load balancers and monitors do, every few seconds
        socket.create_connection(scp.address, timeout=5).close()
    deadline = time.monotonic() + 5
    while (wrong := echo(Peer("CXRAI", *scp.address), "MODALITY")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not wrong


def test_an_occupied_port_is_named(start):
    scp = start()
    with pytest.raises(OSError, match=str(scp.address[1])):
        start(port=scp.address[1])


def test_stop_lets_a_running_transfer_finish(start, receiver):
    scp = start()
    association = associate(scp)
    dataset = chest_radiograph()
    stopper = threading.Thread(target=scp.stop)
    stopper.start()
    time.sleep(0.1)
    assert store_bytes(association, encode(dataset), DX, dataset.SOPInstanceUID).Status == 0x0000
    association.release()
    stopper.join(5)
    assert not stopper.is_alive()
    assert len(receiver.files) == 1


def test_storescu_of_dcmtk_sends_a_folder(start, receiver, tmp_path):
    storescu = need("storescu", "dcmtk")
    for index in range(3):
        write_dicom(chest_radiograph(), tmp_path / "in" / f"{index}.dcm")
    host, port = start().address
    subprocess.run(
        [storescu, "-aec", "CXRAI", "+sd", "-R", host, str(port), str(tmp_path / "in")], check=True, timeout=30
    )
    assert len(receiver.files) == 3


def test_echoscu_of_dcmtk_is_answered(start):
    host, port = start().address
    subprocess.run([need("echoscu", "dcmtk"), "-aec", "CXRAI", host, str(port)], check=True, timeout=30)


@pytest.fixture
def certificate(tmp_path: Path) -> TlsFiles:
    return certificate_files(tmp_path)


def test_tls_peers_are_served_and_plain_ones_are_not(start, certificate):
    scp = start(port=None, tls=certificate, tls_port=0)
    host, port = scp.tls_address
    with socket.create_connection((host, port)):  # connects, says nothing, must not hold up the handshake of others
        assert echo(Peer("CXRAI", host, port, certificate), "MODALITY") == ""
    assert echo(Peer("CXRAI", host, port), "MODALITY") != ""
