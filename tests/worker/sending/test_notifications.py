"""People told of studies that cannot wait, by a real HTTP server and a real mail server: once, and without patients."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from benches import Bench
from bundles import write_test_bundle
from certificates import certificate_files
from factories import chest_radiograph
from services import free_port
from sqlalchemy import select, update

from worker.care.administration import mark_read
from worker.care.check import check_everything
from worker.figures.flow import channel_figures
from worker.processes.lost_rings import deliveries_to_ring
from worker.rows.database import SessionFactory, database_now
from worker.rows.delivery_tables import Notification
from worker.rows.site_tables import Event
from worker.rows.study_tables import Study
from worker.sending.delivery import deliver
from worker.sending.notification_rows import Message, note_told, queue_notifications, take_due
from worker.sending.notification_text import as_json
from worker.settings.config import ConfigurationError, Settings, load_settings
from worker.settings.notifications import Webhook

pytestmark = pytest.mark.either_database

MakeBench = Callable[..., Bench]
PATIENT = {"PatientName": "Gruen^Anne", "PatientID": "HOSPITAL-4711", "AccessionNumber": "ACC-0815"}
SECRETS = ("Gruen", "4711", "0815", "Pneumothorax")


@dataclass
class Hook:
    """A program that is told; ``answers`` are given in turn, the last one for ever."""

    answers: list[int] = field(default_factory=lambda: [204])
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    told = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            told.headers.append(dict(self.headers))
            self.send_response(told.answers.pop(0) if len(told.answers) > 1 else told.answers[0])
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}/alarm"
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


class Postman:
    """Takes mail of a real SMTP server; recipients that start with ``gone`` do not exist here."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.goodbye = "221 Bye"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address.startswith("gone"):
            return f"550 no such user {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self.goodbye

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.taken.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default), session.ssl))
        return "250 OK"

    def log_in(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@contextmanager
def mail_server(**options: Any) -> Iterator[tuple[Postman, int]]:
    postman = Postman()
    port = free_port()
    controller = Controller(postman, "127.0.0.1", port, authenticator=postman.log_in, **options)
    controller.start()
    try:
        yield postman, port
    finally:
        controller.stop()


@pytest.fixture
def make_bench(make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path) -> MakeBench:
    write_test_bundle(tmp_path / "bundle")

    def make(**fields: object) -> Bench:
        settings = make_settings(bundles={"default": tmp_path / "bundle"}, page_url="https://cxr.example.org", **fields)
        return Bench(settings, sessions)

    return make


def told(bench: Bench, **keywords: object) -> Study:
    study = bench.triage(chest_radiograph(**(PATIENT | keywords)))
    deliver(study.study_instance_uid, bench.office)
    return study


def rows(bench: Bench) -> list[Notification]:
    with bench.sessions() as session:
        return list(session.scalars(select(Notification).order_by(Notification.id)))


def make_due(bench: Bench) -> None:
    with bench.sessions.begin() as session:
        session.execute(update(Notification).values(next_attempt_at=database_now(session)))


def test_a_webhook_is_told_once_signed_and_without_the_patient(
    make_bench: MakeBench, hook: Hook, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("between us\n")
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url, "secret_file": tmp_path / "secret"}])
    study = told(bench)
    deliver(study.study_instance_uid, bench.office)
    (body,) = hook.bodies
    said = json.loads(body)
    assert (said["event"], said["priority"], said["unread"]) == ("study_flagged", "STAT", 1)
    assert said["link"] == "https://cxr.example.org"
    for secret in (*SECRETS, study.study_instance_uid):
        assert secret not in body.decode()
    signature = hmac.new(b"between us", body, hashlib.sha256).hexdigest()
    assert hook.headers[0]["X-CXR-Signature"] == f"sha256={signature}"
    (row,) = rows(bench)
    assert (row.state, row.attempts, row.last_answer) == ("sent", 1, "HTTP 204")
    assert "notified" in bench.event_kinds(study.study_instance_uid)
    late = chest_radiograph(StudyInstanceUID=study.study_instance_uid, **PATIENT)
    told(bench, StudyInstanceUID=late.StudyInstanceUID)
    assert len(hook.bodies) == 1, "another run of the same study tells nobody again"


