"""The worklist of workitems on real processes: studies arrive, a client that knows no code of ours works them off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from bundles import write_test_bundle
from factories import chest_radiograph, write_dicom
from PIL import Image
from pydicom.uid import generate_uid
from pynetdicom.sop_class import UnifiedProcedureStepQuery, UnifiedProcedureStepWatch
from services import free_port
from sites import LISTEN, QUICK, Site, wait_until
from sqlalchemy import select
from ups_clients import ALL, Client, Receiver, performed, receiving, scheduled

from dicom_io.data_sets.stamp import radiograph_from_pixels
from worker.rows.workitem_tables import WorkitemEvent
from worker.settings.config import DEFAULT_BUNDLE, Settings

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture
def start_site(
    make_settings: Callable[..., Settings], sqlite_url: str, receiver: Receiver, tmp_path: Path
) -> Iterator[Callable[..., Site]]:
    """Maker of a site that has one peer, the receiver; keywords replace settings."""
    made: list[Site] = []

    def make(**fields: object) -> Site:
        bundle = fields.pop("bundle", None) or write_test_bundle(tmp_path / "bundle").folder
        settings = make_settings(
            database_url=sqlite_url,
            listen_port=free_port(),
            bundles={"default": bundle},
            ups={
                "peers": [{"ae_title": "RIS", "host": "127.0.0.1", "port": receiver.port}],
                "completion_marks_read": True,
            },
            **QUICK,
            **fields,
        )
        made.append(Site(settings, tmp_path / "log.txt"))
        return made[-1]

    yield make
    for site in made:
        site.stop()


def send(site: Site, folder: Path, **keywords: object) -> str:
    source = chest_radiograph(**keywords)
    assert site.send(write_dicom(source, folder / f"{source.SOPInstanceUID}.dcm"))[0].status == 0x0000
    return str(source.StudyInstanceUID)


def pneumothorax_phantom(folder: Path) -> tuple[str, Path]:
    """Write the demonstration bundle's drawing of a pneumothorax as a radiograph; returns its study and its file."""
    with Image.open(DEFAULT_BUNDLE / "golden" / "pneumothorax.png") as drawing:
        phantom = radiograph_from_pixels(
            np.asarray(drawing),
            study_datetime=datetime.now(),
            patient_id="P-77",
            patient_name="Müller^Jörg",
            accession_number="UPS-1",
        )
    path = folder / "phantom.dcm"
    phantom.save_as(path, enforce_file_format=True)
    return str(phantom.StudyInstanceUID), path


def test_a_client_on_pynetdicom_alone_finds_claims_completes_and_hears_of_what_the_worker_made(
    start_site: Callable[..., Site], receiver: Receiver, tmp_path: Path
) -> None:
    site = start_site(bundle=DEFAULT_BUNDLE, allow_demonstration_bundle=True)
    site.start_listening()
    client = Client(site.settings.listen_port)
    assert client.subscribe(ALL) == 0x0000
    study_instance_uid, phantom = pneumothorax_phantom(tmp_path)
    assert site.send(phantom)[0].status == 0x0000
    site.wait_for_state(study_instance_uid, "triaged")
    wait_until(lambda: client.find(StudyInstanceUID=study_instance_uid), "the workitem is there")

    keys = {"ScheduledProcedureStepPriority": "HIGH", "ProcedureStepState": "SCHEDULED"}
    asked = {"PatientName": "", "PatientID": "", "ProcedureStepLabel": "", "InputInformationSequence": []}
    (found,) = client.find(**keys, **asked, WorklistLabel="CXR*", SOPInstanceUID="")
    assert (found.ScheduledProcedureStepPriority, found.ProcedureStepState) == ("HIGH", "SCHEDULED")
    assert (str(found.PatientName), found.PatientID) == ("Müller^Jörg", "P-77")
    assert found.ProcedureStepLabel.startswith("AI CXR STAT Pneumothorax")
    results = site.current_results(study_instance_uid)
    named = {
        instance.ReferencedSOPInstanceUID
        for series in found.InputInformationSequence
        for instance in series.ReferencedSOPSequence
    }
    assert {result.sop_instance_uid for result in results} < named
    assert len(named) == len(results) + 1
    assert (
        client.find(ScheduledProcedureStepPriority="LOW") == client.find(ScheduledProcedureStepPriority="MEDIUM") == []
    )
    for model in (UnifiedProcedureStepWatch, UnifiedProcedureStepQuery):
        assert [one.SOPInstanceUID for one in client.find(model, **keys)] == [found.SOPInstanceUID]

    uid = str(found.SOPInstanceUID)
    status, whole = client.get(uid)
    assert status == 0x0000
    assert whole is not None
    assert whole.ReferencedRequestSequence[0].AccessionNumber == "UPS-1"
    assert "TransactionUID" not in whole
    status, transaction_uid = client.claim(uid)
    assert status == 0x0000
    assert client.change(uid, "COMPLETED", transaction_uid) == 0xC304
    assert client.set(uid, performed(), transaction_uid) == 0x0000
    assert client.change(uid, "COMPLETED", transaction_uid) == 0x0000
    assert client.change(uid, "COMPLETED", transaction_uid) == 0xB306
    receiver.wait_for(3, uid)
    assert receiver.states(uid) == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert {notice.calling_ae_title for notice in receiver.of(uid)} == {"CXRAI"}
    study = site.study(study_instance_uid)
    assert study is not None
    assert study.read_at is not None
    log = site.log()
    assert "ller" not in log
    assert "P-77" not in log


