from __future__ import annotations

import time

from factories import chest_radiograph
from peers import StandInPacs
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from dicom_io.associations.reactor_pause import reactor_held

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
