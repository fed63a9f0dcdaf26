"""Associations that stay open between deliveries, and archives that end them: nothing is lost or reported wrong."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from archive_line import ArchiveLine
from certificates import certificate_files
from factories import chest_radiograph, write_dicom
from hypothesis import given
from hypothesis.strategies import binary, integers
from orthanc import Orthanc, need
from peers import WatchedPacs, watched_pacs
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from services import free_port, wait_for_port
from sites import wait_until

from dicom_io.associations import keeper as association_keeper
from dicom_io.associations.data_pdu import data_pdu
from dicom_io.associations.keeper import AssociationKeeper, Keeping
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import ScuSettings, SendOutcome, send

ROOT = Path(__file__).resolve().parents[3]
IMPATIENT = ScuSettings(
    connection_timeout_seconds=2, acse_timeout_seconds=2, dimse_timeout_seconds=1, network_timeout_seconds=2
)
SR = "1.2.840.10008.5.1.4.1.1.88.34"
LONG = 30.0


@pytest.fixture
def pacs() -> Iterator[WatchedPacs]:
    with watched_pacs() as started:
        yield started


@pytest.fixture
def keeper() -> Iterator[AssociationKeeper]:
    made = AssociationKeeper()
    yield made
    made.release_all()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_dicom(chest_radiograph(), tmp_path / f"{index}.dcm") for index in range(3)]


def keeping(keeper: AssociationKeeper, idle_seconds: float = LONG) -> Keeping:
    return Keeping(keeper, idle_seconds, frozenset())


def accepted(outcomes: list[SendOutcome]) -> bool:
    return all(outcome.accepted and not outcome.unanswered for outcome in outcomes)


def uids(files: list[Path]) -> list[str]:
    return [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]


def test_deliveries_share_an_association_and_it_is_released_by_itself_soon_after(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path]
) -> None:
    for file in files:
        assert accepted(send(pacs.peer, [file], "CXRAI", keeping=keeping(keeper, 0.8)))
        time.sleep(0.5)  # twice that is more than it may rest
    assert (pacs.associations, [arrival.sop_instance_uid for arrival in pacs.stored]) == (1, uids(files))
    for file, arrival in zip(files, pacs.arrivals, strict=True):
        assert arrival.file_bytes[-10_000:] == file.read_bytes()[-10_000:]
    wait_until(lambda: not pacs.open, "end of the association", 3)
    assert (pacs.released, pacs.aborted) == (1, 0)


def _releases(association: Association) -> None:
    association.release()


def _aborts(association: Association) -> None:
    association.abort()


def _hangs_up(association: Association) -> None:
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


@pytest.mark.parametrize("end", [_releases, _aborts, _hangs_up])
def test_what_the_archive_ends_between_deliveries_is_noticed_and_opened_anew(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path], end: Callable[[Association], None]
) -> None:
    assert accepted(send(pacs.peer, files[:1], "CXRAI", keeping=keeping(keeper)))
    (association,) = pacs.open
    started = time.monotonic()
    end(association)
    wait_until(lambda: not pacs.open, "end of the association", 3)
    assert accepted(send(pacs.peer, files[1:], "CXRAI", keeping=keeping(keeper)))
    assert time.monotonic() - started < 5
    assert (pacs.associations, len(pacs.arrivals), len(pacs.open)) == (2, 3, 1)
    assert end is not _releases or association.is_released, "its release was not answered"


@pytest.mark.parametrize("stored_before", [True, False])
@pytest.mark.parametrize("end", [_releases, _aborts, _hangs_up])
def test_what_got_no_answer_because_the_archive_left_is_sent_over_a_new_association(
    pacs: WatchedPacs,
    keeper: AssociationKeeper,
    files: list[Path],
    end: Callable[[Association], None],
    stored_before: bool,
) -> None:
    """The archive leaves when the second object of the second delivery has come; two of it were not answered."""
    send(pacs.peer, files[:1], "CXRAI", keeping=keeping(keeper))
    (kept,) = pacs.open
    store = pacs._store

    def leave_on_the_third(event: Event) -> int:
        leaves = event.assoc is kept and len(pacs.arrivals) == 2
        status = store(event) if stored_before or not leaves else 0
        if leaves:
            if end is _releases:  # it crosses the answer that the sender waits for, which never comes
                event.assoc.acse.send_release(is_response=False)
            else:
                end(event.assoc)
            time.sleep(0.3)
        return status

    kept.bind(evt.EVT_C_STORE, leave_on_the_third)
    started = time.monotonic()
    outcomes = send(pacs.peer, files, "CXRAI", keeping=keeping(keeper))
    assert time.monotonic() - started < 5, "waited for an answer that could not come"
    assert accepted(outcomes), outcomes
    assert [outcome.path for outcome in outcomes] == files
    assert {arrival.sop_instance_uid for arrival in pacs.stored} == set(uids(files))
    assert (pacs.associations, len(pacs.arrivals)) == (2, 5 if stored_before else 4)


def test_an_archive_that_is_gone_for_good_is_reported_so_and_may_have_what_it_did_not_answer(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path]
) -> None:
    patient = replace(IMPATIENT, dimse_timeout_seconds=20)
    send(pacs.peer, files[:1], "CXRAI", patient, keeping(keeper))
    (kept,) = pacs.open

    def die(event: Event) -> int:
        pacs._ae._servers[0].server_close()
        _hangs_up(event.assoc)
        return 0

    kept.bind(evt.EVT_C_STORE, die)
    outcomes = send(pacs.peer, files, "CXRAI", patient, keeping(keeper))
    assert [outcome.unreachable for outcome in outcomes] == [True] * 3
    assert [outcome.unanswered for outcome in outcomes] == [True, False, False]
    assert not any(outcome.accepted or outcome.permanent for outcome in outcomes)


def test_an_archive_that_is_only_slow_is_waited_for_once(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path]
) -> None:
    send(pacs.peer, files[:1], "CXRAI", IMPATIENT, keeping(keeper))
    pacs.delay_seconds = 1.6
    outcomes = send(pacs.peer, files, "CXRAI", IMPATIENT, keeping(keeper))
    assert [(outcome.unanswered, outcome.withheld) for outcome in outcomes] == [(True, False), *[(False, True)] * 2]
    assert pacs.associations == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tell that a connection is dead")
def test_a_connection_that_silently_carries_nothing_any_more_costs_seconds_not_the_patience_for_answers(
    pacs: WatchedPacs, keeper: AssociationKeeper, tmp_path: Path
) -> None:
    dataset = chest_radiograph(Rows=1000, Columns=1000, PixelData=bytes(2_000_000))
    large = write_dicom(dataset, tmp_path / "large.dcm")
    settings = replace(ScuSettings(), connection_timeout_seconds=1.0)
    line = ArchiveLine(pacs.port)
    peer = Peer("PACS", "127.0.0.1", line.port)
    try:
        assert accepted(send(peer, [large], "CXRAI", settings, keeping(keeper)))
        line.stall()
        started = time.monotonic()
        assert accepted(send(peer, [large], "CXRAI", settings, keeping(keeper)))
        assert time.monotonic() - started < 10, "an answer is waited for for 120 s"
        assert pacs.associations == 2
    finally:
        line.close()


def test_an_archive_killed_and_started_again_gets_the_next_delivery(
    keeper: AssociationKeeper, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    port = free_port()
    command = [need("storescp", "dcmtk"), "-od", str(tmp_path / "out"), "-aet", "PACS", str(port)]
    peer = Peer("PACS", "127.0.0.1", port)
    for file in files[:2]:
        archive = subprocess.Popen(command)
        try:
            wait_for_port(port, 10)
            assert accepted(send(peer, [file], "CXRAI", keeping=keeping(keeper)))
        finally:
            archive.send_signal(signal.SIGKILL)
            archive.wait(5)
    assert len(list((tmp_path / "out").iterdir())) == 2
    (outcome,) = send(peer, files[2:], "CXRAI", IMPATIENT, keeping(keeper))
    assert (outcome.unreachable, outcome.accepted) == (True, False)


def test_a_real_archive_that_closes_what_is_idle_for_a_second_gets_everything(
    keeper: AssociationKeeper, files: list[Path], tmp_path: Path
) -> None:
    orthanc = Orthanc(tmp_path, free_port(), settings={"DicomScpTimeout": 1})
    orthanc.start()
    try:
        peer = Peer("ORTHANC", "127.0.0.1", orthanc.dicom_port)
        for file, pause in zip(files, (0.0, 2.2, 0.0), strict=True):
            time.sleep(pause)
            assert accepted(send(peer, [file], "CXRAI", keeping=keeping(keeper)))
        assert len(orthanc.call("/instances")) == 3
    finally:
        orthanc.stop()


def test_objects_of_another_kind_get_a_new_association_and_there_is_never_a_second_one(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path], tmp_path: Path
) -> None:
    report = write_dicom(chest_radiograph(SOPClassUID=SR), tmp_path / "sr.dcm")
    syntax = str(pydicom.dcmread(report).file_meta.TransferSyntaxUID)
    both = replace(keeping(keeper), kinds=frozenset({(SR, syntax)}))
    for paths, how in ((files[:1], keeping(keeper)), ([report], keeping(keeper)), (files[1:], both), ([report], both)):
        assert accepted(send(pacs.peer, paths, "CXRAI", keeping=how))
    assert (pacs.associations, pacs.most_open, pacs.aborted) == (3, 1, 0)


def test_what_the_archive_did_not_take_is_asked_for_again_before_it_is_refused(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path], tmp_path: Path
) -> None:
    """It may have been configured anew since."""
    report = write_dicom(chest_radiograph(SOPClassUID=SR), tmp_path / "sr.dcm")
    take_every_class = pacs._take_every_class

    def take_no_reports(event: Event) -> None:
        take_every_class(event)
        contexts = event.assoc.acceptor.supported_contexts
        event.assoc.acceptor.supported_contexts = [one for one in contexts if one.abstract_syntax != SR]

    handler = pacs._handlers.index((evt.EVT_REQUESTED, take_every_class))
    pacs.stop()
    pacs._handlers[handler] = (evt.EVT_REQUESTED, take_no_reports)
    pacs.start()
    refused, stored = send(pacs.peer, [report, files[0]], "CXRAI", keeping=keeping(keeper))
    assert (refused.permanent, stored.accepted, len(pacs.open)) == (True, True, 1)
    pacs._ae._servers[0].unbind(evt.EVT_REQUESTED, take_no_reports)
    pacs._ae._servers[0].bind(evt.EVT_REQUESTED, take_every_class)
    assert accepted(send(pacs.peer, [report], "CXRAI", keeping=keeping(keeper)))


def test_nothing_is_kept_of_an_archive_that_refuses_or_is_full(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path]
) -> None:
    pacs.status = lambda sop_class_uid, sop_instance_uid: 0xA700
    assert not send(pacs.peer, files, "CXRAI", keeping=keeping(keeper))[0].accepted
    wait_until(lambda: not pacs.open, "end of the association", 3)


@pytest.mark.parametrize("released_after_seconds", [0.5, 2.5])  # the other waits 0.5, and a while for a slow release
def test_an_archive_with_one_place_gives_it_to_both_processes_in_turn(
    pacs: WatchedPacs, files: list[Path], released_after_seconds: float
) -> None:
    pacs._ae.maximum_associations = 1
    one, other = AssociationKeeper(), AssociationKeeper()  # one in each process
    try:
        assert accepted(send(pacs.peer, files[:1], "CXRAI", keeping=keeping(one, released_after_seconds)))
        assert accepted(send(pacs.peer, files[1:], "CXRAI", keeping=keeping(other, 0.5)))
    finally:
        other.release_all()
    assert (pacs.associations, pacs.most_open) == (2, 1)


def test_other_settings_and_old_age_end_it(
    pacs: WatchedPacs, keeper: AssociationKeeper, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(pacs.peer, files[:1], "CXRAI", keeping=keeping(keeper))
    send(pacs.peer, files[:1], "CXRAI", IMPATIENT, keeping(keeper))
    assert (pacs.associations, pacs.most_open, pacs.released) == (2, 1, 1)
    monkeypatch.setattr(association_keeper, "MAXIMUM_AGE_SECONDS", 1.0)
    send(pacs.peer, files[:1], "CXRAI", IMPATIENT, keeping(keeper))
    assert pacs.associations == 2
    wait_until(lambda: not pacs.open, "end of what is a second old", 3)


def test_a_renewed_certificate_is_shown_at_once(keeper: AssociationKeeper, files: list[Path], tmp_path: Path) -> None:
    tls = certificate_files(tmp_path / "tls")
    pacs = WatchedPacs()
    server = pacs._ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=tls.context(server_side=True),
        evt_handlers=[(evt.EVT_C_STORE, pacs._store), (evt.EVT_ACCEPTED, pacs._accepted), *pacs._handlers],
    )
    peer = Peer("PACS", "127.0.0.1", server.server_address[1], tls)
    try:
        for expected, file in ((1, files[0]), (1, files[1]), (2, files[2])):
            if expected == 2:
                tls.certificate.write_bytes(tls.certificate.read_bytes())
            assert accepted(send(peer, [file], "CXRAI", keeping=keeping(keeper)))
            assert pacs.associations == expected
    finally:
        keeper.release_all()
        pacs.stop()


FORK = """
import os, sys
from pathlib import Path
from dicom_io.associations.keeper import AssociationKeeper, Keeping
from dicom_io.foundation.peer import Peer
from dicom_io.services.storage_scu import send
keeper, peer = AssociationKeeper(), Peer("PACS", "127.0.0.1", int(sys.argv[1]))
def sends(path):
    return send(peer, [Path(path)], "CXRAI", keeping=Keeping(keeper, 30.0, frozenset()))[0].accepted
