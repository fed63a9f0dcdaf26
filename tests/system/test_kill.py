"""``kill -9`` of real processes: what was answered with 0x0000 always ends with exactly one current result set."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import FLAGGED
from factories import chest_radiograph, write_dicom
from peers import StandInPacs
from pydicom.dataset import Dataset
from receivers import running_receiver
from sites import DELIVERY, LISTEN, SWEEP, TRIAGE, Site, wait_until
from sqlalchemy import select

from benchmarks.process_tree import descendants
from worker.rows.run_tables import Run
from worker.rows.states import RunState
from worker.settings.hl7 import Hl7Destination

pytestmark = pytest.mark.timeout(400)
OBJECTS = 1 + len(FLAGGED)


@pytest.fixture
def site(pacs: StandInPacs, site_with: Callable[..., Site]) -> Site:
    return site_with(destinations=[pacs.destination])


def written(folder: Path, dataset: Dataset) -> Path:
    return write_dicom(dataset, folder / f"{dataset.SOPInstanceUID}.dcm")


def require_one_result_set(site: Site, pacs: StandInPacs, study_instance_uid: str) -> None:
    """One current run, its results in the archive, each once (a repeated store of equal bytes replaces itself)."""
    site.wait_for_state(study_instance_uid, "triaged")
    site.wait_for_delivery(study_instance_uid, "sent")
    results = site.current_results(study_instance_uid)
    assert len(results) == OBJECTS
    arrived: dict[str, set[bytes]] = {}
    for arrival in pacs.stored:
        if arrival.dataset.StudyInstanceUID == study_instance_uid:
            arrived.setdefault(arrival.sop_instance_uid, set()).add(arrival.file_bytes)
    assert set(arrived) == {result.sop_instance_uid for result in results}
    assert {len(versions) for versions in arrived.values()} == {1}, "sent again with other bytes"
    with site.session() as session:
        done = session.scalars(
            select(Run).where(Run.study_instance_uid == study_instance_uid, Run.state == RunState.DONE)
        ).all()
    assert len(done) == 1


@pytest.mark.parametrize(
    "failpoint", ["after_file_before_row", pytest.param("after_row_before_reply", marks=pytest.mark.slow)]
)
def test_a_listener_killed_before_its_answer_takes_the_image_when_it_is_sent_again(
    site: Site, pacs: StandInPacs, tmp_path: Path, failpoint: str
) -> None:
    source = chest_radiograph()
    path = written(tmp_path, source)
    listener = site.start_listening(LISTEN, failpoint)
    (outcome,) = site.send(path)
    assert outcome.status is None, "0x0000 before the row was there"
    assert listener.wait(10) == -signal.SIGKILL
    site.start_listening(LISTEN)
    for command in (SWEEP, TRIAGE, DELIVERY):
        site.start(command)
    (outcome,) = site.send(path)
    assert outcome.status == 0x0000
    require_one_result_set(site, pacs, str(source.StudyInstanceUID))


@pytest.mark.parametrize(
    "failpoint",
    [pytest.param("after_claim", marks=pytest.mark.slow), "after_inference", "after_result_files"],
)
def test_a_worker_killed_during_a_run_costs_one_attempt_and_nothing_else(
    site: Site, pacs: StandInPacs, tmp_path: Path, failpoint: str
) -> None:
    source = chest_radiograph()
    uid = str(source.StudyInstanceUID)
    site.start_listening(LISTEN)
    site.start(SWEEP)
    dying = site.start(TRIAGE, failpoint)
    assert site.send(written(tmp_path, source))[0].status == 0x0000
    wait_until(lambda: [run.attempts for run in site.runs(uid)] == [1], "the first attempt")
    wait_until(lambda: "ForkPoolWorker" in site.log() and "SIGKILL" in site.log(), "the process died")
    site.kill(dying)
    for command in (TRIAGE, DELIVERY):
        site.start(command)
    require_one_result_set(site, pacs, uid)
    (run,) = site.runs(uid)
    assert run.attempts >= 2


def test_a_sender_killed_after_the_archive_stored_sends_the_same_bytes_again(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    source = chest_radiograph()
    site.start_listening(LISTEN)
    for command in (SWEEP, TRIAGE):
        site.start(command)
    dying = site.start(DELIVERY, "after_store_before_row")
    assert site.send(written(tmp_path, source))[0].status == 0x0000
    pacs.wait_for(OBJECTS, 60)
    site.kill(dying)
    site.start(DELIVERY)
    require_one_result_set(site, pacs, str(source.StudyInstanceUID))
    assert len(pacs.stored) >= 2 * OBJECTS, "the killed sender's batch was sent again"


@pytest.mark.slow  # the archive's sender dies at the same place in the test above
def test_a_sender_killed_after_a_receiver_accepted_sends_the_same_message_again(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    source = chest_radiograph()
    with running_receiver() as receiver:
        ris = {"name": "ris", "host": "127.0.0.1", "port": receiver.port}
        site.settings = site.settings.model_copy(
            update={"destinations": (), "hl7_destinations": (Hl7Destination(**ris),)}
        )
        site.start_listening(LISTEN)
        for command in (SWEEP, TRIAGE):
            site.start(command)
        dying = site.start(DELIVERY, "after_store_before_row")
        assert site.send(written(tmp_path, source))[0].status == 0x0000
        wait_until(lambda: receiver.messages, "the first message", 60)
        site.kill(dying)
        assert site.delivery_states(str(source.StudyInstanceUID)) == {"pending"}
        site.start(DELIVERY)
        site.wait_for_delivery(str(source.StudyInstanceUID), "sent")
        assert len(receiver.messages) >= 2
        assert len({str(message) for message in receiver.messages}) == 1, "another control id or other bytes"


def test_a_study_that_kills_every_worker_ends_failed_and_the_next_one_goes_through(
    site: Site, pacs: StandInPacs, tmp_path: Path
) -> None:
    poison, healthy = chest_radiograph(), chest_radiograph()
    site.start_listening(LISTEN)
    site.start(SWEEP)
    dying = site.start(TRIAGE, "after_claim")
    assert site.send(written(tmp_path, poison))[0].status == 0x0000
    assert site.wait_for_state(str(poison.StudyInstanceUID), "failed").reason_code == "poison"
    site.kill(dying)
    for command in (TRIAGE, DELIVERY):
        site.start(command)
    assert site.send(written(tmp_path, healthy))[0].status == 0x0000
    require_one_result_set(site, pacs, str(healthy.StudyInstanceUID))
    assert site.runs(str(poison.StudyInstanceUID))[0].attempts == site.settings.maximum_attempts


def test_everything_killed_at_once_loses_nothing(site: Site, pacs: StandInPacs, tmp_path: Path) -> None:
    sources = [chest_radiograph() for _ in range(6)]
    whole = site.start_listening()
    accepted = [
        str(source.StudyInstanceUID) for source in sources if site.send(written(tmp_path, source))[0].status == 0x0000
    ]
    assert len(accepted) == len(sources)
    wait_until(lambda: any(run.state == RunState.DONE for run in site.runs(accepted[0])), "the first study is done")
    site.kill(whole)
    assert descendants(whole.pid) == [whole.pid]
    site.start_listening()
    for uid in accepted:
        require_one_result_set(site, pacs, uid)


def test_a_killed_supervisor_takes_its_processes_with_it(site: Site) -> None:
    site.forked = False  # who stops with whom is settled while a process starts
    whole = site.start_listening()
    started = descendants(whole.pid)[1:]
    assert len(started) >= 4
    os.kill(whole.pid, signal.SIGKILL)
    whole.wait(10)
    wait_until(lambda: not any(_runs(pid) for pid in started), "no orphan is left", 60)
    site.forked = True
    site.start_listening()  # ports, locks and data folder are free again


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
