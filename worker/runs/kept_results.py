"""What an earlier run of the study left on disk and a later one can use again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sqlalchemy import select

from dicom_io.results.presentation_state import lines_of
from dicom_io.storing.instance_store import StoreError
from worker.rows.run_tables import Result
from worker.rows.states import ResultKind
from worker.runs.workplace import Workplace

Line = NDArray[np.float32]


@dataclass(frozen=True)
class KeptPictures:
    """The pictures an earlier run made of the same pixels; nothing at all for a new analysis."""

    overlays: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Per flagged finding, uint8 [H, W, 3] RGB."""
    lines: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    """Per flagged finding whose source image got a presentation state, each float32 [n, 2] (column, row)."""
    summary: NDArray[np.uint8] | None = None
    """Of the whole study, uint8 [H, W, 3] RGB; None where none was made."""


def kept_pictures(run_id: int, findings: Sequence[str], workplace: Workplace) -> KeptPictures | None:
    """Return the pictures an earlier run made of these findings; None when a file is gone or damaged."""
    with workplace.reading() as session:
        kept = session.scalars(
            select(Result).where(Result.run_id == run_id, Result.kind != ResultKind.STRUCTURED_REPORT)
        ).all()
    overlays = [row for row in kept if row.kind == ResultKind.SECONDARY_CAPTURE and row.finding in findings]
    states = [row for row in kept if row.kind == ResultKind.PRESENTATION_STATE and row.finding in findings]
    summary = next((row for row in kept if row.kind == ResultKind.SUMMARY_CAPTURE), None)
    if {row.finding for row in overlays} != set(findings):
        return None
    try:
        return KeptPictures(
            {str(row.finding): _read(row, workplace).pixel_array for row in overlays},
            {str(row.finding): lines_of(_read(row, workplace)) for row in states},
            _read(summary, workplace).pixel_array if summary else None,
        )
    except (StoreError, OSError):
        return None


def _read(row: Result, workplace: Workplace) -> Dataset:
    return pydicom.dcmread(workplace.results.open_intact(row.path, row.sha256))
