"""Answers to storage commitment requests that come over an association of the archive's own, to our listener."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from committing import INSTANCE, STORAGE_COMMITMENT, Archive, running_archive
from peers import running_pacs
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import CTImageStorage, Verification
from storage_ends import NoReceiver

from dicom_io.associations.reactor_pause import reactor_held
from dicom_io.services.storage_commitment import AnswerError, CommitmentAnswer, read_answer
from dicom_io.services.storage_commitment_scu import request_commitment
from dicom_io.services.storage_scp import ScpSettings, StorageScp
from dicom_io.services.storage_scu import ScuSettings

OBJECTS = {"2.25.11": "1.2.840.10008.5.1.4.1.1.7", "2.25.12": "1.2.840.10008.5.1.4.1.1.88.34"}
IMPATIENT = ScuSettings(connection_timeout_seconds=2, acse_timeout_seconds=2, dimse_timeout_seconds=2)


@pytest.fixture
def heard() -> list[CommitmentAnswer]:
    return []


@pytest.fixture
def listener(heard: list[CommitmentAnswer]) -> Iterator[StorageScp]:
    def take(answer: CommitmentAnswer) -> bool:
        if answer.transaction_uid == "2.25.666":
            raise OSError("the database is gone")
        heard.append(answer)
        return answer.transaction_uid == "2.25.1"

    settings = ScpSettings("CXRAI", port=0, callers={"MODALITY": ()}, commitment_peers=frozenset({"PACS"}))
    scp = StorageScp(settings, NoReceiver(), take)
    scp.start()
    yield scp
    scp.stop()


@pytest.fixture
def archive(listener: StorageScp) -> Iterator[Archive]:
    with running_archive(on_new_association_to=("CXRAI", listener.address[1])) as started:
        yield started


@pytest.mark.parametrize("role_selection", [True, False], ids=["with role selection", "without"])
@pytest.mark.parametrize("lost", [set(), {"2.25.12"}], ids=["all committed", "one lost"])
def test_the_answer_arrives_whether_or_not_the_archive_negotiates_its_role(
    archive: Archive, heard: list[CommitmentAnswer], role_selection: bool, lost: set[str]
) -> None:
    archive.role_selection = role_selection
    archive.reason = lambda uid: 0x0112 if uid in lost else None
    outcome = request_commitment(
        archive.pacs.peer, "2.25.1", OBJECTS, "CXRAI", ScuSettings(), lambda answer: False,
        wait_seconds=5, answered=lambda: bool(heard),
    )  # fmt: skip
    archive.wait()
    assert outcome.accepted
    assert archive.event_statuses == [0x0000]
    assert heard == [CommitmentAnswer("2.25.1", frozenset(set(OBJECTS) - lost), dict.fromkeys(lost, 0x0112))]


def test_an_answer_that_comes_while_the_association_is_released_holds_nobody_up() -> None:
    """It was served after the release had gone out: the upper layer stopped, and both sides waited for timeouts."""
    longest = 0.0
    with running_archive() as archive:
        for step in range(60):
            archive.delay_seconds = 0.02 + step * 0.0003
            began = time.monotonic()
            request_commitment(
                archive.pacs.peer, f"2.25.{step + 1}", OBJECTS, "CXRAI", ScuSettings(), lambda answer: True,
                wait_seconds=0.02,
            )  # fmt: skip
            longest = max(longest, time.monotonic() - began)
    assert longest < 10


def asked(transaction_uid: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    return request


@pytest.mark.parametrize(("objects", "status"), [(1000, 0x0000), (10_001, 0x0115)])
def test_an_answer_with_objects_beyond_measure_is_not_read(
    archive: Archive, heard: list[CommitmentAnswer], objects: int, status: int
) -> None:
    request = asked("2.25.1")
    for number in range(objects):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", f"1.2.3.{number}"
        request.ReferencedSOPSequence.append(item)
    assert archive.answer(request) == status
    assert len(heard) == (status == 0)


@pytest.mark.parametrize(
    ("transaction_uid", "status"), [("2.25.2", 0x0115), ("", 0x0115), ("no uid", 0x0115), ("2.25.666", 0x0110)]
)
def test_an_answer_that_was_not_asked_for_or_cannot_be_kept_is_not_taken(
    archive: Archive, transaction_uid: str, status: int
) -> None:
    assert archive.answer(asked(transaction_uid)) == status


def contexts_accepted(listener: StorageScp, calling: str, *sop_classes: str, scu_role: bool = False) -> list[str]:
    ae = AE(calling)
    for sop_class in sop_classes:
        ae.add_requested_context(sop_class)
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = STORAGE_COMMITMENT, scu_role, not scu_role
    association = ae.associate("127.0.0.1", listener.address[1], ae_title="CXRAI", ext_neg=[role])
    accepted = [str(context.abstract_syntax) for context in association.accepted_contexts]
    if association.is_established:
        association.release()
    return sorted(accepted)


def test_an_archive_that_is_no_source_may_answer_and_not_send(listener: StorageScp) -> None:
    wanted = (STORAGE_COMMITMENT, CTImageStorage, Verification)
    assert contexts_accepted(listener, "PACS", *wanted) == sorted([STORAGE_COMMITMENT, Verification])
    assert contexts_accepted(listener, "MODALITY", *wanted) == sorted([CTImageStorage, Verification])
    assert contexts_accepted(listener, "STRANGER", *wanted) == []


def test_nobody_is_promised_that_we_keep_anything(listener: StorageScp) -> None:
    """We ask for commitment and never give it: a peer that wants to ask us gets no context."""
    assert contexts_accepted(listener, "PACS", STORAGE_COMMITMENT, Verification, scu_role=True) == [Verification]


def test_a_destination_that_asks_for_commitment_is_refused_in_words(
    listener: StorageScp, caplog: pytest.LogCaptureFixture
) -> None:
    """Without role selection it gets the context that is there for its answers, as Orthanc does."""
    association = AE("PACS").associate(
        "127.0.0.1", listener.address[1], [build_context(STORAGE_COMMITMENT)], ae_title="CXRAI"
    )
    with reactor_held(association):
        answer, _ = association.send_n_action(asked("2.25.1"), 1, STORAGE_COMMITMENT, INSTANCE)
    association.release()
    assert answer.Status == 0x0211
    assert "PACS asks for storage commitment, which is not given here" in caplog.text
    assert "NotImplementedError" not in caplog.text


def test_a_peer_that_is_not_there_or_lacks_the_service_is_named_as_the_cause() -> None:
    def ask(peer):  # type: ignore[no-untyped-def]
        return request_commitment(peer, "2.25.1", OBJECTS, "CXRAI", IMPATIENT, lambda answer: True, wait_seconds=0)

    with running_pacs() as plain:
        assert ask(plain.peer).comment == "the peer does not offer storage commitment"
    assert "no association with PACS" in ask(plain.peer).comment


@pytest.mark.parametrize("event_type", [None, 0, 3])
def test_an_event_of_another_type_is_no_answer(event_type: int | None) -> None:
    with pytest.raises(AnswerError, match="event type"):
        read_answer(event_type, asked("2.25.1"))


def test_an_object_named_twice_counts_as_failed() -> None:
    answer = asked("2.25.1")
    item = Dataset()
    item.ReferencedSOPInstanceUID = "2.25.11"
    answer.ReferencedSOPSequence, answer.FailedSOPSequence = [item], [item]
    assert read_answer(2, answer) == CommitmentAnswer("2.25.1", frozenset(), {"2.25.11": 0})
