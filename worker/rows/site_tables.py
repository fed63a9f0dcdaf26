"""Tables of the site as a whole: audit trail, HL7 messages, tokens, processes, gaps, leases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Index,
    LargeBinary,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column

from worker.rows.base import Base
from worker.rows.states import InboundState


class Event(Base):
    """Append-only audit trail: who or what changed which state, when and why."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    study_instance_uid: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[int | None]
    actor: Mapped[str]
    kind: Mapped[str] = mapped_column(String(32))
    from_state: Mapped[str | None] = mapped_column(String(16))
    to_state: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = (Index(None, "study_instance_uid", "id"), Index(None, "at"))


class InboundMessage(Base):
    """One HL7 message as received, written before its sender hears AA."""

    __tablename__ = "inbound_message"

    id: Mapped[int] = mapped_column(primary_key=True)
    received_at: Mapped[datetime]
    peer_address: Mapped[str] = mapped_column(String(64))
    sender: Mapped[str]
    message_type: Mapped[str] = mapped_column(String(16))
    control_id: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    """As received, with the patient's data; emptied after ``keep_days``."""
    state: Mapped[str] = mapped_column(String(16), default=InboundState.WAITING)
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "state", "next_attempt_at"),)


class ApiToken(Base):
    """One token of a program that reads over HTTP; the token itself is nowhere, only its hash."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    """Of a token with 256 random bits, which no salt or slow hash makes harder to guess."""
    patients: Mapped[bool] = mapped_column(default=True)
    """False: columns that identify a patient stay empty."""
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the hour: reading must not write all the time."""


class ProcessHeartbeat(Base):
    """One process's sign of life."""

    __tablename__ = "process_heartbeat"

    name: Mapped[str] = mapped_column(primary_key=True)
    """``host:pid``."""
    role: Mapped[str] = mapped_column(String(32))
    device: Mapped[str]
    """What it computes on; empty for processes that load no network."""
    version: Mapped[str] = mapped_column(String(32))
    """Of this product."""
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class ReceptionGap(Base):
    """A time in which nothing could be received; closed when the archive was asked what it has of that time."""

    __tablename__ = "reception_gap"

    id: Mapped[int] = mapped_column(primary_key=True)
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    """What kept the last attempt from closing it."""
    closed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "closed_at"),)


class ServiceLease(Base):
    """Exactly one process holds a named service (the sweeper) at a time."""

    __tablename__ = "service_lease"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str]
    lease_until: Mapped[datetime]
