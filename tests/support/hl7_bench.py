"""What an HL7 message does to a bench: taken in and applied."""

from __future__ import annotations

from benches import Bench
from sqlalchemy import select

from worker.hl7.inbound import apply_message, messages_to_apply
from worker.hl7.inbox import Inbox
from worker.rows.site_tables import InboundMessage


def receive(bench: Bench, content: bytes) -> InboundMessage:
    """Take the message in, apply what is due as the sweeper does, and return its row."""
    listener = bench.settings.hl7_listener
    assert listener is not None
    answer = Inbox(bench.settings, listener, bench.sessions).take(content, "127.0.0.1")
    assert b"\rMSA|AA|" in answer, answer
    apply_due(bench)
    with bench.sessions() as session:
        return session.scalars(select(InboundMessage).order_by(InboundMessage.id.desc()).limit(1)).one()


def apply_due(bench: Bench) -> None:
    """Apply every message that is due, as the sweeper does."""
    with bench.sessions.begin() as session:
        due = messages_to_apply(session)
    for message_id in due:
        with bench.sessions.begin() as session:
            apply_message(session, message_id, bench.settings, bench.workplace.instances)
