"""May this object be accepted? Whole, with valid UIDs, an identity that can be kept, and what was announced.

See PS3.4 B.2.3 and PS3.5 9.1.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_io.data_sets.element_head import NotADataSetError, TruncatedDataSetError
from dicom_io.data_sets.header import parse_header, text
from dicom_io.foundation.reasons import ReasonCode
from dicom_io.foundation.uids import is_valid_uid

LONGEST_IDENTITY_BYTES = 2000
"""In UTF-8. A legal name has 770 at most (PS3.5 6.2), and an index of PostgreSQL takes 2,700: a longer one could never
be entered, and its sender would be told to try again for ever."""
_IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber")
_IDENTIFYING_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class RefusedError(Exception):
    """The object cannot be accepted; becomes a status and a quarantined file. The message names no patient."""

    def __init__(self, reason_code: ReasonCode, reason: str) -> None:
        super().__init__(reason)
        self.reason_code = reason_code


def checked_header(
    encoded: bytes | memoryview, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str
) -> Dataset:
    """Return the header of an acceptable instance.

    Parameters
    ----------
    encoded
        The data set as received, without file meta.
    sop_class_uid, sop_instance_uid
        As announced in the C-STORE request.

    Raises
    ------
    RefusedError
    """
    try:
        header = parse_header(encoded, transfer_syntax_uid)
    except NotADataSetError as error:
        raise RefusedError(ReasonCode.UNREADABLE, str(error)) from error
    except TruncatedDataSetError as error:
        raise RefusedError(ReasonCode.TRUNCATED, str(error)) from error
    for keyword in _IDENTIFYING_UIDS:
        if not is_valid_uid(text(header, keyword)):
            problem = "is not a valid UID" if text(header, keyword) else "is missing"
            raise RefusedError(ReasonCode.INVALID_UID, f"{keyword} {problem}")
    if text(header, "SOPClassUID") != sop_class_uid:
        raise RefusedError(ReasonCode.SOP_CLASS_MISMATCH, "SOPClassUID in the data set is not the one announced")
    if text(header, "SOPInstanceUID") != sop_instance_uid:
        raise RefusedError(ReasonCode.SOP_INSTANCE_MISMATCH, "SOPInstanceUID is not the one announced")
    for keyword in _IDENTITY:
        if len(text(header, keyword).encode("utf-8", "replace")) > LONGEST_IDENTITY_BYTES:
            problem = f"{keyword} is longer than {LONGEST_IDENTITY_BYTES} bytes"
            raise RefusedError(ReasonCode.INVALID_IDENTITY, problem)
    return header
