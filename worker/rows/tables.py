"""The rows of the triage database (SQLAlchemy 2 typed ORM); ``architecture`` of every table in one file.

The database is the truth, Celery only the doorbell: every state a study, run or delivery can be in is written here
and changed by conditional updates. All times are timezone-aware UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class StudyState(StrEnum):
    """Where a study stands. The last four never look like "nothing found"."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    TRIAGING = "triaging"
    TRIAGED = "triaged"
    OUT_OF_SCOPE = "out_of_scope"
    NOT_ANALYSED = "not_analysed"
    HELD = "held"
    FAILED = "failed"


class Disposition(StrEnum):
    """What became of one received instance."""

    CANDIDATE = "candidate"
    ANALYSED = "analysed"
    IGNORED = "ignored"
    NOT_ANALYSED = "not_analysed"
    OUT_OF_SCOPE = "out_of_scope"


class RunState(StrEnum):
    """State of one analysis of one study by one bundle."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class RunTrigger(StrEnum):
    """Why a run exists."""

    AUTO = "auto"
    LATE_IMAGE = "late_image"
    MANUAL = "manual"
    REPROCESS = "reprocess"
    SHADOW = "shadow"


class Priority(StrEnum):
    """Triage priority; null in SQL when the study was not analysed."""

    STAT = "STAT"
    URGENT = "URGENT"
    ROUTINE = "ROUTINE"


class ResultKind(StrEnum):
    """Kinds of DICOM objects and messages we write."""

    STRUCTURED_REPORT = "structured_report"
    SECONDARY_CAPTURE = "secondary_capture"
    SUMMARY_CAPTURE = "summary_capture"
    PRESENTATION_STATE = "presentation_state"
    HL7_MESSAGE = "hl7_message"
    REJECTION_NOTE = "rejection_note"
    """Takes objects of the run back where they were stored (a Key Object Selection)."""


class DeliveryState(StrEnum):
    """State of one result on its way to one destination."""

    PENDING = "pending"
    SENT = "sent"
    """The destination has answered that it has the object."""
    COMMITTED = "committed"
    """It has also taken responsibility for keeping it (storage commitment)."""
    REFUSED = "refused"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """Not to be sent any more: never sent, or lost by the destination after a later run had replaced it."""
    REJECTED = "rejected"
    """Sent, or perhaps sent, and taken back: a rejection note is on its way to the same destination."""


class InboundState(StrEnum):
    """What became of one HL7 message or rejection note that was received."""

    WAITING = "waiting"
    """Not applied yet: its study has not arrived, or applying it failed; tried again."""
    APPLIED = "applied"
    IGNORED = "ignored"
    UNMATCHED = "unmatched"
    """It fits no study, or not exactly one patient: nothing was changed, a person may look."""


class ReviewVerdict(StrEnum):
    """What a radiologist says of a model's word on one finding."""

    AGREE = "agree"
    """The model is right: flagged and there, or not flagged and not there."""
    DISAGREE = "disagree"
    """The model is wrong."""
    MISSED = "missed"
    """The finding is there, and the model did not flag it or does not know it."""
    COMMENT = "comment"
    """Words about the study, without a finding."""


class BackfillState(StrEnum):
    """Where one study of a backfill stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    MISSING = "missing"
    """Pictures of it are not in the store any more."""
    SKIPPED = "skipped"
    """Not to be analysed when its turn came: held, taken back, or without a picture fit for analysis."""


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware UTC in Python; ``timestamp with time zone`` on PostgreSQL, naive UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """What a value is in Python."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; hand the database UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime given to the database; use timezone-aware UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC time, also where the database (SQLite) forgot the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BYTEWISE = String(64).with_variant(String(64, collation="C"), "postgresql")
"""Text that compares character by character, so that an index answers what a word begins with."""


class Base(DeclarativeBase):
    """Declares the schema; the Alembic revisions must produce exactly this (a test compares them)."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON()}  # noqa: RUF012 (SQLAlchemy's own idiom)


class Study(Base):
    """One DICOM study: identity as received, triage state and priority."""

    __tablename__ = "study"

    study_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    patient_id: Mapped[str] = mapped_column(default="")
    issuer_of_patient_id: Mapped[str] = mapped_column(default="")
    patient_name: Mapped[str] = mapped_column(default="")
    patient_birth_date: Mapped[str] = mapped_column(default="")
    patient_sex: Mapped[str] = mapped_column(default="")
    patient_age: Mapped[str] = mapped_column(default="")
    patient_id_missing: Mapped[bool] = mapped_column(default=False)
    accession_number: Mapped[str] = mapped_column(default="")
    study_id: Mapped[str] = mapped_column(default="")
    study_date: Mapped[str] = mapped_column(default="")
    study_time: Mapped[str] = mapped_column(default="")
    study_description: Mapped[str] = mapped_column(default="")
    referring_physician_name: Mapped[str] = mapped_column(default="")
    order_priority: Mapped[str] = mapped_column(default="")
    calling_ae_title: Mapped[str] = mapped_column(default="")
    called_ae_title: Mapped[str] = mapped_column(default="")
    station_name: Mapped[str] = mapped_column(default="")
    """Of the device that made the images, not of the archive that may have forwarded them."""
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), default=StudyState.RECEIVING)
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None]
    current_run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id", use_alter=True))
    historical: Mapped[bool] = mapped_column(default=False)
    priority: Mapped[str | None] = mapped_column(String(8))
    priority_rank: Mapped[float] = mapped_column(default=0.0)
    priority_reason: Mapped[str | None]
    flagged_at: Mapped[datetime | None]
    lifted_at: Mapped[datetime | None]
    """When the sweeper found the study unread past the upper wait limit; it then stands at the head of the list."""
    read_at: Mapped[datetime | None]
    read_by: Mapped[str | None]
    retracted_at: Mapped[datetime | None]
    """When a person took the study's results back; nothing is analysed by itself from then on."""
    priority_set_by: Mapped[str | None]
    """Who set the priority by hand; null = the machine's."""
    priority_decided_run_id: Mapped[int | None]
    """The last run that person could know of; what it and those before it flagged does not raise the priority again."""
    images_deleted_at: Mapped[datetime | None]
    """When retention deleted its images; null when it has some (again)."""

    instances: Mapped[list[Instance]] = relationship(back_populates="study", order_by="Instance.id")
    runs: Mapped[list[Run]] = relationship(
        back_populates="study", foreign_keys="Run.study_instance_uid", order_by="Run.run_number"
    )
    current_run: Mapped[Run | None] = relationship(foreign_keys=[current_run_id], post_update=True)

    __table_args__ = (
        Index(None, "due_at"),
        Index(None, "state", "priority"),
        Index(None, "last_received_at"),
        Index(None, "patient_id"),
        Index(None, "accession_number"),
        Index(None, "first_received_at", "study_instance_uid"),
        Index(None, "state", "last_received_at"),
        Index(None, "calling_ae_title", "first_received_at"),
        Index(None, "patient_name", "study_instance_uid"),
        Index(None, "read_at", "state"),
        Index(None, "current_run_id"),
        Index(
            "ix_study_unread",
            "priority",
            text("(-priority_rank)"),
            "first_received_at",
            "study_instance_uid",
            "state",
            "historical",
            sqlite_where=text("read_at IS NULL"),
            postgresql_where=text("read_at IS NULL"),
        ),
    )


