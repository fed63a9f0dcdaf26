"""The HL7 listener on a real port: a real client is acknowledged once its message is durable, bad peers are cut off."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import hl7
import pytest
from certificates import certificate_files
from hl7.client import MLLPClient
from hl7_messages import message, patient, report, update
from one_database import database_url  # noqa: F401 (a fixture; `test_hl7_postgresql` has the other)
from sqlalchemy import QueuePool, create_engine, select

from hl7_io.mllp import framed
from hl7_io.mllp_server import MllpServer
from worker.hl7.inbox import Inbox
from worker.hl7.listener import open_server
from worker.rows.database import SessionFactory, open_engine, session_factory
from worker.rows.site_tables import InboundMessage
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener

Start = Callable[..., MllpServer]


@pytest.fixture
def start(make_settings: Callable[..., Settings], sessions: SessionFactory) -> Iterator[Start]:
    servers: list[tuple[MllpServer, threading.Thread]] = []

    def started(sessions: SessionFactory = sessions, **fields: Any) -> MllpServer:
        settings = make_settings()
        listener = Hl7Listener.model_construct(**(Hl7Listener().model_dump() | {"port": 0} | fields))
        server = open_server(settings, listener, Inbox(settings, listener, sessions))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return server

    yield started
    for server, thread in servers:
        server.stop()
        thread.join(10)


def told(server: MllpServer, *contents: bytes) -> list[Any]:
    """Send the messages over one connection with the client of the package ``hl7``; return the parsed answers."""
    with MLLPClient(*server.server_address[:2]) as client:
        return [hl7.parse(client.send(framed(content)).decode().strip("\x0b\x1c\r")) for content in contents]


def stored(sessions: SessionFactory) -> list[InboundMessage]:
    with sessions() as session:
        return list(session.scalars(select(InboundMessage).order_by(InboundMessage.id)))


def test_a_message_is_durable_before_its_sender_hears_aa(start: Start, sessions: SessionFactory) -> None:
    sent = update(patient(), control_id="C-77")
    (answer,) = told(start(), sent)
    assert str(answer["MSA.F1"]) == "AA"
    assert str(answer["MSA.F2"]) == "C-77"
    assert str(answer.segment("MSH")[9]) == "ACK^A08^ACK"
    assert str(answer["MSH.F5"]) == "HIS"
    assert str(answer["MSH.F3"]) == "CXRAI"
    (row,) = stored(sessions)
    assert (row.content, row.state, row.message_type, row.sender) == (sent, "waiting", "ADT^A08", "HIS at HOSPITAL")


def test_the_same_message_again_is_accepted_and_stored_once(start: Start, sessions: SessionFactory) -> None:
    sent = update(patient())
    server = start()
    answers = [*told(server, sent, sent), *told(server, sent)]
    assert [str(answer["MSA.F1"]) for answer in answers] == ["AA"] * 3
    assert len(stored(sessions)) == 1


def test_a_reused_control_id_with_other_content_is_another_message(start: Start, sessions: SessionFactory) -> None:
    told(start(), update(patient(), control_id="1"), update(patient("OTHER"), control_id="1"))
    assert len(stored(sessions)) == 2


@pytest.mark.parametrize(
    ("sent", "code", "error"),
    [
        (b"GET / HTTP/1.1", "AR", "100"),
        (b"MSH|^~\\&", "AR", "101"),
        (b"MSH|||||", "AR", "100"),
        (b"", "AR", "100"),
        (message(kind="ORM^O01^ORM_O01"), "AR", "200"),
        (message(patient(), processing_id="T"), "AR", "202"),
        (message(patient(), character_set="KLINGON"), "AR", "100"),
        (message(patient()).replace(b"Phantom", b"Ph\xe4ntom"), "AR", "100"),
        (message("EVN|A08|"), "AE", "100"),
        (message("EVN|A08|", "PID|1||"), "AE", "101"),
        (message(patient(), kind="ADT^A40^ADT_A39"), "AE", "100"),
        (message(patient(), kind="ORU^R01^ORU_R01"), "AE", "100"),
        (message(*[patient(), "MRG|X"] * 101, kind="ADT^A40^ADT_A39"), "AR", "207"),
        (message(patient(), *["OBR|1||R" + "|" * 22 + "F"] * 101, kind="ORU^R01^ORU_R01"), "AR", "207"),
        (update(patient(), control_id="GONE").replace(b"GONE", b""), "AR", "101"),
        (update(patient()) + update(patient("OTHER"), control_id="UNHEARD"), "AR", "100"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_reason_and_without_its_content(
    start: Start, sessions: SessionFactory, caplog: pytest.LogCaptureFixture, sent: bytes, code: str, error: str
) -> None:
    with caplog.at_level(logging.INFO):
        (answer,) = told(start(), sent)
    assert str(answer["MSA.F1"]) == code
    assert str(answer["ERR.F3.R1.C1"]) == error
    assert stored(sessions) == []
    assert "Phantom" not in caplog.text + str(answer)


@pytest.mark.parametrize("kind", ["ADT^A01^ADT_A01", "ADT^A04", "ADT^A60^ADT_A60"])
def test_other_admissions_are_accepted_so_that_feeds_do_not_stop(start: Start, kind: str) -> None:
    (answer,) = told(start(), message("EVN|A01|", patient(), kind=kind))
    assert str(answer["MSA.F1"]) == "AA"


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("AL", "NE", "CA", "CR"),
        ("NE", "AL", "AA", "AR"),
        ("ER", "NE", None, "CR"),
        ("SU", "NE", "CA", None),
        ("NE", "NE", None, None),
        ("NE", "unknown", "AA", "AR"),
    ],
)
def test_the_enhanced_mode_is_answered_as_the_sender_asks(
    start: Start, accept: str, application: str, good: str | None, bad: str | None
) -> None:
    server = start()
    modes = {"accept": accept, "application": application}
    with socket.create_connection(server.server_address[:2], 5) as connection:
        for sent, wanted in ((update(patient(), **modes), good), (message(kind="ORM^O01", **modes), bad)):
            connection.settimeout(20.0 if wanted else 1.0)  # an answer waits for the disk, which others may keep busy
            connection.sendall(framed(sent))
            if wanted:
                assert f"\rMSA|{wanted}|".encode() in connection.recv(65536)
            else:
                with pytest.raises(TimeoutError):
                    connection.recv(65536)


def test_answers_are_in_the_senders_character_set(start: Start) -> None:
    server = start()
    sent = update(patient(name="Müller"), character_set="8859/1", control_id="ü1").decode().encode("latin-1")
    with MLLPClient(*server.server_address[:2]) as client:
        assert b"MSA|AA|\xfc1\r" in client.send(framed(sent))


def test_an_oversized_message_is_refused_by_name_and_the_connection_closed(
    start: Start, sessions: SessionFactory
) -> None:
    server = start(maximum_message_bytes=2000)
    sent = report(patient(), control_id="BIG", uid="1.2.3") + b"x" * 5000
    with socket.create_connection(server.server_address[:2], 5) as connection:
        connection.sendall(framed(sent))
        answer = connection.recv(65536)
        assert b"\rMSA|AR|BIG\r" in answer
        assert b"207" in answer
        assert connection.recv(1) == b""
    assert stored(sessions) == []


def test_a_sender_that_trickles_is_cut_off_and_others_are_served_meanwhile(
    start: Start, sessions: SessionFactory
) -> None:
    server = start(message_seconds=0.6)
    with socket.create_connection(server.server_address[:2], 5) as slow:
        slow.sendall(b"\x0bMSH|^~\\&|")
        began = time.monotonic()
        assert [str(answer["MSA.F1"]) for answer in told(server, update(patient()))] == ["AA"]
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5
    assert len(stored(sessions)) == 1


def test_an_idle_connection_is_closed(start: Start) -> None:
    server = start(idle_seconds=0.3)
    with socket.create_connection(server.server_address[:2], 5) as connection:
        assert connection.recv(1) == b""


def test_a_connection_beyond_the_limit_is_turned_away_and_taken_when_another_ends(start: Start) -> None:
    server = start(maximum_connections=1)
    with MLLPClient(*server.server_address[:2]) as first:
        assert b"MSA|AA" in first.send(framed(update(patient())))
        with socket.create_connection(server.server_address[:2], 5) as second:
            assert second.recv(1) == b""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert [str(answer["MSA.F1"]) for answer in told(server, update(patient()))] == ["AA"]
            return
        except (hl7.ParseException, OSError):
            time.sleep(0.05)
    pytest.fail("no connection was let in after the first one had ended")


def test_a_connection_that_gets_no_thread_takes_no_place(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As under a limit on processes, for a while: later connections must find the places free."""
    server = start(maximum_connections=1)
    begin = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if getattr(thread, "_target", None) == server.process_request_thread:
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with socket.create_connection(server.server_address[:2], 5) as connection:
            assert connection.recv(1) == b""
    assert [str(answer["MSA.F1"]) for answer in told(server, update(patient()))] == ["AA"]
    (line,) = [record for record in caplog.records if "can't start new thread" in record.getMessage()]
    assert line.exc_info is None


