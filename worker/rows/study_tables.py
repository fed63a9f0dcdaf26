"""Tables of studies: identity and state, received objects, what people and systems said about them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.rows.base import BYTEWISE, Base
from worker.rows.states import InboundState, StudyState

if TYPE_CHECKING:
    from worker.rows.run_tables import Run


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
    )


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
    concerned_names: Mapped[list[str] | None]
    """The names of the images whose name, birth date and sex it corrects, beside those without one; null = any name."""
    names_verbatim: Mapped[bool] = mapped_column(default=False, server_default=false())
    """True: names written as these are, but for letter case; else whatever may be another spelling of one of them."""
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
