"""The disk of the data folder is not mounted: nothing is begun anew in the empty folder that is there instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from factories import chest_radiograph, write_dicom
from sites import LISTEN, SWEEP, TRIAGE, UP, Site, send_study

from worker.settings.config import Settings


@pytest.fixture
def site(site_with: Callable[..., Site]) -> Site:
    """A site whose database, on another disk, knows an image of the data folder."""
    archive = {"ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    site = site_with(reconcile=archive, shadow_bundle="default")
    listener = site.start_listening(LISTEN)
    send_study(site, site.log_path.parent)
    site.kill(listener)
    return site


def unmounted(settings: Settings) -> Path:
    """Leave an empty folder in the place of the data folder; return where its content is."""
    disk = settings.data_dir.with_name("disk")
    settings.data_dir.rename(disk)
    settings.data_dir.mkdir()
    return disk


PROCESSES = (LISTEN, TRIAGE, SWEEP, UP, ("shadow",), ("reconcile", "--since", "2026-01-01"))


def test_no_process_begins_under_the_place_of_a_disk_that_is_not_mounted(site: Site, tmp_path: Path) -> None:
    disk = unmounted(site.settings)
    for command in PROCESSES:
        done = site.run(*command)
        assert (done.returncode, "mount the disk of data_dir" in done.stderr) == (1, True), (command, done.stderr)
    done = site.run("export", str(tmp_path / "new"), "--pseudonymise")
    assert (done.returncode, "mount the disk of data_dir" in done.stderr) == (1, True), done.stderr
    assert list(site.settings.data_dir.rglob("*")) == []
    site.settings.data_dir.rmdir()
    disk.rename(site.settings.data_dir)
    site.start_listening(LISTEN)


def test_a_store_that_is_lost_for_good_is_begun_anew_by_a_person(site: Site) -> None:
    unmounted(site.settings)
    (site.settings.instances_dir / ".incoming").mkdir(parents=True)
    site.start_listening(LISTEN)
    send_study(site, site.log_path.parent)


def test_nothing_is_taken_while_the_disk_is_gone_from_under_a_listener(site: Site) -> None:
    site.start_listening(LISTEN)
    disk = unmounted(site.settings)
    dataset = chest_radiograph()
    file = write_dicom(dataset, site.log_path.parent / "late.dcm")
    (outcome,) = site.send(file)
    assert outcome.status == 0xA700
    assert list(site.settings.data_dir.rglob("*")) == []
    site.settings.data_dir.rmdir()
    disk.rename(site.settings.data_dir)
    (outcome,) = site.send(file)
    assert outcome.accepted
    assert len(list(site.settings.instances_dir.glob(f"{dataset.StudyInstanceUID}/*"))) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_is_not_there_may_lie_on_a_disk_that_is_not_mounted(
    site_with: Callable[..., Site], database_url: str, tmp_path: Path
) -> None:
    site = site_with(database_url="")
    done = site.run(*LISTEN)
    assert (done.returncode, "mount its disk if this worker ran before" in done.stderr) == (1, True), done.stderr
    assert not site.settings.data_dir.exists()
    assert "was empty; it is at revision" in site.run("migrate").stdout
    assert "was empty" not in site.run("migrate").stdout
