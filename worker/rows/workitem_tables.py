"""Tables of the worklist that other systems query and work off (Unified Procedure Step)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from worker.rows.base import Base


class Workitem(Base):
    """One Unified Procedure Step: who shall interpret what, and how far that is."""

    __tablename__ = "workitem"

    sop_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_instance_uid: Mapped[str | None] = mapped_column(ForeignKey("study.study_instance_uid"))
    """The study it was made for; null = another system created it."""
    ordinal: Mapped[int] = mapped_column(default=1)
    """1 for the study's first; each that replaces one in a final state has the next."""
    current: Mapped[bool] = mapped_column(default=True)
    """The study's newest one."""
    version: Mapped[int] = mapped_column(default=1)
    """Counts changes: a change is written only over the version it was decided on."""
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[str] = mapped_column(String(16))
    transaction_uid: Mapped[str | None] = mapped_column(String(64))
    performer_ae_title: Mapped[str | None] = mapped_column(String(16))
    attributes: Mapped[dict[str, Any]]
    """The data set in the DICOM JSON model (PS3.18 F), texts in Unicode; never the Transaction UID."""
    created_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    closed_by_us: Mapped[bool] = mapped_column(default=False)
    noted_state: Mapped[str | None] = mapped_column(String(16))
    """This and the next three: the study as it was when the workitem was last compared with it."""
    noted_priority: Mapped[str | None] = mapped_column(String(8))
    noted_run_id: Mapped[int | None]
    noted_read_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_instance_uid", "ordinal"),
        Index(None, "state", "priority"),
        Index(None, "closed_at"),
    )


class WorkitemSubscription(Base):
    """One receiver that hears of one workitem, or (a well-known UID) of all, or of those that match."""

    __tablename__ = "workitem_subscription"

    id: Mapped[int] = mapped_column(primary_key=True)
    receiving_ae_title: Mapped[str] = mapped_column(String(16))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    deletion_lock: Mapped[bool]
    match_keys: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Of a filtered subscription, in the DICOM JSON model."""
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("receiving_ae_title", "sop_instance_uid"), Index(None, "sop_instance_uid"))


class WorkitemEvent(Base):
    """One event report on its way to one receiver; sent in the order of the ids."""

    __tablename__ = "workitem_event"

    id: Mapped[int] = mapped_column(primary_key=True)
    receiving_ae_title: Mapped[str] = mapped_column(String(16))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    event_type: Mapped[int]
    information: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    """When it was answered, or given up."""
    last_status: Mapped[int | None]

    __table_args__ = (Index(None, "receiving_ae_title", "done_at", "id"),)
