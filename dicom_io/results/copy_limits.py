"""What results copy from their images has a size that no real image reaches; larger, making them would take minutes."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset

from dicom_io.results.reporting import InvalidReportError

MAXIMUM_ITEMS = 50
"""Of one sequence that results copy; each order costs a group of segments in every HL7 message."""
COPIED_SEQUENCES = (
    "RequestAttributesSequence",
    "OtherPatientIDsSequence",
    "IssuerOfPatientIDQualifiersSequence",
    "IssuerOfAccessionNumberSequence",
)


def require_copyable(sources: Iterable[Dataset]) -> None:
    """Refuse images whose orders or other identifiers are too many to be copied.

    Raises
    ------
    InvalidReportError
        Naming the sequence and how many items it has.
    """
    for source in sources:
        for keyword in COPIED_SEQUENCES:
            items = len(source.get(keyword) or ())
            if items > MAXIMUM_ITEMS:
                raise InvalidReportError(f"an image has {items} items in {keyword}; at most {MAXIMUM_ITEMS} are copied")
