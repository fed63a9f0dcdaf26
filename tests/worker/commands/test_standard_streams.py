"""Commands whose standard streams are closed, full or read by nobody end in one sentence, and never by a stack."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sites import LISTEN, Site, wait_until
from study_rows import add_triaged_study, now

from worker.commands.at_hand import opened
from worker.processes.up import answers
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "model" / "bundles" / "phantom-densenet121"
WRITES = {
    "worker": "studies --json",
    "training": "recipes --keys",
    "model": f"show {BUNDLE} --json",
    "worklist": "--help",
}
"""Of each command line something that writes to standard output."""


@pytest.fixture
def settings(make_settings: Callable[..., Settings], sqlite_url: str) -> Settings:
    return make_settings(database_url=sqlite_url)


def shell(settings: Settings, package: str, rest: str) -> subprocess.CompletedProcess[str]:
    """Have a shell run a command of a package, so that it can close streams; standard error is read."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -W ignore -m {package} {rest}"],
        cwd=ROOT,
        env=settings_environment(settings) | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(("package", "command"), WRITES.items())
@pytest.mark.parametrize(
    ("where", "said"), [(">/dev/full", "No space left on device: standard output"), (">&-", "closed: standard output")]
)
def test_what_cannot_be_written_is_told_in_one_sentence(
    settings: Settings, package: str, command: str, where: str, said: str
) -> None:
    done = shell(settings, package, f"{command} {where}")
    assert (done.returncode, done.stderr.strip().removeprefix("error: ")) == (1, said)


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(settings: Settings) -> None:
    with opened(settings, read_only=False) as session:
        for _ in range(200):  # more than a pipe holds
            add_triaged_study(session, {"Mass": 0.9}, now=now())
    done = shell(settings, "worker", "studies --limit 200 --json | head -1")
    assert (done.returncode, done.stdout, done.stderr) == (1, "{\n", "")


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>/dev/full"])
def test_a_mistake_keeps_its_exit_code_where_nobody_can_be_told(settings: Settings, streams: str) -> None:
    assert shell(settings, "worker", f"studies --limit x {streams}").returncode == 2
    assert shell(settings, "worker", f"show 1.2.3 {streams}").returncode == 1


def test_files_do_not_get_the_numbers_of_closed_streams(settings: Settings, tmp_path: Path) -> None:
    """What a library prints would land in the database."""
    fresh = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'fresh.db'}"})
    assert shell(fresh, "worker", "migrate <&- >&- 2>&-").returncode == 1
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchall() == [(1,)]


def test_a_listener_goes_on_while_its_log_cannot_be_written(site_with: Callable[..., Site], tmp_path: Path) -> None:
    site = site_with()
    full = os.open("/dev/full", os.O_WRONLY)
    environment = settings_environment(site.settings) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "worker", *LISTEN]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=full, stderr=full) as listener:
        os.close(full)
        try:
            wait_until(lambda: answers(site.settings), "it answers")
        finally:
            listener.terminate()
    assert listener.returncode == 0