def test_a_failure_is_tried_again_until_it_is_heard(make_bench: MakeBench, hook: Hook) -> None:
    hook.answers = [503, 302, 200]
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url}], delivery_first_retry_seconds=30)
    study = told(bench)
    deliver(study.study_instance_uid, bench.office)
    assert len(hook.bodies) == 1, "not before its time"
    (row,) = rows(bench)
    assert (row.state, row.last_answer) == ("pending", "answered HTTP 503")
    with bench.sessions() as session:
        (figures,) = channel_figures(session, database_now(session), ["on call"])
    assert (figures.pending, figures.unreachable) == (1, 1)
    for answer, state in (("answered HTTP 302", "pending"), ("HTTP 200", "sent")):
        make_due(bench)
        with bench.sessions.begin() as session:
            assert deliveries_to_ring(session, bench.settings) == [study.study_instance_uid]
        deliver(study.study_instance_uid, bench.office)
        (row,) = rows(bench)
        assert (row.state, row.last_answer) == (state, answer)
    assert len({json.loads(body)["id"] for body in hook.bodies}) == 1, "a receiver can tell a repeated one"
    kinds = [kind for kind in bench.event_kinds(study.study_instance_uid) if kind.startswith("notif")]
    assert kinds == ["notification_delayed", "notified"]


def test_nobody_is_told_of_what_was_read_meanwhile_or_never_flagged(make_bench: MakeBench, hook: Hook) -> None:
    hook.answers = [503]
    urgent = {"name": "urgent too", "url": hook.url, "levels": ["URGENT"]}
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url}, urgent])
    study = told(bench)
    told(bench, StudyDate="20200101", PatientID="OLD")
    assert [row.channel for row in rows(bench)] == ["on call"], "STAT is not URGENT, and an old study is neither"
    with bench.sessions.begin() as session:
        mark_read(session, study.study_instance_uid, "anna")
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    (row,) = rows(bench)
    assert row.state == "superseded"
    assert len(hook.bodies) == 1


def test_each_study_is_told_of_through_every_channel_and_no_other_studys_delivery_tells_it(
    make_bench: MakeBench, hook: Hook
) -> None:
    bench = make_bench(webhooks=[{"name": name, "url": hook.url} for name in ("on call", "ward")])
    first, second, lowered = (
        bench.triage(chest_radiograph(**PATIENT)).study_instance_uid for _ in ("first", "second", "lowered")
    )
    with bench.sessions.begin() as session:
        session.get_one(Study, lowered).priority = "ROUTINE"
    for uid, told_before in ((first, []), (second, [first])):
        deliver(uid, bench.office)
        by_state = {(row.study_instance_uid, row.state) for row in rows(bench)}
        assert {told for told, state in by_state if state == "sent"} == {*told_before, uid}
        with bench.sessions.begin() as session:
            mark_read(session, uid, "anna")
    assert [json.loads(body)["unread"] for body in hook.bodies] == [2, 2, 1, 1]
    deliver(lowered, bench.office)
    assert [row.state for row in rows(bench) if row.study_instance_uid == lowered] == ["superseded"] * 2
    assert len(hook.bodies) == 4


def test_another_level_is_told_of_unless_a_person_knows_of_it(make_bench: MakeBench, hook: Hook) -> None:
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url, "levels": ["STAT", "URGENT"]}])
    uid = told(bench).study_instance_uid
    run_id = bench.runs(uid)[-1].id
    for change, queued in (
        ({"priority": "STAT"}, 1),
        ({"priority": "URGENT"}, 2),
        ({"priority": "URGENT", "read_at": datetime.now(UTC)}, 1),
        ({"priority": "URGENT", "priority_set_by": "Ada"}, 1),
        ({"priority": "URGENT", "historical": True}, 1),
        ({"priority": "ROUTINE"}, 1),
    ):
        with bench.sessions() as session:
            study = session.get_one(Study, uid)
            for name, value in change.items():
                setattr(study, name, value)
            queue_notifications(session, study, run_id, bench.settings)
            assert len(session.scalars(select(Notification)).all()) == queued, change
            session.rollback()


