"""What an earlier run of the study left on disk and a later one can use again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pydicom
from numpy.typing import NDArray
from sqlalchemy import select

from dicom_io.instance_store import StoreError
from worker.tables import Result, ResultKind
from worker.workplace import Workplace


def kept_overlays(run_id: int, findings: Sequence[str], workplace: Workplace) -> Mapping[str, NDArray[np.uint8]] | None:
    """Return the pictures an earlier run made of these findings.

    Returns
    -------
    mapping or None
        Finding to uint8 [H, W, 3] RGB; None when one of them is gone.
    """
    with workplace.sessions() as session:
        kept = session.scalars(
            select(Result).where(Result.run_id == run_id, Result.kind == ResultKind.SECONDARY_CAPTURE)
        ).all()
    paths = {result.finding: result.path for result in kept}
    if not set(findings) <= set(paths):
        return None
    try:
        return {
            finding: pydicom.dcmread(workplace.results.open_path(paths[finding])).pixel_array for finding in findings
        }
    except StoreError:
        return None
