"""HL7 in both directions on PostgreSQL: rows locked, conflicts left to the server, messages out and in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import Bench, run_if_due
from bundles import write_test_bundle
from factories import chest_radiograph
from hl7_bench import apply_due, receive
from hl7_messages import merge, patient, report, update
from receivers import running_receiver
from sqlalchemy import select

from worker.hl7.inbox import Inbox
from worker.rows.database import SessionFactory
from worker.rows.site_tables import InboundMessage
from worker.sending.delivery import deliver
from worker.settings.config import Settings
from worker.settings.hl7_listener import Hl7Listener


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    return postgresql_url


def test_a_study_is_announced_corrected_merged_and_read(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    write_test_bundle(tmp_path / "bundle")
    with running_receiver() as ris:
        told = [{"name": "ris", "host": "127.0.0.1", "port": ris.port}]
        settings = make_settings(bundles={"default": tmp_path / "bundle"}, hl7_destinations=told, hl7_listener={})
        bench = Bench(settings, sessions)
        uid = bench.triage(chest_radiograph()).study_instance_uid
        deliver(uid, bench.office)
        for content in (update(patient(name="Right^Name")), merge(patient("SURVIVOR"), "PHANTOM-1")):
            assert receive(bench, content).state == "applied"
            assert run_if_due(bench, uid)
        assert receive(bench, report(patient("SURVIVOR"), uid=uid)).state == "applied"
        names = [(str(sent["PID.F3.R1.C1"]), str(sent["PID.F5.R1.C1"])) for sent in ris.messages]
    assert names == [("PHANTOM-1", "Phantom"), ("PHANTOM-1", "Right"), ("SURVIVOR", "Phantom")]
    assert bench.study(uid).read_at is not None


def test_one_message_over_many_connections_at_once_is_one_row(
    make_settings: Callable[..., Settings], sessions: SessionFactory
) -> None:
    inbox = Inbox(make_settings(), Hl7Listener(), sessions)
    content = update(patient())
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(inbox.take(content, "127.0.0.1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(b"\rMSA|AA|" in answer for answer in answers)
    with sessions() as session:
        assert len(session.scalars(select(InboundMessage)).all()) == 1


def test_letters_that_a_database_cannot_hold_stop_no_message(
    make_settings: Callable[..., Settings], sessions: SessionFactory, tmp_path: Path
) -> None:
    write_test_bundle(tmp_path / "bundle")
    bench = Bench(make_settings(bundles={"default": tmp_path / "bundle"}, hl7_listener={}), sessions)
    uid = bench.triage(chest_radiograph()).study_instance_uid
    sent = update(patient(name="Nul\0l^Na\0me"), control_id="C\x001").replace(b"|HIS|", b"|H\x00IS|")
    assert receive(bench, sent).state == "applied"
    apply_due(bench)
    assert bench.study(uid).patient_name == "Null^Name"