def test_of_eight_claims_at_two_listeners_of_one_postgresql_one_wins_and_the_others_hear_why(
    make_settings: Callable[..., Settings], postgresql_url: str, tmp_path: Path
) -> None:
    listeners = []
    for number in (1, 2):
        settings = make_settings(
            database_url=postgresql_url,
            data_dir=tmp_path / str(number),
            listen_port=free_port(),
            ups={"peers": [{"ae_title": "RIS"}], "accept_created": True},
            **QUICK,
        )
        settings.data_dir.mkdir()
        listeners.append(Site(settings, tmp_path / f"log{number}.txt"))
    try:
        for listener in listeners:
            listener.start_listening(LISTEN)
        clients = [Client(listener.settings.listen_port) for listener in listeners]
        uids = [str(generate_uid()) for _ in range(3)]
        assert [clients[0].create(scheduled(), uid)[0] for uid in uids] == [0x0000] * 3
        for uid in uids:
            statuses, winner = race(clients, uid)
            assert statuses == [0x0000] + [0xC301] * 7
            assert clients[0].change(uid, "CANCELED", winner) == 0x0000
    finally:
        for listener in listeners:
            listener.stop()


def race(clients: list[Client], uid: str, contenders: int = 8) -> tuple[list[int], str]:
    """Let clients in turn claim at once; returns the statuses, sorted, and the winning Transaction UID."""
    together, answered = threading.Barrier(contenders), list[tuple[int, str]]()

    def claim(client: Client) -> None:
        together.wait()
        answered.append(client.claim(uid))

    threads = [threading.Thread(target=claim, args=(clients[n % len(clients)],)) for n in range(contenders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [transaction_uid for status, transaction_uid in answered if status == 0x0000]
    return sorted(status for status, _ in answered), winner


def told_and_answered(site: Site) -> bool:
    """Return whether the receiver's answer to every event so far was noted: none of them will be told again."""
    with site.session() as session:
        return session.scalar(select(WorkitemEvent.id).where(WorkitemEvent.done_at.is_(None)).limit(1)) is None


def test_claims_and_subscriptions_survive_kill_9_of_the_listener_and_unsent_events_come_after_it(
    start_site: Callable[..., Site], receiver: Receiver, tmp_path: Path
) -> None:
    site = start_site()
    everything = site.start_listening()
    client = Client(site.settings.listen_port)
    study_instance_uid = send(site, tmp_path)
    wait_until(lambda: client.find(StudyInstanceUID=study_instance_uid), "the workitem is there")
    uid = str(client.find(StudyInstanceUID=study_instance_uid)[0].SOPInstanceUID)
    assert client.subscribe(uid) == 0x0000
    receiver.wait_for(1, uid)
    wait_until(lambda: told_and_answered(site), "the events are told")
    receiver.stop()
    status, transaction_uid = client.claim(uid)
    assert status == 0x0000
    site.kill(everything)
    told = len(receiver.of(uid))
    again = Receiver(port=receiver.port)
    again.start()
    try:
        site.start_listening(LISTEN)
        assert client.claim(uid)[0] == 0xC301
        again.wait_for(1, uid)
        assert receiver.states(uid)[:told] + again.states(uid) == ["SCHEDULED", "IN PROGRESS"]
        again.wait_for(1, ALL)
        (restart,) = [notice for notice in again.of(ALL) if notice.event_type == 4][-1:]
        assert restart.information.SCPStatus == "RESTARTED"
        assert restart.information.SubscriptionListStatus == "WARM START"
        assert client.set(uid, performed(), transaction_uid) == 0x0000
        assert client.change(uid, "COMPLETED", transaction_uid) == 0x0000
        wait_until(lambda: again.states(uid) == ["IN PROGRESS", "COMPLETED"], "the completion is reported")
    finally:
        again.stop()