sent = [sends(sys.argv[2])]
child = os.fork()
if not child:
    ok = sends(sys.argv[3])
    keeper.release_all()
    os._exit(0 if ok else 1)
sent += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, sends(sys.argv[4])]
keeper.release_all()
sys.exit(0 if all(sent) else 1)
"""


def test_a_fork_leaves_the_association_of_its_parent_alone(pacs: WatchedPacs, files: list[Path]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(pacs.port), *map(str, files)]
    subprocess.run(command, check=True, timeout=30, cwd=ROOT)
    assert (pacs.associations, len(pacs.stored)) == (2, 3)
    wait_until(lambda: not pacs.open, "end of both associations", 3)
    assert (pacs.released, pacs.aborted) == (2, 0)


def test_a_process_ends_although_it_keeps_an_association(pacs: WatchedPacs, files: list[Path]) -> None:
    """Without a word to the keeper it takes as long as the association may rest."""
    program = FORK.split("child =")[0].replace("30.0", "0.3")
    subprocess.run([sys.executable, "-c", program, str(pacs.port), str(files[0])], check=True, timeout=10, cwd=ROOT)
    wait_until(lambda: not pacs.open, "end of the association", 3)
    assert (pacs.released, pacs.aborted) == (1, 0)


@given(context_id=integers(0, 127).map(lambda half: 2 * half + 1), value=binary(min_size=1, max_size=300))
def test_a_fragment_is_encoded_as_pynetdicom_does(context_id: int, value: bytes) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list = [[context_id, value]]
    assert data_pdu(context_id, value) == P_DATA_TF(primitive).encode()
