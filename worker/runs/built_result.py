"""What a run has written to disk and nobody has entered into a row yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_io.storing.instance_store import StoredFile
from worker.rows.states import ResultKind


@dataclass(frozen=True)
class BuiltResult:
    """One DICOM object or HL7 message of ours, safely on disk and not yet in any row."""

    kind: ResultKind
    finding: str | None
    sop_class_uid: str
    """Empty for a message."""
    sop_instance_uid: str
    """A message has a UID of the same making, so that rows and files have one key."""
    series_instance_uid: str
    """Empty for a message."""
    file: StoredFile
    """Path relative to the store of results, size and hash."""
    created_at: datetime
    revision: int
    destination: str | None = None
    """Name of the one destination it is for; None for what goes wherever its kind is wanted."""
