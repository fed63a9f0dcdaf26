"""What commands write and take on any terminal: texts that look like markup, other character sets, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Site
from sqlalchemy import select
from study_rows import add_triaged_study, now
from typer.testing import CliRunner

from worker.care.tokens import TokenRefused, create_token, list_tokens, revoke_token
from worker.cli import app
from worker.commands.at_hand import opened
from worker.rows.database import open_engine, session_factory
from worker.rows.site_tables import Event
from worker.rows.states import DeliveryState
from worker.settings.config import Settings
from worker.settings.environment import settings_environment

ROOT = Path(__file__).resolve().parents[3]
NAME = "山田^太郎"
MARKUP = "[/]"
"""Closes what nobody has opened, where it is taken for Rich's markup."""
run = CliRunner().invoke


@pytest.fixture
def site(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Site:
    """A study of a patient beyond Latin letters, whose results go to a destination that is named like markup."""
    archive = {"name": MARKUP, "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    settings = make_settings(database_url=sqlite_url, destinations=[archive])
    with opened(settings, read_only=False) as session:
        study = add_triaged_study(
            session, {"Mass": 0.9}, now=now(), delivery_state=DeliveryState.SENT, patient_name=NAME,
            accession_number="A-1",
        )  # fmt: skip
        for result in study.runs[0].results:
            for delivery in result.deliveries:
                delivery.destination = MARKUP
    return Site(settings, tmp_path / "log.txt")


def command(
    site: Site, *arguments: str, stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command from nothing: what the terminal can is settled when Python starts."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=settings_environment(site.settings) | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_lacks_a_letter_shows_the_others(site: Site, encoding: str) -> None:
    shown = command(site, "studies", PYTHONIOENCODING=encoding)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\u5c71" in shown.stdout
    listed = command(site, "studies", "--json", PYTHONIOENCODING=encoding)
    assert json.loads(listed.stdout)["studies"][0]["patient_name"] == "山田, 太郎"


def test_bytes_that_are_no_text_are_refused_in_words_and_change_nothing(site: Site) -> None:
    done = command(site, "override", "A-1", "--priority", "STAT", "--reason", "x", "--by", os.fsdecode(b"M\xfcller"))
    assert done.returncode == 1
    assert "no text in the character set of this terminal" in done.stderr
    assert "Traceback" not in done.stderr
    with opened(site.settings) as session:
        assert "priority_set" not in session.scalars(select(Event.kind)).all()


@pytest.fixture
def configured(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site, which commands in this process find through the environment."""
    for name, value in settings_environment(site.settings).items():
        if name.startswith("CXR_"):
            monkeypatch.setenv(name, value)
    return site


@pytest.mark.usefixtures("configured")
def test_names_that_look_like_markup_are_written_as_they_are() -> None:
    assert f"sending again 2 to {MARKUP}" in run(app, ["resend", "A-1"]).stdout
    assert run(app, ["token", "create", MARKUP]).exit_code == 0
    revoked = run(app, ["token", "revoke", MARKUP])
    assert (revoked.exit_code, revoked.stdout) == (0, f"token {MARKUP} is revoked\n")


def test_an_error_cannot_steer_the_terminal(site: Site) -> None:
    done = command(site, "show", "\x1b[2J")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "no study" in done.stderr


def test_no_study_named_is_said_to_be_none(configured: Site) -> None:
    assert configured.settings.destinations
    assert "no study was named" in str(run(app, ["show", ""]).exception)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    "arguments",
    [
        ("studies", "--limit", "9" * 20),
        ("studies", "--offset", "9" * 20),
        ("messages", "--limit", "9" * 20),
        ("compare", "--days", "999999999"),
        ("token", "create", "x", "--days", "1e300"),
        ("send", ".", "127.0.0.1:104", "--called", "ÄÖÜ"),
        ("send", ".", "127.0.0.1:104", "--calling", "a\\b"),
        ("send", ".", "127.0.0.1:104", "--calling", "   "),
    ],
)
def test_what_no_database_and_no_peer_can_take_is_not_understood(arguments: tuple[str, ...]) -> None:
    done = run(app, arguments)
    assert done.exit_code == 2, done.output
    assert "Invalid value" in done.output


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("columns", [40, 200])
def test_the_list_of_tokens_cuts_no_word_on_any_terminal(columns: int) -> None:
    assert "No token" in run(app, ["token", "list"]).stdout
    names = ("grafana of the radiology department", "prometheus")
    for name in names:
        assert run(app, ["token", "create", name, "--without-patients"]).exit_code == 0
    run(app, ["token", "revoke", "prometheus"])
    shown = run(app, ["token", "list"], env={"COLUMNS": str(columns)}).stdout
    assert max(len(line) for line in shown.splitlines()) <= columns
    words = " ".join(shown.split())
    assert all(name in words for name in names)
    assert words.count("without patients; made ") == 2
    assert "; never expires; never used" in words and "; revoked " in words


def test_of_two_who_make_a_token_of_one_name_at_once_one_is_refused(postgresql_url: str) -> None:
    """Two of a name could not be revoked; on SQLite one writes at a time."""
    engine = open_engine(postgresql_url)
    sessions = session_factory(engine)
    refused: list[str] = []

    def make_another() -> None:
        try:
            with sessions.begin() as session:
                create_token(session, "grafana", "bert", days=None, patients=True)
        except TokenRefused as error:
            refused.append(str(error))

    with sessions.begin() as session:
        create_token(session, "grafana", "anna", days=None, patients=True)
        other = threading.Thread(target=make_another)
        other.start()
        other.join(0.5)  # more than it takes alone: it must be waiting
    other.join(30)
    with sessions.begin() as session:
        revoke_token(session, "grafana", "anna")
    engine.dispose()
    assert "a token named grafana exists" in refused[0]


def test_a_token_that_cannot_be_written_down_is_not_made(site: Site) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = command(site, "token", "create", "grafana", stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    with opened(site.settings) as session:
        assert list_tokens(session) == []