def test_only_allowed_hosts_and_this_machine_are_let_in(start: Start) -> None:
    server = start(allowed_hosts=(ipaddress.ip_network("192.0.2.0/28"),))
    addresses = ("192.0.2.7", "127.0.0.1", "::1", "::ffff:192.0.2.7", "192.0.2.99", "198.51.100.1", "2001:db8::1")
    let_in = [address for address in addresses if server.verify_request(None, (address, 1))]
    assert let_in == ["192.0.2.7", "127.0.0.1", "::1", "::ffff:192.0.2.7"]


def test_a_lost_database_is_answered_with_ae_and_the_sender_may_try_again(
    start: Start, sqlite_url: str, tmp_path: Path
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'empty.db'}")  # has no tables
    server = start(sessions=session_factory(engine))
    (answer,) = told(server, update(patient()))
    assert str(answer["MSA.F1"]) == "AE"
    engine.dispose()


def test_a_database_with_no_connection_left_is_answered_with_ae(start: Start, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'busy.db'}"
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.2)
    server = start(sessions=session_factory(engine))
    with engine.connect():
        (answer,) = told(server, update(patient()))
    assert (str(answer["MSA.F1"]), str(answer["ERR.F3"])[:3]) == ("AE", "207")
    engine.dispose()


def test_tls_needs_a_certificate_of_the_authority(start: Start, tmp_path: Path) -> None:
    ours, strangers = certificate_files(tmp_path / "ours"), certificate_files(tmp_path / "strangers")
    files = {"certificate_file": ours.certificate, "key_file": ours.key, "ca_file": ours.ca}
    server = start(tls=Hl7Listener.model_validate({"tls": files}).tls)
    with socket.create_connection(server.server_address[:2], 5) as plain:
        plain.sendall(framed(update(patient())))
        plain.settimeout(5)
        with pytest.raises((ConnectionError, AssertionError)):  # an alert, or a reset
            assert b"MSA" in plain.recv(65536)
    for files_of, accepted in ((ours, True), (strangers, False)):
        context = files_of.context(server_side=False)
        context.load_verify_locations(ours.ca)
        with socket.create_connection(server.server_address[:2], 5) as raw:
            try:
                with context.wrap_socket(raw) as secured:
                    secured.sendall(framed(update(patient())))
                    answered = b"MSA|AA" in secured.recv(65536)
            except (ssl.SSLError, ConnectionError):
                answered = False
        assert answered == accepted


def test_a_flood_of_nonsense_leaves_the_listener_serving(start: Start, sessions: SessionFactory) -> None:
    server = start(maximum_message_bytes=5000, message_seconds=2.0)
    random = Random(7)
    for round_number in range(60):
        nonsense = random.randbytes(random.randrange(1, 6000))
        wrapped = framed(nonsense) if round_number % 2 else b"\x0b" * (round_number % 3) + nonsense
        with socket.create_connection(server.server_address[:2], 5) as connection:
            try:
                connection.sendall(wrapped)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except ConnectionError:
                continue
    assert stored(sessions) == []
    assert [str(answer["MSA.F1"]) for answer in told(server, update(patient()))] == ["AA"]


def test_stopping_ends_open_connections(start: Start) -> None:
    server = start()
    with MLLPClient(*server.server_address[:2]) as client:
        client.send(framed(update(patient())))
        began = time.monotonic()
        server.stop()
        assert client.socket.recv(1) == b""
        assert time.monotonic() - began < 5
