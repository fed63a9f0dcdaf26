"""What a UPS request is answered with (PS3.4 CC.2, PS3.7 C), and the one exception that carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class UpsStatus(IntEnum):
    """DIMSE statuses of the Unified Procedure Step service as this SCP uses them."""

    SUCCESS = 0x0000
    OPTIONAL_ATTRIBUTES_UNSUPPORTED = 0x0001
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    INVALID_ARGUMENT = 0x0115
    INVALID_INSTANCE = 0x0117
    NO_SUCH_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    IDENTIFIER_MISMATCH = 0xA900
    DELETION_LOCK_NOT_GRANTED = 0xB301
    ALREADY_CANCELED = 0xB304
    VALUES_COERCED = 0xB305
    ALREADY_COMPLETED = 0xB306
    UNABLE_TO_PROCESS = 0xC000
    NO_LONGER_UPDATABLE = 0xC300
    WRONG_TRANSACTION_UID = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    SCHEDULED_ONLY_BY_CREATION = 0xC303
    FINAL_STATE_NOT_MET = 0xC304
    UNKNOWN_INSTANCE = 0xC307
    UNKNOWN_RECEIVER = 0xC308
    NOT_CREATED_SCHEDULED = 0xC309
    NOT_IN_PROGRESS = 0xC310
    CANNOT_CANCEL_COMPLETED = 0xC311
    PERFORMER_UNREACHABLE = 0xC312
    ACTION_NOT_APPROPRIATE = 0xC314
    PENDING = 0xFF00
    CANCEL = 0xFE00


MEANINGS = {
    UpsStatus.SUCCESS: "done",
    UpsStatus.OPTIONAL_ATTRIBUTES_UNSUPPORTED: "done; attributes that are not kept were left out",
    UpsStatus.NO_SUCH_ATTRIBUTE: "this attribute cannot be set",
    UpsStatus.INVALID_ATTRIBUTE_VALUE: "a value or the data set cannot be understood",
    UpsStatus.PROCESSING_FAILURE: "the database does not answer, or an internal error",
    UpsStatus.DUPLICATE_INSTANCE: "a workitem with this UID exists",
    UpsStatus.INVALID_ARGUMENT: "an argument of the action has a value it cannot have",
    UpsStatus.INVALID_INSTANCE: "the SOP Instance UID is none",
    UpsStatus.NO_SUCH_CLASS: "the SOP Class UID of the request is not UPS Push",
    UpsStatus.MISSING_ATTRIBUTE: "a required attribute is absent",
    UpsStatus.MISSING_ATTRIBUTE_VALUE: "a required attribute is empty",
    UpsStatus.NO_SUCH_ACTION: "the Action Type ID is unknown",
    UpsStatus.NOT_AUTHORISED: "this site takes no workitems from others",
    UpsStatus.RESOURCE_LIMITATION: "the data set is larger than a workitem may be",
    UpsStatus.OUT_OF_RESOURCES: "the database does not answer (C-FIND)",
    UpsStatus.IDENTIFIER_MISMATCH: "the SOP class of a C-FIND is not that of its presentation context",
    UpsStatus.DELETION_LOCK_NOT_GRANTED: "subscribed; locks are not granted here",
    UpsStatus.ALREADY_CANCELED: "it is CANCELED already",
    UpsStatus.VALUES_COERCED: "done; a value was changed to one allowed here",
    UpsStatus.ALREADY_COMPLETED: "it is COMPLETED already",
    UpsStatus.UNABLE_TO_PROCESS: "the query cannot be understood (C-FIND)",
    UpsStatus.NO_LONGER_UPDATABLE: "it is COMPLETED or CANCELED",
    UpsStatus.WRONG_TRANSACTION_UID: "the Transaction UID is missing, malformed, or not the one it was claimed with",
    UpsStatus.ALREADY_IN_PROGRESS: "its performer claims it again",
    UpsStatus.SCHEDULED_ONLY_BY_CREATION: "nothing becomes SCHEDULED again",
    UpsStatus.FINAL_STATE_NOT_MET: "attributes the final state needs are missing; the Error Comment names them",
    UpsStatus.UNKNOWN_INSTANCE: "there is no such workitem",
    UpsStatus.UNKNOWN_RECEIVER: "the Receiving AE is not configured",
    UpsStatus.NOT_CREATED_SCHEDULED: "N-CREATE with another state than SCHEDULED",
    UpsStatus.NOT_IN_PROGRESS: "it is not IN PROGRESS yet",
    UpsStatus.CANNOT_CANCEL_COMPLETED: "it is COMPLETED",
    UpsStatus.PERFORMER_UNREACHABLE: "it is IN PROGRESS and nobody is subscribed who could be told",
    UpsStatus.ACTION_NOT_APPROPRIATE: "the action does not go with this UID",
    UpsStatus.PENDING: "a match",
    UpsStatus.CANCEL: "the query was canceled",
}
"""What each status means here; the conformance statement prints this table."""


@dataclass
class UpsRefusal(Exception):
    """A request is answered with a failure; nothing was changed."""

    status: UpsStatus
    comment: str = ""
    """For the Error Comment; no patient data. Empty takes the status' meaning."""

    def __str__(self) -> str:
        return self.comment or MEANINGS[self.status]
