"""The worklist of workitems against peers that are wrong, slow or gone: one real listener, clients of others."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import UnifiedProcedureStepPull
from services import free_port
from sites import LISTEN, QUICK, SWEEP, Site, wait_until
from ups_clients import (
    ALL,
    CHANGE_STATE,
    FILTERED,
    REQUEST_CANCEL,
    SUSPEND,
    UNSUBSCRIBE,
    Client,
    Receiver,
    code,
    dataset,
    performed,
    receiving,
    scheduled,
)

from worker.settings.config import load_settings

pytestmark = pytest.mark.timeout(200)
CANCEL_EVENT = 2


@pytest.fixture(scope="module")
def ris() -> Iterator[Receiver]:
    with receiving("RIS") as receiver:
        yield receiver


@pytest.fixture(scope="module")
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture(scope="module")
def site(
    ris: Receiver, silent_port: int, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ups")
    shutil.copyfile(sqlite_template, folder / "triage.db")
    quick = {key: value for key, value in QUICK.items() if key != "accept_unknown_sources"}
    settings = load_settings(
        data_dir=folder / "data",
        database_url=f"sqlite:///{folder / 'triage.db'}",
        listen_port=free_port(),
        sources=[{"ae_title": "MODALITY"}],
        ups={
            "peers": [
                {"ae_title": "RIS", "host": "127.0.0.1", "port": ris.port},
                {"ae_title": "MUTE", "host": "127.0.0.1", "port": silent_port},
                {"ae_title": "READER"},
                {"ae_title": "ELSEWHERE", "hosts": ["192.0.2.1"]},
            ],
            "accept_created": True,
            "keep_days": 1e-6,
        },
        **quick,
    )
    made = Site(settings, folder / "log.txt")
    listener = made.start_listening(LISTEN)
    yield made
    made.kill(listener)  # a kind stop would wait for the mute receiver


@pytest.fixture
def reader(site: Site) -> Client:
    return Client(site.settings.listen_port, "READER")


@pytest.fixture
def uid(reader: Client) -> str:
    """A new workitem that nobody claimed."""
    made = str(generate_uid())
    assert reader.create(scheduled(), made)[0] == 0x0000
    return made


def state(reader: Client, uid: str) -> str:
    _, workitem = reader.get(uid)
    assert workitem is not None
    return str(workitem.ProcedureStepState)


def finish(reader: Client, uid: str, transaction_uid: str) -> None:
    assert reader.set(uid, performed(), transaction_uid) == 0x0000
    assert reader.change(uid, "COMPLETED", transaction_uid) == 0x0000


def test_only_who_holds_the_transaction_uid_changes_a_claimed_workitem_and_nobody_is_told_it(
    site: Site, reader: Client, uid: str
) -> None:
    status, held = reader.claim(uid)
    assert status == 0x0000
    thief, other = Client(site.settings.listen_port, "RIS"), str(generate_uid())
    assert thief.set(uid, dataset(ProcedureStepLabel="MINE"), other) == 0xC301
    assert thief.set(uid, dataset(ProcedureStepLabel="MINE")) == 0xC301
    for wrong in (other, "", "1.2.3 ", held[:-1], "*", "not a uid", "1.2." + "3" * 70):
        assert thief.change(uid, "COMPLETED", wrong) == 0xC301
        assert thief.change(uid, "CANCELED", wrong) == 0xC301
        assert thief.change(uid, "IN PROGRESS", wrong) == 0xC301
    assert thief.act(CHANGE_STATE, uid, ProcedureStepState="CANCELED") == 0xC301
    assert reader.change(uid, "SCHEDULED", held) == 0xC303
    assert reader.change(uid, "DONE", held) == 0x0115
    _, workitem = thief.get(uid, "TransactionUID", "ProcedureStepLabel")
    assert workitem is not None
    assert "TransactionUID" not in workitem
    assert workitem.ProcedureStepLabel == "READ CHEST"
    (found,) = thief.find(SOPInstanceUID=uid, TransactionUID=held, ProcedureStepState="")
    assert not found.get("TransactionUID")
    assert len(thief.find(SOPInstanceUID=uid, TransactionUID=other, ProcedureStepState="")) == 1  # it is no key
    assert found.ProcedureStepState == "IN PROGRESS"
    assert reader.claim(uid, held)[0] == 0xC302
    finish(reader, uid, held)
    assert held not in site.log()


def test_a_stranger_a_mere_sender_and_a_peer_from_elsewhere_get_no_worklist_and_a_peer_may_not_send(site: Site) -> None:
    port = site.settings.listen_port
    for title in ("STRANGER", "ELSEWHERE", "reader"):
        with pytest.raises(ConnectionError):
            Client(port, title).find(PatientID="*")
    ae = AE("MODALITY")
    ae.add_requested_context(UnifiedProcedureStepPull)
    association = ae.associate("127.0.0.1", port, ae_title="CXRAI")
    assert [context.result for context in association.rejected_contexts] == [3]
    association.abort()
    ae = AE("READER")
    ae.add_requested_context(DigitalXRayImageStorageForPresentation)
    association = ae.associate("127.0.0.1", port, ae_title="CXRAI")
    assert [context.result for context in association.rejected_contexts] == [3]
    association.abort()


def test_only_configured_receivers_are_subscribed_and_senseless_requests_are_named(reader: Client, uid: str) -> None:
    assert reader.subscribe(uid, receiver="STRANGER") == 0xC308
    assert reader.subscribe(uid, receiver="READER") == 0xC308  # it has no address
    assert reader.subscribe(uid, lock="PERHAPS") == 0x0115
    assert reader.subscribe(str(generate_uid())) == 0xC307
    assert reader.subscribe(FILTERED) == 0x0120
    assert reader.act(SUSPEND, uid, ReceivingAE="RIS") == 0xC314
    assert reader.act(9, uid, ReceivingAE="RIS") == 0x0123
    assert reader.claim(ALL)[0] == 0xC307
    assert reader.get(FILTERED)[0] == 0xC307
    assert reader.create(scheduled(), uid)[0] == 0x0111
    assert reader.create(scheduled(ProcedureStepState="IN PROGRESS"), str(generate_uid()))[0] == 0xC309
    assert reader.create(scheduled(ScheduledProcedureStepPriority="STAT"), str(generate_uid()))[0] == 0x0106
    assert reader.set(uid, dataset(PatientID="SOMEBODY-ELSE")) == 0x0105
    assert reader.set(uid, dataset(ProcedureStepState="COMPLETED")) == 0x0105
    assert reader.set(uid, dataset(CommentsOnTheScheduledProcedureStep="x" * (1 << 20))) == 0x0213
    _, statuses = reader.find_with_statuses(dataset(ScheduledProcedureStepStartDateTime="20260399-yesterday"))
    assert statuses == [0xC000]
    _, statuses = reader.find_with_statuses(dataset(ProcedureStepLabel="*" * 30 + "never" + "*?" * 10))
    assert statuses == [0x0000]
    assert state(reader, uid) == "SCHEDULED"


def test_a_wish_to_cancel_reaches_the_performer_and_cancels_only_what_nobody_claimed(
    site: Site, reader: Client, uid: str, ris: Receiver
) -> None:
    _, held = reader.claim(uid)
    wish = {"ReasonForCancellation": "Ordered twice", "ContactDisplayName": "Front desk"}
    assert reader.act(REQUEST_CANCEL, uid, **wish) == 0xC312
    assert reader.subscribe(uid) == 0x0000
    assert reader.act(REQUEST_CANCEL, uid, **wish) == 0x0000
    ris.wait_for(2, uid)
    (told,) = [notice for notice in ris.of(uid) if notice.event_type == CANCEL_EVENT]
    assert told.information.RequestingAE == "READER"
    assert told.information.ReasonForCancellation == "Ordered twice"
    assert state(reader, uid) == "IN PROGRESS"
    finish(reader, uid, held)
    assert reader.act(REQUEST_CANCEL, uid, **wish) == 0xC311
    unclaimed = str(generate_uid())
    assert reader.create(scheduled(), unclaimed)[0] == 0x0000
    assert reader.subscribe(unclaimed) == 0x0000
    assert reader.act(REQUEST_CANCEL, unclaimed, **wish) == 0x0000
    assert reader.claim(unclaimed)[0] in (0xC300, 0xC301)
    assert reader.act(REQUEST_CANCEL, unclaimed) == 0xB304
    wait_until(lambda: ris.states(unclaimed)[-1:] == ["CANCELED"], "the cancellation is reported")
    assert "Ordered twice" not in site.log()


def test_items_beyond_measure_are_refused_at_once_and_in_words(reader: Client, uid: str) -> None:
    _, held = reader.claim(uid)
    wide = dataset(InputInformationSequence=[dataset()] * 10_001)
    deep = dataset(PatientID="P-1")
    for _ in range(100):
        deep = dataset(InputInformationSequence=[deep])
    for items in (wide, deep):
        began = time.monotonic()
        attributes = scheduled(InputInformationSequence=items.InputInformationSequence)
        assert reader.create(attributes, str(generate_uid()))[0] == 0x0106
        assert reader.set(uid, items, held) == 0x0106
        _, statuses = reader.find_with_statuses(items)
        assert statuses == [0xC000]
        assert time.monotonic() - began < 10
    assert reader.create(scheduled(InputInformationSequence=[dataset()] * 100), str(generate_uid()))[0] == 0x0000


def test_a_claim_and_a_wish_to_cancel_at_once_end_in_one_story(site: Site, reader: Client) -> None:
    """Whoever is first, the claimer never believes to hold what is canceled."""
    for _ in range(4):
        contested = str(generate_uid())
        assert reader.create(scheduled(), contested)[0] == 0x0000
        together, said = threading.Barrier(2), dict[str, int]()

        def claim(uid: str = contested, together: threading.Barrier = together, said: dict[str, int] = said) -> None:
            together.wait()
            said["claim"] = reader.claim(uid)[0]

        def cancel(uid: str = contested, together: threading.Barrier = together, said: dict[str, int] = said) -> None:
            together.wait()
            said["cancel"] = Client(site.settings.listen_port, "RIS").act(REQUEST_CANCEL, uid)

        threads = [threading.Thread(target=each) for each in (claim, cancel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claimed = said == {"claim": 0x0000, "cancel": 0xC312}
        assert claimed or (said["cancel"] == 0x0000 and said["claim"] in (0xC300, 0xC301))
        assert state(reader, contested) == ("IN PROGRESS" if claimed else "CANCELED")


def test_a_receiver_that_was_away_hears_all_in_order_and_one_that_is_mute_holds_up_nobody(
    site: Site, reader: Client, uid: str, ris: Receiver
) -> None:
    assert reader.subscribe(uid, receiver="MUTE") == 0x0000
    assert reader.subscribe(uid) == 0x0000
    ris.wait_for(1, uid)
    wait_until(lambda: ris.states(uid) == ["SCHEDULED"], "the state is told")
    ris.stop()
    _, held = reader.claim(uid)
    progress = dataset(ProcedureStepProgressInformationSequence=[dataset(ProcedureStepProgress="50")])
    assert reader.set(uid, progress, held) == 0x0000
    finish(reader, uid, held)
    wait_until(lambda: "subscriber RIS cannot be told" in site.log(), "it is away")
    ris.status = 0x0110  # it fails to digest them, but it has heard them: none is told for ever
    ris.start()
    try:
        wait_until(lambda: ris.states(uid)[-1:] == ["COMPLETED"], "all is told", 60)
        told = [(n.event_type, str(n.information.get("ProcedureStepState", ""))) for n in ris.of(uid)]
        assert [each for number, each in enumerate(told) if each not in told[:number]] == [
            (1, "SCHEDULED"), (1, "IN PROGRESS"), (3, ""), (1, "COMPLETED"),
        ]  # fmt: skip
    finally:
        ris.status = 0x0000


def test_a_filtered_subscription_hears_of_what_comes_to_match_and_a_suspended_one_of_nothing_new(
    reader: Client, ris: Receiver
) -> None:
    assert reader.subscribe(FILTERED, ScheduledProcedureStepPriority="HIGH", WorklistLabel="ICU*") == 0x0000
    low, other, high = (str(generate_uid()) for _ in range(3))
    assert reader.create(scheduled(WorklistLabel="ICU 2", ScheduledProcedureStepPriority="MEDIUM"), low)[0] == 0x0000
    assert reader.create(scheduled(WorklistLabel="WARD", ScheduledProcedureStepPriority="HIGH"), other)[0] == 0x0000
    assert reader.create(scheduled(WorklistLabel="ICU 1", ScheduledProcedureStepPriority="HIGH"), high)[0] == 0x0000
    ris.wait_for(1, high)
    assert reader.set(low, dataset(ScheduledProcedureStepPriority="HIGH")) == 0x0000
    ris.wait_for(1, low)
    assert ris.of(other) == []
    assert reader.act(SUSPEND, FILTERED, ReceivingAE="RIS") == 0x0000
    unheard = str(generate_uid())
    assert reader.create(scheduled(WorklistLabel="ICU 3", ScheduledProcedureStepPriority="HIGH"), unheard)[0] == 0x0000
    assert reader.claim(high)[0] == 0x0000
    wait_until(lambda: ris.states(high) == ["SCHEDULED", "IN PROGRESS"], "what it knew it still hears of")
    assert ris.of(unheard) == []


def test_a_deletion_lock_keeps_a_finished_workitem_until_it_is_released(site: Site, reader: Client) -> None:
    locked, free, open_one = (str(generate_uid()) for _ in range(3))
    for each in (locked, free, open_one):
        assert reader.create(scheduled(), each)[0] == 0x0000
        assert reader.subscribe(each, lock="TRUE" if each == locked else "FALSE") == 0x0000
    for each in (locked, free):
        _, held = reader.claim(each)
        finish(reader, each, held)
    sweep(site, lambda: reader.get(free)[0] == 0xC307)
    assert state(reader, locked) == "COMPLETED"
    assert state(reader, open_one) == "SCHEDULED"
    assert reader.act(UNSUBSCRIBE, locked, ReceivingAE="RIS") == 0x0000
    sweep(site, lambda: reader.get(locked)[0] == 0xC307)


def sweep(site: Site, condition: object) -> None:
    """Let a sweeper run until the condition holds; it cleans up when it starts."""
    process = site.start(SWEEP)
    try:
        wait_until(condition, "the sweeper has cleaned up")
    finally:
        process.terminate()
        process.wait(30)


def test_codes_and_names_in_any_script_come_back_as_they_went(reader: Client) -> None:
    made = str(generate_uid())
    item = scheduled(
        PatientName="Иванов^Пётр=山田^太郎",
        ScheduledWorkitemCodeSequence=[code("110005", "DCM", "Interpretation")],
        SpecificCharacterSet="ISO_IR 192",
    )
    assert reader.create(item, made)[0] == 0x0000
    (found,) = reader.find(SOPInstanceUID=made, PatientName="иванов^*", SpecificCharacterSet="ISO_IR 192")
    assert str(found.PatientName) == "Иванов^Пётр=山田^太郎"
    assert found.SpecificCharacterSet == "ISO_IR 192"
