"""Tables of analyses: runs and what they say of each picture, objects made from them, promotions, backfills."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.rows.base import Base
from worker.rows.states import BackfillState, RunState, RunTrigger

if TYPE_CHECKING:
    from worker.rows.delivery_tables import Delivery
    from worker.rows.study_tables import Instance, Study


class Run(Base):
    """One analysis of one study by one model bundle, claimed with a lease and a fencing token."""

    __tablename__ = "run"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    run_number: Mapped[int]
    bundle: Mapped[str] = mapped_column(default="default")
    """Configured name; the claim binds the one that is active then."""
    trigger: Mapped[str] = mapped_column(String(16), default=RunTrigger.AUTO)
    state: Mapped[str] = mapped_column(String(16), default=RunState.QUEUED)
    queue: Mapped[str] = mapped_column(String(16), default="routine")
    shadow: Mapped[bool] = mapped_column(default=False)
    """True: a second opinion for comparison, which nobody is told of and which changes nothing."""
    attempts: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(default=0)
    worker_name: Mapped[str | None]
    model_version: Mapped[str | None]
    policy_hash: Mapped[str | None] = mapped_column(String(64))
    result_revision: Mapped[int] = mapped_column(default=1)
    timings_seconds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    outcome: Mapped[str | None] = mapped_column(String(16))
    priority: Mapped[str | None] = mapped_column(String(8))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None]
    images_not_analysed: Mapped[int | None]
    """How many images of the study its report says were not analysed; null = it has none, or is of an older version."""
    queued_at: Mapped[datetime]
    rung_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship(back_populates="runs", foreign_keys=[study_instance_uid])
    predictions: Mapped[list[Prediction]] = relationship(back_populates="run", order_by="Prediction.id")
    results: Mapped[list[Result]] = relationship(back_populates="run", order_by="Result.id")

    __table_args__ = (
        UniqueConstraint("study_instance_uid", "run_number"),
        Index(
            "uq_run_active",
            "study_instance_uid",
            "shadow",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index(None, "state", "lease_until"),
        Index(None, "shadow", "state"),
        Index(None, "finished_at"),
    )


class Prediction(Base):
    """What a run says about one finding in one instance; null probability = the bundle was not trained on it."""

    __tablename__ = "prediction"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"))
    finding: Mapped[str] = mapped_column(String(32))
    probability: Mapped[float | None]
    threshold: Mapped[float | None]
    flagged: Mapped[bool] = mapped_column(default=False)

    run: Mapped[Run] = relationship(back_populates="predictions")
    instance: Mapped[Instance] = relationship()

    __table_args__ = (
        UniqueConstraint("run_id", "instance_id", "finding"),
        Index(
            "ix_prediction_flagged",
            "finding",
            "run_id",
            sqlite_where=text("flagged = 1"),
            postgresql_where=text("flagged"),
        ),
    )


class Result(Base):
    """One generated DICOM object or HL7 message, its bytes kept on disk for byte-identical re-sending."""

    __tablename__ = "result"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    kind: Mapped[str] = mapped_column(String(32))
    finding: Mapped[str | None] = mapped_column(String(32))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]

    run: Mapped[Run] = relationship(back_populates="results")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="result", order_by="Delivery.id")

    __table_args__ = (UniqueConstraint("run_id", "sop_instance_uid"), Index(None, "sop_instance_uid"))


class Promotion(Base):
    """One bundle put in the place of another, and back: of those not rolled back the latest says which is active."""

    __tablename__ = "promotion"

    id: Mapped[int] = mapped_column(primary_key=True)
    instead_of: Mapped[str]
    """Configured name of the bundle whose place it takes, ``default`` or one that sources name."""
    bundle: Mapped[str]
    """Configured name of the bundle that is active from then on."""
    model_version: Mapped[str]
    """Of that bundle when it was promoted."""
    promoted_at: Mapped[datetime]
    promoted_by: Mapped[str]
    reason: Mapped[str]
    rolled_back_at: Mapped[datetime | None]
    rolled_back_by: Mapped[str | None]
    rollback_reason: Mapped[str | None]

    __table_args__ = (Index(None, "instead_of", "id"),)


class Backfill(Base):
    """One order to analyse studies again that were received in a certain time."""

    __tablename__ = "backfill"

    id: Mapped[int] = mapped_column(primary_key=True)
    ordered_at: Mapped[datetime]
    ordered_by: Mapped[str]
    since: Mapped[datetime]
    """Studies whose first image came at this time or later ..."""
    until: Mapped[datetime]
    """... and before this one: the end given, or when it was ordered."""
    open_ended: Mapped[bool] = mapped_column(default=False)
    """Whether no end was given."""
    bundle: Mapped[str | None]
    """Configured name; null = the one that is active when a study's turn comes."""
    source: Mapped[str | None]
    """Only studies from this AE title."""
    finding: Mapped[str | None] = mapped_column(String(32))
    """Only studies whose current run flags this."""
    aside: Mapped[bool] = mapped_column(default=False)
    """True: runs in the shadow, which replace and send nothing."""
    listed_time: Mapped[datetime | None]
    """This and the next: the last study that was looked at while the studies are listed, newest first."""
    listed_study: Mapped[str | None] = mapped_column(String(64))
    listed_at: Mapped[datetime | None]
    """When all of its studies were listed."""
    nothing_to_analyse: Mapped[int] = mapped_column(default=0)
    """Studies of that time that hold no picture fit for analysis, and are therefore not listed."""
    ended_at: Mapped[datetime | None]
    given_up_by: Mapped[str | None]

    __table_args__ = (Index(None, "ended_at"),)


class BackfillStudy(Base):
    """One study of a backfill, worked off in the order of the ids."""

    __tablename__ = "backfill_study"

    id: Mapped[int] = mapped_column(primary_key=True)
    backfill_id: Mapped[int] = mapped_column(ForeignKey("backfill.id"))
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    state: Mapped[str] = mapped_column(String(16), default=BackfillState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    """Put off until then: images or results of it are still on their way."""
    run_id: Mapped[int | None]
    """The latest run it was given."""
    settled_at: Mapped[datetime | None]
    reason: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("backfill_id", "study_instance_uid"),
        Index(None, "backfill_id", "state", "id"),
        Index(None, "study_instance_uid"),
        Index(None, "run_id"),
    )
