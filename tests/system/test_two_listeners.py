"""Two listeners with one database and one data folder, as on two hosts: halves of studies to each, one killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_test_bundle
from factories import chest_radiograph, write_dicom
from peers import StandInPacs
from services import free_port
from sites import DELIVERY, LISTEN, QUICK, SWEEP, TRIAGE, Site
from sqlalchemy import func, select

from worker.foundation.errors import AlreadyRunning
from worker.rows.run_tables import Prediction, Result, Run
from worker.rows.service_lock import sole_process
from worker.rows.states import ResultKind, RunState
from worker.rows.study_tables import Instance
from worker.settings.config import Settings

pytestmark = pytest.mark.timeout(400)
STUDIES, IMAGES = 6, 8


@pytest.fixture
def sites(
    make_settings: Callable[..., Settings], postgresql_url: str, pacs: StandInPacs, tmp_path: Path
) -> Iterator[tuple[Site, Site]]:
    settings = make_settings(
        database_url=postgresql_url,
        listen_port=free_port(),
        bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
        destinations=[pacs.destination],
        **QUICK,
    )
    one = Site(settings, tmp_path / "one.txt")
    other = Site(settings.model_copy(update={"listen_port": free_port()}), tmp_path / "other.txt")
    yield one, other
    one.stop()
    other.stop()


def studies(folder: Path) -> dict[str, list[Path]]:
    """Write studies of several images, of which one says that the order is urgent; return their files."""
    written: dict[str, list[Path]] = {}
    for _ in range(STUDIES):
        first = chest_radiograph(RequestedProcedurePriority="STAT")
        uid = str(first.StudyInstanceUID)
        images = [first, *(chest_radiograph(StudyInstanceUID=uid) for _ in range(IMAGES - 1))]
        written[uid] = [write_dicom(image, folder / f"{image.SOPInstanceUID}.dcm") for image in images]
    return written


def send_until_taken(path: Path, first: Site, then: Site) -> None:
    """Send as a modality with a second address does: what one did not take goes to the other."""
    for _ in range(20):
        for site in (first, then):
            if site.send(path)[0].accepted:
                return
    raise AssertionError(f"{path} was never taken")


def test_listeners_on_other_ports_share_a_data_folder_and_on_the_same_none(tmp_path: Path) -> None:
    with sole_process("listener", tmp_path, (1,)), sole_process("listener", tmp_path, (2, 3)):
        for ports in ((1,), ()):
            with pytest.raises(AlreadyRunning), sole_process("listener", tmp_path, ports):
                pass
    with sole_process("listener", tmp_path), pytest.raises(AlreadyRunning), sole_process("listener", tmp_path, (1,)):
        pass


@pytest.mark.slow
def test_halves_of_studies_to_two_listeners_make_one_report_each(
    sites: tuple[Site, Site], pacs: StandInPacs, tmp_path: Path
) -> None:
    one, other = sites
    one.start_listening(LISTEN)
    listener = other.start_listening(LISTEN)
    files = studies(tmp_path)
    for command in (SWEEP, SWEEP, TRIAGE, TRIAGE, DELIVERY):
        one.start(command)
    by_turns = [path for group in zip(*files.values(), strict=True) for path in group]
    killed = threading.Event()

    def send_half(first: Site, then: Site, half: list[Path]) -> None:
        for number, path in enumerate(half):
            if first is other and number == len(half) // 2:
                other.kill(listener)
                killed.set()
            send_until_taken(path, first, then)

    # every sixth image goes to both at the same time
    halves = (by_turns[::2] + by_turns[1::12], by_turns[1::2] + by_turns[::12])
    threads = [
        threading.Thread(target=send_half, args=(*order, half))
        for order, half in zip(((one, other), (other, one)), halves, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert killed.is_set()
    for uid in files:
        study = one.wait_for_state(uid, "triaged")
        one.wait_for_delivery(uid, "sent")
        assert study.order_priority == "STAT"
        require_one_report_of_all(one, uid)
        held = {arrival.sop_instance_uid for arrival in pacs.stored if arrival.dataset.StudyInstanceUID == uid}
        assert {result.sop_instance_uid for result in one.current_results(uid)} <= held


def require_one_report_of_all(site: Site, uid: str) -> None:
    """The current run has looked at every image once, its report is the only one in force, and every file is there."""
    with site.session() as session:
        images = session.scalars(select(Instance).where(Instance.study_instance_uid == uid)).all()
        assert len(images) == IMAGES, "each image once"
        assert {image.disposition for image in images} == {"analysed"}
        folder = site.settings.instances_dir
        assert all((folder / image.path).stat().st_size == image.bytes for image in images)
        (run,) = session.scalars(select(Run).where(Run.study_instance_uid == uid, Run.state == RunState.DONE))
        assert run.queue == "stat"
        seen = select(func.count(Prediction.instance_id.distinct())).where(Prediction.run_id == run.id)
        assert session.scalar(seen) == IMAGES
        reports = select(func.count(Result.id)).where(
            Result.run_id == run.id, Result.kind == ResultKind.STRUCTURED_REPORT
        )
        assert session.scalar(reports) == 1
