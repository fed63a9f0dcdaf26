"""Back up while studies arrive, destroy everything, restore: nothing that was acknowledged before is lost, nothing is
sent twice, and what came afterwards is found in the archive."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from benches import Bench
from bundles import FLAGGED, write_test_bundle
from factories import chest_radiograph, write_dicom
from file_limits import files_of_at_most
from forks import run_command
from orthanc import ONLY_IMAGES, Orthanc, StartHospital
from postgres_databases import administer
from sites import UP, Site, wait_until
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from worker.care.backup import BackupError
from worker.cli import app
from worker.rows.database import SessionFactory
from worker.rows.run_tables import Result, Run
from worker.rows.service_lock import sole_process
from worker.rows.site_tables import Event
from worker.rows.study_tables import Study
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

OBJECTS = 1 + len(FLAGGED)


def command(settings: Settings, *arguments: str, status: int = 0) -> str:
    """Run a command on these settings in this process; return what it wrote."""
    done = CliRunner().invoke(app, arguments, env=environment(settings))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture
def bench(make_settings: Callable[..., Settings], sessions: SessionFactory, database_url: str, tmp_path: Path) -> Bench:
    write_test_bundle(tmp_path / "bundle")
    return Bench(make_settings(bundles={"default": tmp_path / "bundle"}, database_url=database_url), sessions)


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with an empty data folder and, for PostgreSQL, an empty database: another machine."""
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite":
        other = f"sqlite:///{tmp_path / 'other.db'}"
    else:
        name = f"{url.database}_other_{secrets.token_hex(4)}"
        administer(url.set(database="postgres").render_as_string(hide_password=False), f"CREATE DATABASE {name}")
        other = url.set(database=name).render_as_string(hide_password=False)
    return settings.model_copy(update={"data_dir": tmp_path / "other", "database_url": other})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("[0-9]*/*")}


