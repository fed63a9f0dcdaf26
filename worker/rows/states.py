"""The states a study, image, run, result, delivery, message or review can be in, as they stand in the rows."""

from __future__ import annotations

from enum import StrEnum


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
