"""The HL7 listener as a process: started by itself or by ``up``, killed between row and answer, stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_test_bundle
from factories import chest_radiograph, write_dicom
from hl7.client import MLLPClient
from hl7_messages import patient, report, update
from services import free_port
from sites import QUICK, Site, wait_until
from sqlalchemy import func, select
from typer.testing import CliRunner

from hl7_io.mllp import framed
from worker.cli import app
from worker.processes.up import services
from worker.rows.site_tables import InboundMessage
from worker.settings.config import Settings

pytestmark = pytest.mark.timeout(300)
HL7 = ("hl7",)


@pytest.fixture
def site(make_settings: Callable[..., Settings], sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    settings = make_settings(
        database_url=sqlite_url,
        listen_port=free_port(),
        bundles={"default": write_test_bundle(tmp_path / "bundle").folder},
        hl7_listener={"port": free_port()},
        **QUICK,
    )
    made = Site(settings, tmp_path / "log.txt")
    yield made
    made.stop()


def port_of(site: Site) -> int:
    assert site.settings.hl7_listener is not None
    return site.settings.hl7_listener.port


def answers(site: Site) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port_of(site)), 1).close()
    except OSError:
        return False
    return True


def told(site: Site, content: bytes) -> bytes:
    with MLLPClient("127.0.0.1", port_of(site)) as client:
        client.socket.settimeout(20)
        return client.send(framed(content))


def stored(site: Site) -> int:
    with site.session() as session:
        return session.scalar(select(func.count()).select_from(InboundMessage)) or 0


def test_a_listener_killed_between_row_and_answer_loses_and_doubles_nothing(site: Site) -> None:
    dying = site.start(HL7, "after_row_before_reply")
    wait_until(lambda: answers(site), "the listener answers")
    sent = update(patient())
    try:
        answer = told(site, sent)
    except ConnectionError:
        answer = b""
    assert answer == b""
    assert dying.wait(10) == -signal.SIGKILL
    assert stored(site) == 1
    site.forked = False
    again = site.start(HL7)
    wait_until(lambda: answers(site), "the next listener answers")
    assert b"MSA|AA|" in told(site, sent)
    assert stored(site) == 1
    again.terminate()
    assert again.wait(20) == 0


def test_up_listens_for_messages_too_and_a_final_report_marks_the_study_read(site: Site, tmp_path: Path) -> None:
    site.start_listening()
    wait_until(lambda: answers(site), "the HL7 listener answers")
    source = chest_radiograph()
    uid = str(source.StudyInstanceUID)
    assert site.send(write_dicom(source, tmp_path / "a.dcm"))[0].status == 0x0000
    site.wait_for_state(uid, "triaged")
    assert b"MSA|AA|" in told(site, report(patient(), uid=uid))
    wait_until(lambda: (study := site.study(uid)) is not None and study.read_at is not None, "the study is read")
    assert "Phantom" not in site.log()


def test_up_starts_the_listener_only_where_it_is_configured() -> None:
    assert "HL7 listener" not in [service.name for service in services(worklist=True)]
    assert "HL7 listener" in [service.name for service in services(worklist=True, hl7=True)]


def test_without_a_configuration_the_command_says_what_to_add(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from worker.hl7.listener import NotConfigured

    monkeypatch.setenv("CXR_DATA_DIR", str(tmp_path))
    with pytest.raises(NotConfigured, match=r"\[hl7_listener\]"):
        CliRunner().invoke(app, ["hl7"], catch_exceptions=False)


def test_the_messages_command_lists_what_came_and_what_became_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str, make_settings: Callable[..., Settings]
) -> None:
    from worker.hl7.inbox import Inbox
    from worker.rows.database import open_engine, session_factory
    from worker.settings.hl7_listener import Hl7Listener

    engine = open_engine(sqlite_url)
    Inbox(make_settings(), Hl7Listener(), session_factory(engine)).take(
        update(patient(), control_id="C-9"), "192.0.2.7"
    )
    engine.dispose()
    monkeypatch.setenv("CXR_DATABASE_URL", sqlite_url)
    shown = CliRunner().invoke(app, ["messages", "--state", "waiting", "--json"])
    assert shown.exit_code == 0
    assert '"control_id": "C-9"' in shown.stdout
    assert "Phantom" not in shown.stdout
    assert "C-9" in CliRunner().invoke(app, ["messages"]).stdout
    assert "C-9" not in CliRunner().invoke(app, ["messages", "--state", "unmatched"]).stdout