def test_of_two_processes_one_tells_and_the_one_that_is_late_notes_nothing(make_bench: MakeBench, hook: Hook) -> None:
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url}])
    uid = bench.triage(chest_radiograph(**PATIENT)).study_instance_uid

    def taken() -> list[Message]:
        with bench.sessions.begin() as session:
            return take_due(session, uid, bench.settings.channels[0], "on call", bench.settings)

    (late,) = taken()
    assert taken() == [], "in hand already"
    with bench.sessions.begin() as session:
        session.execute(update(Notification).values(lease_until=database_now(session) - timedelta(seconds=1)))
    (quick,) = taken()
    with bench.sessions.begin() as session:
        assert not note_told(session, late, "HTTP 204")
        assert note_told(session, quick, "HTTP 204")


def test_a_silent_program_and_a_held_study_keep_their_row(make_bench: MakeBench, hook: Hook) -> None:
    bench = make_bench(webhooks=[{"name": "on call", "url": "http://127.0.0.1:9/"}])
    study = told(bench)
    (row,) = rows(bench)
    assert (row.state, row.last_answer) == ("pending", "no answer (ConnectError)")
    with bench.sessions.begin() as session:
        session.get_one(Study, study.study_instance_uid).state = "held"
    make_due(bench)
    deliver(study.study_instance_uid, bench.office)
    assert rows(bench)[0].attempts == 1


@pytest.mark.parametrize(
    "fields", [{"secret_file": "no text"}, {"url": "http://on..call:9/"}], ids=["no text", "no host name"]
)
def test_what_cannot_be_used_of_the_configuration_keeps_the_row_too(
    make_bench: MakeBench, hook: Hook, tmp_path: Path, fields: dict[str, str]
) -> None:
    (tmp_path / "no text").write_bytes(b"\xff\xfe")
    webhook = {"name": "on call", "url": hook.url} | fields
    if "secret_file" in webhook:
        webhook["secret_file"] = str(tmp_path / webhook["secret_file"])
    bench = make_bench(webhooks=[webhook])
    told(bench)
    (row,) = rows(bench)
    assert (row.state, str(row.last_answer)[:11]) == ("pending", "no answer (")


