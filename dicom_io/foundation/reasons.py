"""Why something was not analysed: one code for SQL and statistics, one sentence for people."""

from __future__ import annotations

from enum import StrEnum

UNTIL_SETTLED = "nothing is sent until its images agree whose they are, or a person decides"
"""What holds for a study whose patient is in doubt."""


class ReasonCode(StrEnum):
    """Reason codes as they stand in rows, on pages and in ``--json``; never renamed, only added to."""

    # one instance: stored and left alone
    OWN_RESULT = "own_result"
    SOP_CLASS = "sop_class"
    FOR_PROCESSING = "for_processing"
    PROCESSED_COPY = "processed_copy"
    SITE_RULE = "site_rule"
    NO_PIXELS = "no_pixels"
    # one instance or study: not ours to read
    NOT_CHEST = "not_chest"
    NOT_FRONTAL = "not_frontal"
    NO_IMAGE = "no_image"
    # one instance or study: should perhaps have been read; a person must look
    AGE = "age"
    HISTORICAL = "historical"
    MULTI_FRAME = "multi_frame"
    NEEDS_REVIEW = "needs_review"
    UNDECODABLE = "undecodable"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    # one image or study: declared invalid by the archive or a person
    REJECTED = "rejected"
    RETRACTED = "retracted"
    # identity
    IDENTITY_CONFLICT = "identity_conflict"
    # refused at the door
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    INVALID_UID = "invalid_uid"
    INVALID_IDENTITY = "invalid_identity"
    SOP_CLASS_MISMATCH = "sop_class_mismatch"
    SOP_INSTANCE_MISMATCH = "sop_instance_mismatch"
    # a run
    POISON = "poison"
    BUNDLE = "bundle"
    DEMONSTRATION_BUNDLE = "demonstration_bundle"
    FILE_MISSING = "file_missing"
    RESULT_INVALID = "result_invalid"
    STORAGE = "storage"
    NO_ROOM = "no_room"

    @property
    def sentence(self) -> str:
        """One sentence a radiologist or engineer understands."""
        return _SENTENCES[self]


class UndecodableError(Exception):
    """The picture of this instance cannot be had; `reason_code` says for which of our reasons.

    The message tells an engineer what is wrong with the object and holds no patient data.
    """

    def __init__(self, reason_code: ReasonCode, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


_SENTENCES: dict[ReasonCode, str] = {
    ReasonCode.OWN_RESULT: "This is a result of this worker that came back; it is kept and not analysed again.",
    ReasonCode.SOP_CLASS: "This kind of object is not analysed; it is kept.",
    ReasonCode.FOR_PROCESSING: "Raw detector data (FOR PROCESSING) are not analysed; the image for presentation is.",
    ReasonCode.PROCESSED_COPY: "A specially processed copy (bone, soft tissue, tube or edge view) is not analysed.",
    ReasonCode.SITE_RULE: "A rule of this site leaves such images alone.",
    ReasonCode.NO_PIXELS: "The object says it is an image but holds no pixel data.",
    ReasonCode.NOT_CHEST: "The tags name a body part other than the chest.",
    ReasonCode.NOT_FRONTAL: "The tags name a view other than frontal (PA or AP).",
    ReasonCode.NO_IMAGE: "The study holds no image of a kind that is analysed.",
    ReasonCode.AGE: "The patient is younger than 18 years, and the model is meant for adults.",
    ReasonCode.HISTORICAL: "The study is older than this site wants analysed.",
    ReasonCode.MULTI_FRAME: "The image has more than one frame.",
    ReasonCode.NEEDS_REVIEW: "The tags do not prove a frontal chest radiograph; a person must look.",
    ReasonCode.UNDECODABLE: "The pixel data cannot be decoded.",
    ReasonCode.UNSUPPORTED_PIXELS: "The pixel data are laid out in a way that cannot be read safely.",
    ReasonCode.TOO_LARGE: "The image is larger than any radiograph should be.",
    ReasonCode.TOO_SMALL: "The picture has fewer pixels than the network looks at; what decides may not be in it.",
    ReasonCode.BLANK: "The picture is blank or nearly so; there is nothing to analyse.",
    ReasonCode.REJECTED: "The image was declared invalid, by a rejection note or a person; it is not analysed.",
    ReasonCode.RETRACTED: "A person took the results of this study back; nothing is known about it.",
    ReasonCode.IDENTITY_CONFLICT: f"A study or image carries two identities; {UNTIL_SETTLED}.",
    ReasonCode.UNREADABLE: "The received bytes are not a DICOM data set.",
    ReasonCode.TRUNCATED: "The received data set ends in the middle of an element.",
    ReasonCode.INVALID_UID: "The Study, Series or SOP Instance UID is missing or not a valid UID.",
    ReasonCode.INVALID_IDENTITY: "Patient ID, name or accession number is many times longer than DICOM allows.",
    ReasonCode.SOP_CLASS_MISMATCH: "The SOP Class UID in the data set is not the one that was announced.",
    ReasonCode.SOP_INSTANCE_MISMATCH: "The SOP Instance UID in the data set is not the one that was announced.",
    ReasonCode.POISON: "The analysis was started as often as allowed and never finished.",
    ReasonCode.BUNDLE: "The model bundle is missing or damaged.",
    ReasonCode.DEMONSTRATION_BUNDLE: "The model is a demonstration and may not analyse patients.",
    ReasonCode.FILE_MISSING: "The stored file of the image is missing or altered.",
    ReasonCode.RESULT_INVALID: "The results could not be built from this study.",
    ReasonCode.STORAGE: "The results could not be written to disk; free or repair it.",
    ReasonCode.NO_ROOM: "The disk has no room for the results; the study continues by itself once there is some.",
}