def test_a_backup_comes_back_whole_and_says_what_is_missing_changed_or_strange(bench: Bench, tmp_path: Path) -> None:
    studies = [bench.triage(chest_radiograph()).study_instance_uid for _ in range(2)]
    folder, settings = tmp_path / "backup", bench.settings
    assert json.loads(command(settings, "backup", str(folder), "--json"))["copied"] == 2 + 2 * OBJECTS
    studies.append(bench.triage(chest_radiograph()).study_instance_uid)
    again = json.loads(command(settings, "backup", str(folder), "--json"))
    assert (again["copied"], again["instances"], again["results"]) == (1 + OBJECTS, 3, 3 * OBJECTS)

    other = elsewhere(settings, tmp_path)
    command(other, "restore", str(folder))
    with pytest.raises(BackupError, match="is not empty"):
        command(other, "restore", str(folder))
    for store in ("instances", "results"):
        assert files(other.data_dir / store) == files(settings.data_dir / store)
    shown = [json.loads(command(place, "show", studies[-1], "--json")) for place in (settings, other)]
    assert [shown[0][part] for part in ("instances", "runs", "events")] == [
        shown[1][part] for part in ("instances", "runs", "events")
    ]

    found = json.loads(command(other, "verify", "--hashes", "--json"))
    assert (found["rows"], found["whole"], found["stray"]) == (3 + 3 * OBJECTS, True, [])
    first, second, third = sorted((other.data_dir / "results").glob("[0-9]*/*"))[:3]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    third.with_name("0123456789abcdef.dcm").write_bytes(b"left by somebody")
    found = json.loads(command(other, "verify", "--hashes", "--json", status=1))
    assert [len(found[kind]) for kind in ("missing", "changed", "stray")] == [1, 1, 1]
    assert found["missing"] == [first.relative_to(other.data_dir).as_posix()]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_finished_backup_is_not_restored(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    bench.triage(chest_radiograph())
    command(bench.settings, "backup", str(folder))
    (folder / "backup.json").unlink()
    with pytest.raises(BackupError, match="no finished backup"):
        command(bench.settings, "restore", str(folder))
    with pytest.raises(BackupError, match="another disk"):
        command(bench.settings, "backup", str(bench.settings.data_dir / "backup"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_takes_nothing_from_the_data_folder_of_another_worker(bench: Bench, tmp_path: Path) -> None:
    bench.triage(chest_radiograph())
    before = {path: path.read_bytes() for path in bench.settings.data_dir.rglob("*") if path.is_file()}
    other = bench.settings.model_copy(update={"data_dir": tmp_path / "other", "database_url": ""})
    command(other, "migrate")
    with pytest.raises(BackupError, match="is a data_dir"):
        command(other, "backup", str(bench.settings.data_dir))
    assert {path: path.read_bytes() for path in bench.settings.data_dir.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", ["after_copies_before_manifest", "after_manifest_before_removals"])
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_backup_that_is_killed_leaves_one_that_is_whole(bench: Bench, tmp_path: Path, place: str) -> None:
    folder, settings = tmp_path / "backup", bench.settings
    kept = bench.triage(chest_radiograph()).study_instance_uid
    command(settings, "backup", str(folder))
    bench.triage(chest_radiograph())
    killed = run_command("worker", ["backup", str(folder)], environment(settings) | {"CXR_FAILPOINT": place}, tmp_path)
    assert killed.returncode == -signal.SIGKILL
    other = elsewhere(settings, tmp_path)
    command(other, "restore", str(folder))
    assert json.loads(command(other, "verify", "--hashes", "--json"))["missing"] == []
    command(other, "show", kept)
    command(settings, "backup", str(folder))
    assert len([path for path in folder.iterdir() if path.name.startswith("triage")]) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_without_room_says_so_and_leaves_the_earlier_one(bench: Bench, tmp_path: Path) -> None:
    folder, settings = tmp_path / "backup", bench.settings
    command(settings, "backup", str(folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bench.triage(chest_radiograph(np.zeros((1000, 1000), np.uint16)))
    largest = max(path.stat().st_size for path in settings.instances_dir.glob("[0-9]*/*"))
    assert 2 * max(map(len, before.values())) < largest, "the database's copy fits, the image's does not"
    with files_of_at_most(largest - 1), pytest.raises(BackupError, match="an earlier backup there is kept"):
        command(settings, "backup", str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_was_begun_anew_does_not_take_the_place_of_a_backup(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    bench.triage(chest_radiograph())
    command(bench.settings, "backup", str(folder))
    fresh = bench.settings.model_copy(update={"data_dir": tmp_path / "unmounted", "database_url": ""})
    command(fresh, "migrate")
    with pytest.raises(BackupError, match="is the right disk mounted"):
        command(fresh, "backup", str(folder))
    command(elsewhere(bench.settings, tmp_path), "restore", str(folder))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_of_two_backups_into_one_folder_at_once_one_is_refused(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with (
        sole_process("backup", folder),
        pytest.raises(BackupError, match=r"another backup into .* is under way; wait until it ends"),
    ):
        command(bench.settings, "backup", str(folder))


def environment(settings: Settings) -> dict[str, str]:
    return settings_environment(settings) | {"COLUMNS": "200"}


def really(settings: Settings, *arguments: str) -> None:
    """Run the command as a person does, in a process of its own; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=settings_environment(settings) | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"\n{arguments[0]}: {done.stdout.strip()}")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_everything_destroyed_comes_back_from_a_backup_that_was_taken_while_studies_arrived(
    start_hospital: StartHospital, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    database_url = str(request.getfixturevalue(f"{kind}_url"))
    orthanc, site = start_hospital(ONLY_IMAGES, database_url=database_url)
    archive = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": orthanc.dicom_port}
    settings, backup = Settings.model_validate(site.settings.model_dump() | {"reconcile": archive}), tmp_path / "backup"
    acknowledged, afterwards = _backed_up_under_load(orthanc, site, backup)
    wait_until(lambda: _settled(site, len(acknowledged | afterwards)), "everything is analysed and stored", 240)
    held = orthanc.call("/statistics")["CountInstances"]
    assert held == (1 + OBJECTS) * len(acknowledged | afterwards)

    site.kill(site.processes[-1])
    _destroy(settings, database_url)
    really(settings, "restore", str(backup))
    really(settings, "verify", "--hashes")
    site.start_listening(UP)
    assert acknowledged <= _studies(site)
    really(settings, "reconcile", "--since", f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}")
    wait_until(lambda: _settled(site, len(acknowledged | afterwards)), "what came after the backup is analysed", 240)
    assert _studies(site) == acknowledged | afterwards
    assert orthanc.call("/statistics")["CountInstances"] == held, "nothing is in the archive twice"


def _backed_up_under_load(orthanc: Orthanc, site: Site, backup: Path) -> tuple[set[str], set[str]]:
    """Back up while images arrive; return the studies acknowledged before it began, and those that came later."""
    sent: list[str] = []
    over = threading.Event()

    def push_until_over() -> None:
        while not over.is_set():
            sent.append(_push(orthanc, site))

    pushing = threading.Thread(target=push_until_over)
    pushing.start()
    try:
        wait_until(lambda: len(_studies(site)) >= 5, "some studies are here", 120)
        before = _studies(site)
        really(site.settings, "backup", str(backup))
        wait_until(lambda: len(sent) >= len(before) + 5, "more came", 120)
    finally:
        over.set()
        pushing.join()
    with site.session() as session:
        assert session.scalar(select(func.count()).where(Event.kind == "backed_up")) == 1
    return before, set(sent) - before


def _push(orthanc: Orthanc, site: Site) -> str:
    dataset = chest_radiograph(StudyDate=f"{datetime.now(UTC):%Y%m%d}", StudyTime=f"{datetime.now(UTC):%H%M%S}")
    path = write_dicom(dataset, site.log_path.parent / f"{dataset.SOPInstanceUID}.dcm")
    orthanc.push(path)
    return str(dataset.StudyInstanceUID)


def _studies(site: Site) -> set[str]:
    with site.session() as session:
        return set(session.scalars(select(Study.study_instance_uid)))


def _settled(site: Site, studies: int) -> bool:
    """Say whether so many studies are here, each with all its results in the archive."""
    with site.session() as session:
        done = set(session.scalars(select(Run.study_instance_uid).where(Run.state == "done")))
        results = session.scalars(select(Result)).all()
        return len(done) == studies and all(item.state == "sent" for row in results for item in row.deliveries)


def _destroy(settings: Settings, database_url: str) -> None:
    """Lose the data folder and the database, as with a machine that burnt."""
    shutil.rmtree(settings.data_dir)
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        for file in Path(str(url.database)).parent.glob(f"{Path(str(url.database)).name}*"):
            file.unlink()
        return
    server = url.set(database="postgres").render_as_string(hide_password=False)
    administer(server, f"DROP DATABASE {url.database} WITH (FORCE)")
    administer(server, f"CREATE DATABASE {url.database}")