def test_what_follows_the_answer_is_not_waited_for(make_bench: MakeBench) -> None:
    """A program that never comes to the end of its answer's body has heard all the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # the client has hung up
                for _ in range(100):
                    self.wfile.write(b"x" * 1000)
                    time.sleep(0.2)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        bench = make_bench(webhooks=[{"name": "on call", "url": f"http://127.0.0.1:{server.server_address[1]}/"}])
        started = time.monotonic()
        told(bench)
        assert rows(bench)[0].state == "sent"
        assert time.monotonic() - started < 15, "its body takes 20 s"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_quiet_hours_put_it_off_and_do_not_count_as_late(make_bench: MakeBench, hook: Hook) -> None:
    now = datetime.now(UTC)
    begins, ends = (now + timedelta(minutes=minutes) for minutes in (-30, 30))
    quiet = f"{begins:%H:%M}-{ends:%H:%M}"
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url, "quiet_hours": quiet}])
    study = told(bench)
    assert hook.bodies == []
    (row,) = rows(bench)
    assert row.next_attempt_at is not None
    assert timedelta(minutes=28) < row.next_attempt_at - now < timedelta(minutes=31)
    with bench.sessions() as session:
        (figures,) = channel_figures(session, database_now(session), ["on call"])
    assert (figures.pending, figures.oldest_pending_seconds) == (1, None)
    make_due(bench)  # as if somebody had meddled: quiet hours hold at the moment of sending, too
    deliver(study.study_instance_uid, bench.office)
    assert hook.bodies == []


@pytest.mark.parametrize(
    ("quiet", "local", "told_at"),
    [
        ("22:00-06:30", "2026-03-02 23:15", "2026-03-03 06:30"),
        ("22:00-06:30", "2026-03-03 05:00", "2026-03-03 06:30"),
        ("22:00-06:30", "2026-03-03 06:30", "2026-03-03 06:30"),
        ("22:00-06:30", "2026-03-03 12:00", "2026-03-03 12:00"),
        ("12:00-13:00", "2026-03-03 12:30", "2026-03-03 13:00"),
        ("", "2026-03-03 12:30", "2026-03-03 12:30"),
        ("22:00-06:30", "2026-03-28 23:00", "2026-03-29 06:30"),  # the clocks go forward in that night
    ],
)
def test_the_end_of_quiet_hours_is_reckoned_on_the_sites_clock(quiet: str, local: str, told_at: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    moment, expected = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (local, told_at))
    channel = Webhook(name="x", url="http://x", quiet_hours=quiet)
    assert channel.outside_quiet_hours(moment.astimezone(UTC), zone) == expected


def test_quiet_hours_that_end_in_the_hour_that_comes_twice_end_the_second_time() -> None:
    channel = Webhook(name="x", url="http://x", quiet_hours="22:00-02:30")
    for moment, told_at in (("00:10", "00:30"), ("01:10", "01:30")):  # UTC; clocks in Berlin show 02:10 and 02:30 twice
        at = datetime.fromisoformat(f"2026-10-25T{moment}:00+00:00")
        expected = datetime.fromisoformat(f"2026-10-25T{told_at}:00+00:00")
        assert channel.outside_quiet_hours(at, ZoneInfo("Europe/Berlin")) == expected


def test_mail_says_that_something_waits_and_nothing_of_whom(make_bench: MakeBench) -> None:
    with mail_server() as (postman, port):
        people = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "cxr@example.org"}
        bench = make_bench(mails=[{"name": "desk", "recipients": ["a@example.org", "gone@example.org"], **people}])
        study = told(bench)
        (taken,) = postman.taken
        recipients, message, _ssl = taken
        assert recipients == ["a@example.org"]
        assert message["Subject"] == "STAT: a chest radiograph waits"
        text = message.get_content()
        assert "Read it: https://cxr.example.org" in text.splitlines()
        assert "NOT A MEDICAL DEVICE - NOT FOR DIAGNOSTIC USE" in text
        for secret in (*SECRETS, study.study_instance_uid):
            assert secret not in message.as_string()
        assert rows(bench)[0].last_answer == "taken for 1 of 2 recipients"
        nobody = make_bench(mails=[{"name": "nobody", "recipients": ["gone@example.org"], **people}])
        told(nobody, PatientID="B")
        assert rows(nobody)[-1].last_answer == "the mail server refused every recipient"


@pytest.mark.parametrize("goodbye", ["421 too busy to say goodbye", "250 OK", "what was that"])
def test_mail_that_was_taken_is_not_sent_again_for_the_goodbye(make_bench: MakeBench, goodbye: str) -> None:
    with mail_server() as (postman, port):
        postman.goodbye = goodbye
        mail = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "cxr@example.org"}
        bench = make_bench(mails=[{"name": "desk", "recipients": ["a@example.org"], **mail}])
        study = told(bench)
        make_due(bench)
        deliver(study.study_instance_uid, bench.office)
        assert len(postman.taken) == 1
        assert [(row.state, row.last_answer) for row in rows(bench)] == [("sent", "taken for 1 of 1 recipients")]
        checks = {result.name: result for result in check_everything(bench.settings)}
        assert checks["mail desk"].passed, checks["mail desk"].detail


def test_a_site_may_name_the_patient_and_hostile_text_breaks_nothing(make_bench: MakeBench, hook: Hook) -> None:
    with mail_server() as (postman, port):
        mail = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "cxr@example.org"}
        desk = {"name": "desk", "recipients": ["a@example.org"], "patient_data": True, **mail}
        bench = make_bench(mails=[desk], webhooks=[{"name": "ris", "url": hook.url, "patient_data": True}])
        study = told(bench, PatientName="Gr\u00fcn^\u202eAnne\x0b", SpecificCharacterSet="ISO_IR 192")
        text = postman.taken[0][1].get_content()
    assert "Pneumothorax" in text
    assert "HOSPITAL-4711" in text
    assert f"https://cxr.example.org/studies/{study.study_instance_uid}" in text
    assert "\u202e" not in text, "nothing turns the line round"
    assert json.loads(hook.bodies[0])["study"]["accession_number"] == "ACC-0815"


def test_mail_goes_over_tls_with_a_login_and_never_without(make_bench: MakeBench, tmp_path: Path) -> None:
    files = certificate_files(tmp_path / "mail")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    (tmp_path / "umlaut").write_text("f\u00fcr uns\n", encoding="utf-8")
    (tmp_path / "no text").write_bytes(b"\xff\xfe")
    with mail_server(tls_context=context, require_starttls=True, auth_required=True) as (postman, port):
        mail = {
            "name": "desk",
            "host": "127.0.0.1",
            "port": port,
            "sender": "cxr@example.org",
            "recipients": ["a@example.org"],
            "username": "cxr",
            "password_file": tmp_path / "right",
            "ca_file": files.ca,
        }
        bench = make_bench(mails=[mail])
        told(bench)
        assert postman.taken[0][2] is not None, "the message came over TLS"
        assert rows(bench)[-1].state == "sent"
        checks = {result.name: result for result in check_everything(bench.settings)}
        assert checks["mail desk"].passed, checks["mail desk"].detail
        files_of = [{"password_file": tmp_path / name} for name in ("wrong", "umlaut", "no text")]
        for number, change in enumerate((*files_of, {"ca_file": None})):
            told(wrong := make_bench(mails=[mail | change | {"name": f"wrong {number}"}]), PatientID=f"W{number}")
            assert rows(wrong)[-1].state == "pending"
        assert len(postman.taken) == 1
        assert [row.last_answer for row in rows(bench)[1:]] == [
            "the mail server answered 535",
            "no mail server (UnicodeEncodeError)",
            "no mail server (UnicodeDecodeError)",
            "no mail server (SSLCertVerificationError)",
        ]


def test_a_channel_that_is_gone_fails_visibly_and_names_are_unique(make_bench: MakeBench, hook: Hook) -> None:
    hook.answers = [503]
    bench = make_bench(webhooks=[{"name": "on call", "url": hook.url}])
    study = told(bench)
    make_due(bench)
    deliver(study.study_instance_uid, make_bench().office)
    assert (rows(bench)[0].state, rows(bench)[0].attempts) == ("failed", 1)
    with bench.sessions() as session:
        reasons = session.scalars(select(Event.reason).where(Event.kind == "notification_delayed")).all()
    assert reasons == ["on call: answered HTTP 503"]
    twice = [{"name": "same", "url": hook.url}] * 2
    with pytest.raises(ConfigurationError, match="each name may stand once"):
        load_settings(webhooks=twice)
    with pytest.raises(ConfigurationError, match="quiet_hours"):
        load_settings(webhooks=[{"name": "x", "url": hook.url, "quiet_hours": "22-6"}])


def test_the_page_that_describes_it_holds_a_configuration_that_loads(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "notifications.md").read_text(encoding="utf-8")
    (tmp_path / "site.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    settings = load_settings(tmp_path / "site.toml")
    assert [channel.name for channel in settings.channels] == ["on call", "reading room"]
    described = set(json.loads(text.split("```json\n")[1].split("```")[0]))
    message = Message(1, 1, 1, "on call", 1, "1.2", "STAT", datetime.now(UTC), "ER_DX", 1, "", "", "", "")
    assert set(as_json(message, settings.webhooks[0], settings)) == described
