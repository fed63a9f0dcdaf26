"""What a command has set going is kept, and said to be, also where no worker can be told of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from services import free_port
from sites import Site
from study_rows import add_triaged_study, now

from worker.processes.late_bell import LateBell
from worker.rows.database import open_engine, session_factory
from worker.rows.states import DeliveryState, RunState
from worker.settings.config import Settings


def triaged(settings: Settings) -> str:
    engine = open_engine(settings.effective_database_url)
    with session_factory(engine).begin() as session:
        study = add_triaged_study(session, {"Mass": 0.9}, now=now(), delivery_state=DeliveryState.REFUSED)
        uid = study.study_instance_uid
    engine.dispose()
    return uid


def assert_kept_and_said(site: Site, uid: str) -> None:
    begun = time.monotonic()
    done = site.run("requeue", uid, "--json")
    assert time.monotonic() - begun < 20  # a minute, before
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study_instance_uid"] == uid
    assert "the order is kept" in done.stderr
    assert "sweeper" in done.stderr
    assert "Traceback" not in done.stderr
    assert [run.state for run in site.runs(uid)][1:] == [RunState.QUEUED]


def test_a_command_does_not_wait_for_a_queue_that_stands_still(
    make_settings: Callable[..., Settings], sqlite_url: str, silent_broker_url: str, tmp_path: Path
) -> None:
    site = Site(make_settings(database_url=sqlite_url, broker_url=silent_broker_url), tmp_path / "log.txt")
    assert_kept_and_said(site, triaged(site.settings))


def test_a_queue_that_is_gone_does_not_undo_a_command(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=sqlite_url, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    site = Site(settings, tmp_path / "log.txt")
    assert_kept_and_said(site, triaged(settings))


def test_a_folder_of_messages_that_cannot_be_made_does_not_undo_a_command(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=sqlite_url)
    settings.data_dir.mkdir()
    (settings.data_dir / "queue").write_text("a file where the folder belongs")
    site = Site(settings, tmp_path / "log.txt")
    assert_kept_and_said(site, triaged(settings))


def test_no_command_makes_a_folder_of_messages_where_a_disk_is_not_mounted(
    make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path
) -> None:
    settings = make_settings(database_url=sqlite_url)
    settings.data_dir.mkdir()
    site = Site(settings, tmp_path / "log.txt")
    assert_kept_and_said(site, triaged(settings))
    checks = {each["name"]: each for each in json.loads(site.run("check", "--json").stdout)["checks"]}
    assert (checks["broker"]["passed"], checks["disk"]["passed"]) == (True, True)
    assert list(settings.data_dir.iterdir()) == []


def test_a_bell_that_nobody_answers_is_left_to_the_sweeper_in_the_log(
    make_settings: Callable[..., Settings],
    silent_broker_url: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.processes.late_bell.STOP_SECONDS", 0.2)
    bell = LateBell()
    bell.load(make_settings(broker_url=silent_broker_url))
    bell("1.2.3", "routine")
    bell.stop()
    assert "left to the sweeper" in caplog.text
