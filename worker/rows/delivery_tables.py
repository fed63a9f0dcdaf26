"""Tables of what leaves: results to destinations, destinations that are away, commitments, people told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.rows.base import Base
from worker.rows.states import DeliveryState

if TYPE_CHECKING:
    from worker.rows.run_tables import Result


class Delivery(Base):
    """Outbox row: one result to one destination."""

    __tablename__ = "delivery"

    id: Mapped[int] = mapped_column(primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    destination: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(default=0)
    last_status: Mapped[int | None]
    last_comment: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    rejection_note_uid: Mapped[str | None] = mapped_column(String(64))
    """SOP Instance UID of the note that takes the object back at this destination."""
    commitment_due_at: Mapped[datetime | None]
    """When the destination is asked (again) whether it keeps the sent object; null = it is not asked (any more)."""
    commitment_requests: Mapped[int] = mapped_column(default=0)
    """How often it was asked since the object was last sent."""
    commitment_transaction_uid: Mapped[str | None] = mapped_column(String(64))
    """Transaction UID of the latest of these requests."""
    committed_at: Mapped[datetime | None]
    lost: Mapped[int] = mapped_column(default=0)
    """How often the destination took the object and then said that it does not keep it."""
    unreachable: Mapped[bool] = mapped_column(default=False)
    """Whether the latest attempt ended before there was an association."""
    offered: Mapped[bool] = mapped_column(default=False)
    """Whether an attempt came so far that the destination may have it, confirmed or not."""

    result: Mapped[Result] = relationship(back_populates="deliveries")

    __table_args__ = (
        UniqueConstraint("result_id", "destination"),
        Index(None, "state", "next_attempt_at"),
        Index(None, "state", "commitment_due_at"),
    )


class DestinationOutage(Base):
    """A destination where nobody was when something was last sent there; the row goes when it answers."""

    __tablename__ = "destination_outage"

    destination: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    """When one study may try it again; whoever tries pushes this on first."""


class Notification(Base):
    """Outbox row: people told through one channel that a study has a priority; once per study, channel and priority."""

    __tablename__ = "notification"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    channel: Mapped[str] = mapped_column(String(64))
    priority: Mapped[str] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(String(16), default=DeliveryState.PENDING)
    """pending, sent, failed, or superseded: the study was read, or is not that urgent any more, before it was told."""
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(default=0)
    last_answer: Mapped[str | None]
    """In our words, never quoting the other side."""
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_instance_uid", "channel", "priority"),
        Index(None, "state", "next_attempt_at"),
    )


class StorageCommitment(Base):
    """One storage commitment request: some objects of a study, one destination, one transaction (PS3.4 annex J)."""

    __tablename__ = "storage_commitment"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(String(64), unique=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    destination: Mapped[str] = mapped_column(String(64))
    objects: Mapped[dict[str, Any]]
    """SOP Instance UID -> SOP Class UID."""
    requested_at: Mapped[datetime]
    accepted: Mapped[bool] = mapped_column(default=False)
    """Whether the destination took the request; its answer follows, on whatever association."""
    comment: Mapped[str | None]
    """What kept the request from being taken."""
    answered_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "study_instance_uid", "id"),)