class StudyWord(Base):
    """One word by which a study can be found: of the patient's name, the Patient ID and the accession number."""

    __tablename__ = "study_word"

    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), primary_key=True)
    word: Mapped[str] = mapped_column(BYTEWISE, primary_key=True)

    __table_args__ = (Index(None, "word", "study_instance_uid"),)


class Instance(Base):
    """One received SOP instance in one version of its bytes; ``current`` marks the newest version."""

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(default=1)
    current: Mapped[bool] = mapped_column(default=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    path: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    patient_id: Mapped[str] = mapped_column(default="")
    calling_ae_title: Mapped[str] = mapped_column(default="")
    received_at: Mapped[datetime]
    disposition: Mapped[str] = mapped_column(String(16))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None]
    pixel_sha256: Mapped[str | None] = mapped_column(String(64))
    image_verdict: Mapped[str | None] = mapped_column(String(16))
    """What the bundle's suitability check made of the picture (``model.suitability.Verdict``); null = not checked."""
    image_score: Mapped[float | None]
    """The check's probability of a frontal chest, 0..1."""
    image_distance: Mapped[float | None]
    """Distance from the training pictures as a share of the largest that passes; above 1 is unfamiliar."""
    deleted_at: Mapped[datetime | None]
    """When retention deleted the file; null = it is kept."""
    restored_at: Mapped[datetime | None]
    """When the same bytes came again after that."""

    study: Mapped[Study] = relationship(back_populates="instances")

    __table_args__ = (
        UniqueConstraint("study_instance_uid", "sop_instance_uid", "version"),
        Index(None, "sop_instance_uid"),
        Index(None, "study_instance_uid"),
    )


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


class Review(Base):
    """A radiologist's word on a study: agree or disagree per finding, a comment, who and when."""

    __tablename__ = "review"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    finding: Mapped[str | None] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    comment: Mapped[str | None]
    reviewer: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "study_instance_uid", "id"),)


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


class IdentityCorrection(Base):
    """What a hospital system said about whose study this is, after its images were made; null = not changed.

    Applies to images that carry ``prior_patient_id``; several are applied in the order of their ids.
    """

    __tablename__ = "identity_correction"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    at: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(64))
    prior_patient_id: Mapped[str]
    prior_issuer_of_patient_id: Mapped[str]
    patient_id: Mapped[str]
    issuer_of_patient_id: Mapped[str]
    patient_name: Mapped[str | None]
    patient_birth_date: Mapped[str | None] = mapped_column(String(8))
    patient_sex: Mapped[str | None] = mapped_column(String(16))
    prior_accession_number: Mapped[str | None]
    accession_number: Mapped[str | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    """The first run whose results carry it; null = none yet."""

    __table_args__ = (Index(None, "study_instance_uid", "id"),)


class RejectedInstance(Base):
    """One image that a rejection note or a person declared invalid, received here or not; it is never analysed."""

    __tablename__ = "rejected_instance"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    title_code: Mapped[str] = mapped_column(String(16))
    """Why, as a code of DICOM (DCM): 113001, 113037, 113038 or 113039."""
    rejected_by: Mapped[str]
    """A person's name, or the calling AE title of the note's sender."""
    note_uid: Mapped[str | None] = mapped_column(String(64))
    """SOP Instance UID of the note; null = a person said so here."""

    __table_args__ = (UniqueConstraint("study_instance_uid", "sop_instance_uid"),)


class ReceivedNote(Base):
    """One Key Object Selection as received: does it reject images, and was that done?"""

    __tablename__ = "received_note"

    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), default=InboundState.WAITING)
    """waiting, applied, ignored (it rejects nothing) or unmatched (it cannot be read)."""
    reason: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]

    instance: Mapped[Instance] = relationship()

    __table_args__ = (Index(None, "state", "next_attempt_at"),)


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


class ServiceLease(Base):
    """Exactly one process holds a named service (the sweeper) at a time."""

    __tablename__ = "service_lease"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str]
    lease_until: Mapped[datetime]
