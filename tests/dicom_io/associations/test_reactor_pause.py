from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from factories import chest_radiograph
from peers import StandInPacs, running_pacs
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from ups_clients import receiving

from dicom_io.associations import client
from dicom_io.associations.client import ScuSettings
from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.foundation.peer import Peer
from dicom_io.services import storage_scu
from dicom_io.services.storage_scu import echo
from dicom_io.ups import events
from dicom_io.ups.events import report_events, state_report

VERIFICATION_SOP_CLASS_UID = "1.2.840.10008.1.1"


def test_a_held_reactor_leaves_answers_alone_and_goes_on_afterwards() -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        entity = AE("TEST")
        entity.add_requested_context(VERIFICATION_SOP_CLASS_UID)
        association = entity.associate("127.0.0.1", pacs.port, ae_title="PACS")
        assert association.is_established
        with reactor_held(association):
            association.dimse.msg_queue.put((1, C_STORE()))
            association._reactor_checkpoint.set()  # as pynetdicom does after each object
            time.sleep(0.2)
            assert association.dimse.msg_queue.qsize() == 1
            association.dimse.msg_queue.get_nowait()
        association.release()
        assert association.is_released
        association.join(5)
        assert not association.is_alive()
    finally:
        pacs.stop()


def test_objects_are_sent_while_the_reactor_is_held_and_the_thread_ends() -> None:
    pacs = StandInPacs()
    pacs.start()
    try:
        entity = AE("TEST")
        dataset = chest_radiograph()
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", pacs.port, ae_title="PACS")
        with reactor_held(association):
            statuses = [association.send_c_store(dataset).Status for _ in range(20)]
        association.release()
        association.join(5)
        assert (statuses, association.is_alive()) == ([0] * 20, False)
    finally:
        pacs.stop()


def test_an_archive_that_hangs_up_in_the_middle_does_not_hold_up_the_sender() -> None:
    pacs = StandInPacs()
    pacs.start()
    entity = AE("TEST")
    dataset = chest_radiograph()
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", pacs.port, ae_title="PACS")
    started = time.monotonic()
    try:
        with reactor_held(association):
            assert association.send_c_store(dataset).Status == 0
            pacs.stop()
            response = association.send_c_store(dataset)
            assert "Status" not in response
    finally:
        pacs.stop()
    association.join(10)
    assert not association.is_alive()
    assert time.monotonic() - started < 30


class _Preempted(threading.Event):
    """Lets its waiter through, who is not heard of again for a while."""

    def wait(self, timeout: float | None = None) -> bool:
        waited = super().wait(timeout)
        time.sleep(0.2)
        return waited


@pytest.fixture
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> ScuSettings:
    """Let both threads of an association of ours lose their processors where it hurts; returns how patient to be."""
    prepare = client._prepare

    def prepared(event: Event) -> None:
        prepare(event)
        association = event.assoc
        association._reactor_checkpoint = _Preempted()
        association._reactor_checkpoint.set()
        send = association.dimse.send_msg
        association.dimse.send_msg = lambda *message: (send(*message), time.sleep(0.4))

    def associate(*arguments: Any) -> Any:
        association = client.associate(*arguments)
        time.sleep(0.1)
        return association

    monkeypatch.setattr(client, "_prepare", prepared)
    monkeypatch.setattr(storage_scu, "associate", associate)
    return ScuSettings(dimse_timeout_seconds=2)


def test_a_c_echo_is_answered_on_a_busy_machine(busy_machine: ScuSettings) -> None:
    with running_pacs() as pacs:
        assert echo(pacs.peer, "CXRAI", busy_machine) == ""


def test_events_are_answered_on_a_busy_machine(busy_machine: ScuSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PATIENCE", busy_machine)
    workitem = Dataset()
    workitem.SOPInstanceUID, workitem.ProcedureStepState = "2.25.1", "SCHEDULED"
    with receiving() as receiver:
        told = report_events(Peer("RIS", "127.0.0.1", receiver.port), [state_report(workitem)] * 3, "CXRAI")
        assert list(told) == [0, 0, 0]
        assert receiver.states("2.25.1") == ["SCHEDULED"] * 3


def test_a_peer_that_hangs_up_before_it_is_asked_has_not_answered(busy_machine: ScuSettings) -> None:
    pacs = StandInPacs()
    pacs._handlers.append((evt.EVT_ESTABLISHED, lambda event: threading.Timer(0.05, event.assoc.abort).start()))
    pacs.start()
    try:
        assert re.match("no (answer to C-ECHO|association with PACS)", echo(pacs.peer, "CXRAI", busy_machine))
    finally:
        pacs.stop()
